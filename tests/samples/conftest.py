"""The sample pictures. Downloads are kept in pytest's cache between runs."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from facecore.samples.sources import Portrait
from facecore.samples.sources import portraits as fetch_portraits
from facecore.samples.stream import SampleSet, simulate


@pytest.fixture(scope="session")
def portraits(downloads: Path) -> list[Portrait]:
    return fetch_portraits(downloads)


@pytest.fixture(scope="session")
def one_day(downloads: Path, portraits: list[Portrait]) -> SampleSet:
    """A Wednesday: everybody works, and everything that can go wrong is in it."""
    return simulate(downloads, end=date(2026, 3, 4), days=1)
