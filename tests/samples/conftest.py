"""The sample pictures, fetched once per test session."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from facecore.samples.sources import Portrait
from facecore.samples.sources import portraits as fetch_portraits
from facecore.samples.stream import SampleSet, simulate


@pytest.fixture(scope="session")
def sample_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("samples")


@pytest.fixture(scope="session")
def portraits(sample_cache: Path) -> list[Portrait]:
    return fetch_portraits(sample_cache)


@pytest.fixture(scope="session")
def two_days(sample_cache: Path, portraits: list[Portrait]) -> SampleSet:
    """Tuesday and Wednesday: everybody works, and everything that can go wrong is in it."""
    return simulate(sample_cache, end=date(2026, 3, 4), days=2)
