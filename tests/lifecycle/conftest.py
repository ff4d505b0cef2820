"""The real pipeline on real faces. Downloads are kept in pytest's cache between runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from facecore.config import settings
from facecore.pipeline.extract import FaceExtractor
from facecore.pipeline.load import load_extractor
from facecore.samples import sources
from facecore.zoo.registry import PreparedWeights, prepare


@pytest.fixture(scope="session")
def pack(downloads: Path) -> tuple[PreparedWeights, PreparedWeights]:
    """Detector and embedder."""
    return prepare("yunet", downloads, settings().model_dir), prepare(
        "sface", downloads, settings().model_dir
    )


@pytest.fixture(scope="session")
def extractor(pack: tuple[PreparedWeights, PreparedWeights]) -> FaceExtractor:
    detector, embedder = pack
    return load_extractor(
        detector.path, detector.sha256, embedder.path, embedder.sha256, precision="fp32"
    )


@pytest.fixture(scope="session")
def portraits(downloads: Path) -> list[sources.Portrait]:
    return sources.portraits(downloads)


@pytest.fixture(scope="session")
def people_folder(
    portraits: list[sources.Portrait], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """person/person_0001.jpg …: several pictures of Obama, one of each other person."""
    folder = tmp_path_factory.mktemp("people")
    counts: dict[str, int] = {}
    for portrait in portraits:
        name = portrait.person.replace(" ", "_")
        counts[name] = counts.get(name, 0) + 1
        (folder / name).mkdir(exist_ok=True)
        target = folder / name / f"{name}_{counts[name]:04d}{portrait.path.suffix}"
        shutil.copyfile(portrait.path, target)
    return folder
