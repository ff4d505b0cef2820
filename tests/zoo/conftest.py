"""Published weights and real pictures. Downloads are kept in pytest's cache between runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from facecore.config import settings
from facecore.samples import sources
from facecore.stages.decode import Limits, decode
from facecore.types import Image
from facecore.zoo import weights
from facecore.zoo.landmark_head import MEAN_FACE
from facecore.zoo.registry import PreparedWeights, prepare

Scene = tuple[Tensor, dict[str, Tensor]]


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


def _drawn_face(
    height: int = 160,
    width: int = 200,
    box: tuple[float, float, float, float] = (60.0, 40.0, 114.0, 108.0),
) -> Scene:
    import cv2

    rng = np.random.default_rng(0)
    image = rng.integers(60, 90, (height, width, 3), dtype=np.uint8)
    x1, y1, x2, y2 = box
    w, h = x2 - x1, y2 - y1
    middle = (int((x1 + x2) / 2), int((y1 + y2) / 2))
    cv2.ellipse(image, middle, (int(w / 2), int(h / 2)), 0, 0, 360, (214, 170, 140), -1)
    points = [(x1 + u * w, y1 + v * h) for u, v in MEAN_FACE]
    for x, y in points:
        cv2.circle(image, (int(x), int(y)), max(1, int(w / 14)), (60, 30, 30), -1)
    target = {"boxes": torch.tensor([box]), "landmarks": torch.tensor([points])}
    return torch.from_numpy(image).permute(2, 0, 1).contiguous(), target


@pytest.fixture(scope="session")
def drawn_face() -> Callable[..., Scene]:
    """A face that anyone sees: oval, eyes, mouth. uint8 [3, h, w] and its target."""
    return _drawn_face


@pytest.fixture(scope="session")
def no_face() -> Callable[..., Scene]:
    """A grey picture of any size, and its target."""

    def grey(height: int = 120, width: int = 90) -> Scene:
        image = torch.full((3, height, width), 128, dtype=torch.uint8)
        return image, {"boxes": torch.zeros(0, 4), "landmarks": torch.zeros(0, 5, 2)}

    return grey


@pytest.fixture(scope="session")
def scattered_boxes() -> Callable[..., Tensor]:
    """`count` boxes float32 [count, 4] in a picture of about 300 px."""

    def boxes(count: int, seed: int = 0) -> Tensor:
        torch.manual_seed(seed)
        corner, size = torch.rand(count, 2) * 200, torch.rand(count, 2) * 100 + 5
        return torch.cat([corner, corner + size], 1)

    return boxes
