"""The real pipeline and real pictures. Downloads are kept in pytest's cache between runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from facecore.config import settings
from facecore.pipeline.extract import FaceExtractor
from facecore.pipeline.load import load_extractor
from facecore.samples import sources
from facecore.zoo import registry
from facecore.zoo.registry import PreparedWeights, prepare


@pytest.fixture(scope="session")
def pack(downloads: Path) -> tuple[PreparedWeights, PreparedWeights]:
    """Detector and embedder."""
    mirror = settings().model_dir
    return prepare("yunet", downloads, mirror), prepare("sface", downloads, mirror)


@pytest.fixture(scope="session")
def extractor(pack: tuple[PreparedWeights, PreparedWeights]) -> FaceExtractor:
    detector, embedder = pack
    return load_extractor(
        detector.path, detector.sha256, embedder.path, embedder.sha256, precision="fp32"
    )


@pytest.fixture(scope="session")
def untrained_ssdlite(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A detector of another family as a weights file, and the file's SHA-256."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("ssdlite") / "weights.safetensors"
    return path, registry.save("ssdlite", registry.create("ssdlite"), path)


@pytest.fixture(scope="session")
def files(downloads: Path) -> list[bytes]:
    """The sample portraits as files, one face on each."""
    return [portrait.path.read_bytes() for portrait in sources.portraits(downloads)]
