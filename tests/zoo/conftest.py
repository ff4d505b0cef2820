"""Published weights and real pictures. Downloads are kept in pytest's cache between runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facecore.config import settings
from facecore.samples import sources
from facecore.stages.decode import Limits, decode
from facecore.types import Image
from facecore.zoo import weights
from facecore.zoo.registry import PreparedWeights, prepare


@pytest.fixture(scope="session")
def published(downloads: Path) -> dict[str, Path]:
    """The ONNX files as OpenCV Zoo publishes them."""
    mirror = settings().model_dir
    return {name: weights.fetch(name, downloads, mirror) for name in weights.SOURCES}


@pytest.fixture(scope="session")
def prepared(downloads: Path) -> dict[str, PreparedWeights]:
    mirror = settings().model_dir
    return {name: prepare(name, downloads, mirror) for name in weights.SOURCES}


@pytest.fixture(scope="session")
def photos(downloads: Path) -> list[Image]:
    """The sample portraits, full size."""
    return [decode(p.path.read_bytes(), Limits()) for p in sources.portraits(downloads)]


@pytest.fixture(scope="session")
def faces(photos: list[Image]) -> np.ndarray:
    """uint8 [n, 112, 112, 3]: pieces of the portraits, not aligned; any pixels serve parity."""
    return np.stack([photo[i : i + 224 : 2, 40:264:2] for photo in photos for i in (20, 60)])
