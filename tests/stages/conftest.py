"""The real networks and real pictures. Downloads are kept in pytest's cache between runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from facecore.config import settings
from facecore.samples import sources
from facecore.stages.decode import Limits, decode
from facecore.types import Image
from facecore.zoo import registry, weights
from facecore.zoo.onnx_export import write_dequantised
from facecore.zoo.registry import PreparedWeights, prepare


@pytest.fixture(scope="session")
def prepared(downloads: Path) -> dict[str, PreparedWeights]:
    mirror = settings().model_dir
    return {name: prepare(name, downloads, mirror) for name in weights.SOURCES}


@pytest.fixture(scope="session")
def yunet(prepared: dict[str, PreparedWeights]):
    return registry.load("yunet", prepared["yunet"].path, prepared["yunet"].sha256)


@pytest.fixture(scope="session")
def sface(prepared: dict[str, PreparedWeights]):
    return registry.load("sface", prepared["sface"].path, prepared["sface"].sha256)


@pytest.fixture(scope="session")
def plain_onnx(downloads: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same networks for OpenCV: plain float32 ONNX."""
    folder = tmp_path_factory.mktemp("onnx")
    return {
        name: str(
            write_dequantised(
                weights.fetch(name, downloads, settings().model_dir), folder / f"{name}.onnx"
            )
        )
        for name in weights.SOURCES
    }


@pytest.fixture(scope="session")
def portraits(downloads: Path) -> list[sources.Portrait]:
    return sources.portraits(downloads)


@pytest.fixture(scope="session")
def photos(portraits: list[sources.Portrait]) -> list[Image]:
    """The sample portraits, full size, one face on each."""
    return [decode(portrait.path.read_bytes(), Limits()) for portrait in portraits]
