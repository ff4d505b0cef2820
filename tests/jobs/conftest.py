"""Jobs on real stores: a catalogue, buckets and registry of their own, and real pictures."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image

from facecore.config import ExtractSettings, IngestSettings, MlflowSettings, S3Settings, Settings
from facecore.jobs.lineage import RunContext
from facecore.jobs.people.enroll import Picture, enroll
from facecore.jobs.platform.setup import set_up
from facecore.jobs.stores import Stores
from facecore.local.platform import Platform
from facecore.samples.sources import Portrait, portraits


@pytest.fixture(scope="session")
def pictures(downloads: Path) -> dict[str, Portrait]:
    """The portraits by file name."""
    return {portrait.name: portrait for portrait in portraits(downloads)}


@pytest.fixture(scope="session")
def job_settings(
    platform: Platform, s3: S3Settings, mlflow_server: MlflowSettings, downloads: Path
) -> Settings:
    """Settings of the session's services; small shards, so that there are several."""
    platform.up(["postgres"])
    return Settings(
        home=downloads.parent,
        database=platform.create_database(f"jobs_{uuid4().hex[:12]}"),
        s3=s3.model_copy(update={"bucket_prefix": f"j{uuid4().hex[:8]}-"}),
        mlflow=mlflow_server,
        ingest=IngestSettings(shard_size=8),
        extract=ExtractSettings(shard_size=8),
        model_dir=None,
    )


@pytest.fixture(scope="session")
def ready(job_settings: Settings) -> Stores:
    """Stores after set-up: models registered and active."""
    stores = Stores(job_settings)
    set_up(stores)
    return stores


@pytest.fixture
def stores(ready: Stores) -> Stores:
    """Set-up stores without an image, face or person, and with empty buckets."""
    with ready.catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute(
            "TRUNCATE image, sighting, shard, face, embedding, person, assignment, report, run, "
            "ingest_cursor RESTART IDENTITY CASCADE"
        )
    for bucket in ("landing", "images", "quarantine", "crops", "reports"):
        for item in list(ready.objects.list(bucket)):
            ready.objects.delete(bucket, item.key)
    return ready


@pytest.fixture
def context() -> Callable[[str], RunContext]:
    """A DAG run's identity, the same for all its tasks."""
    dag_run = f"test__{uuid4().hex[:8]}"
    return lambda task: RunContext("test", dag_run, task)


@pytest.fixture
def enrolled(stores: Stores, pictures: dict[str, Portrait]) -> Stores:
    """Stores with the gallery portraits enrolled."""
    gallery = [Picture(p.person, p.path) for p in pictures.values() if p.role == "gallery"]
    results = enroll(RunContext("test", "enrol", "enroll"), gallery, stores=stores)
    assert [r.state for r in results] == ["enrolled"] * len(gallery), results
    return stores


@pytest.fixture(scope="session")
def noisy_jpeg() -> Callable[[int], bytes]:
    """Small pictures nobody is on, different for every seed, that the gate accepts."""
    return _noisy_jpeg


def _noisy_jpeg(seed: int, size: tuple[int, int] = (160, 120)) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (size[1] // 8, size[0] // 8, 3), np.uint8)
    picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    grain = rng.integers(-12, 12, (size[1], size[0], 3))
    pixels = np.clip(np.asarray(picture).astype(int) + grain, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
