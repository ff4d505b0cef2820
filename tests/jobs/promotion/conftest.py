"""A small catalogue with people and faces, and challengers that are as good as the champion.

The catalogue is built once and copied per test (a database made from a template); versions are
registered once under model names of this session.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from psycopg2 import sql

from facecore.config import ExtractSettings, IngestSettings, MlflowSettings, S3Settings, Settings
from facecore.jobs.faces import extract, identify
from facecore.jobs.images import ingest, validate
from facecore.jobs.lineage import RunContext
from facecore.jobs.people.enroll import Picture, enroll
from facecore.jobs.platform.setup import set_up
from facecore.jobs.promotion import promotion, reembed, shadow, switching
from facecore.jobs.stores import Stores
from facecore.lifecycle import packaging
from facecore.local.platform import Platform
from facecore.samples.sources import Portrait
from facecore.stores.catalog.models import active
from facecore.stores.catalog.people import people
from facecore.stores.registry import ModelVersionInfo
from facecore.zoo import registry as zoo

PROBES = ("obama2.jpg", "obama3.jpg", "grace_hopper.jpg")


@dataclass(frozen=True)
class Challengers:
    """Versions registered beside version 1: other contract, equal accuracy."""

    rotated: ModelVersionInfo  # embedder, same detector
    again: ModelVersionInfo  # embedder, rotated otherwise
    paired: ModelVersionInfo  # embedder, with `detector`
    detector: ModelVersionInfo
    uncalibrated: ModelVersionInfo


@pytest.fixture(scope="session")
def promotion_settings(
    platform: Platform, s3: S3Settings, mlflow_server: MlflowSettings, downloads: Path
) -> Settings:
    mark = uuid4().hex[:8]
    platform.up(["postgres"])
    # Of their own, all of them: an alias that another test has set would be a wish here.
    models = ("detector", "embedder", "matcher", "autoencoder", "forecaster")
    names = {model: f"{model}-{mark}" for model in models}
    return Settings(
        home=downloads.parent,
        database=platform.create_database(f"promotion_{mark}"),
        s3=s3.model_copy(update={"bucket_prefix": f"p{mark}-"}),
        mlflow=mlflow_server.model_copy(update=names),
        ingest=IngestSettings(shard_size=2),
        extract=ExtractSettings(shard_size=2),
        model_dir=None,
    )


@pytest.fixture(scope="session")
def template(promotion_settings: Settings, pictures: dict[str, Portrait]) -> Stores:
    """Stores with people enrolled and probes extracted and named; only copied, never changed."""
    stores = Stores(promotion_settings)
    set_up(stores)
    gallery = [Picture(p.person, p.path) for p in pictures.values() if p.role == "gallery"]
    enroll(RunContext("test", "enrol", "enroll"), gallery, stores=stores)
    arrive(stores, pictures, *PROBES)
    return stores


def arrive(stores: Stores, pictures: dict[str, Portrait], *names: str) -> None:
    """Deliver pictures and take them through the pipeline."""
    run = f"arrive-{uuid4().hex[:8]}"
    for name in names:
        data = pictures[name].path.read_bytes()
        stores.objects.put("landing", f"door/2026/11/02/{run}/{name}", data)
    planned = ingest.plan(RunContext("test", run, "plan"), stores=stores)
    for shard_id in planned:
        ingest.ingest_shard(RunContext("test", run, "ingest"), shard_id, stores)
    validate.validate_shards(
        RunContext("test", run, "validate"), planned, batch_checks=False, stores=stores
    )
    extract_waiting(stores, run)


def extract_waiting(stores: Stores, run: str) -> None:
    for shard_id in extract.plan(RunContext("test", run, "extract"), stores=stores):
        extract.extract_shard(RunContext("test", run, "extract"), shard_id, stores)
        identify.identify_shard(RunContext("test", run, "identify"), shard_id, stores)


@pytest.fixture(scope="session")
def challengers(template: Stores, register_rotated: Callable[..., ModelVersionInfo]) -> Challengers:
    with tempfile.TemporaryDirectory() as name:
        moved = _moved_detector(template, Path(name))
        detector = template.registry.register(
            packaging.detector_package(
                template.settings.mlflow.detector,
                moved,
                packaging.Evidence("# Another detector of the tests"),
                Path(name),
            )
        )
        return Challengers(
            rotated=register_rotated(template, 1),
            again=register_rotated(template, 2),
            paired=register_rotated(template, 3, moved),
            detector=detector,
            uncalibrated=register_rotated(template, 4, calibrated=False),
        )


def _moved_detector(stores: Stores, folder: Path) -> packaging.Weights:
    """YuNet with its first biases moved by so little that boxes hardly move."""
    published = zoo.prepare("yunet", stores.settings.cache)
    network = zoo.load("yunet", published.path, published.sha256)
    state = network.state_dict()
    state["stem.bias"] = state["stem.bias"] + 1e-4
    network.load_state_dict(state)
    path = folder / "moved.safetensors"
    return packaging.Weights("yunet", path, zoo.save("yunet", network, path))


@pytest.fixture
def stores(platform: Platform, template: Stores, challengers: Challengers) -> Iterator[Stores]:
    """Stores with a catalogue of their own, and aliases as after the set-up."""
    names = template.settings.mlflow
    for model in (names.detector, names.embedder):
        template.registry.set_alias(model, "champion", 1)
    with copied(platform, template) as own:
        yield own


@contextmanager
def copied(platform: Platform, template: Stores) -> Iterator[Stores]:
    """Stores with a copy of the catalogue."""
    postgres = platform._started().postgres
    name = f"p_{uuid4().hex[:12]}"
    _admin(
        postgres,
        "CREATE DATABASE {} TEMPLATE {} OWNER facecore",
        name,
        template.settings.database.name,
    )
    yield Stores(template.settings.model_copy(update={"database": postgres.settings(name)}))
    _admin(postgres, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture(scope="session")
def judging_stores(
    platform: Platform, template: Stores, challengers: Challengers
) -> Iterator[Stores]:
    """Stores for one evaluation that several tests decide on."""
    with copied(platform, template) as own:
        yield own


def _admin(postgres: Any, statement: str, *names: str) -> None:
    link = postgres._as_superuser("postgres")
    try:
        with link.cursor() as cursor:
            cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
    finally:
        link.close()


class Steps:
    """The tasks of reembed_faces, one by one."""

    def __init__(self, stores: Stores, pictures: dict[str, Portrait]) -> None:
        self.stores = stores
        self.pictures = pictures
        self.run = f"reembed-{uuid4().hex[:8]}"

    def again(self) -> Steps:
        """Another DAG run."""
        return Steps(self.stores, self.pictures)

    def context(self, task: str, map_index: int = -1) -> RunContext:
        return RunContext("reembed_faces", self.run, task, map_index)

    def start(self) -> int | None:
        return promotion.start(self.context("start"), actor="tester", stores=self.stores)

    def fill(self, promotion_id: int) -> list[int]:
        shard_ids = reembed.plan(self.context("plan"), promotion_id, self.stores)
        for number, shard_id in enumerate(shard_ids):
            reembed.fill_shard(self.context("fill", number), promotion_id, shard_id, self.stores)
        return shard_ids

    def index_and_stage(self, promotion_id: int, shard_ids: list[int]) -> None:
        reembed.build_index(self.context("index"), promotion_id, self.stores)
        for number, shard_id in enumerate(shard_ids):
            reembed.stage_shard(self.context("stage", number), promotion_id, shard_id, self.stores)

    def compare(self, promotion_id: int) -> dict[str, Any]:
        return shadow.compare(self.context("compare"), promotion_id, self.stores)

    def until_compared(self, promotion_id: int) -> dict[str, Any]:
        self.index_and_stage(promotion_id, self.fill(promotion_id))
        return self.compare(promotion_id)

    def switch(self, promotion_id: int) -> dict[str, Any]:
        return switching.switch(self.context("switch"), promotion_id, self.stores)

    def whole(self, info: ModelVersionInfo) -> int:
        """Want a version and bring it into use."""
        promotion_id = self.want(info)
        self.do(promotion_id)
        return promotion_id

    def do(self, promotion_id: int) -> None:
        """All of it."""
        self.until_compared(promotion_id)
        self.switch(promotion_id)

    def arrive(self, *names: str) -> None:
        """Deliver pictures and take them through the pipeline."""
        arrive(self.stores, self.pictures, *names)

    def enrol(self, label: str, name: str) -> int:
        """Enrol a picture; returns the face."""
        picture = Picture(label, self.pictures[name].path)
        context = RunContext("test", f"enrol-{uuid4().hex[:8]}", "enroll")
        (result,) = enroll(context, [picture], stores=self.stores)
        assert result.state == "enrolled", result
        return result.face_id

    def named(self) -> dict[int, tuple[str | None, str, str]]:
        """Face → what holds for it now, of the faces in use."""
        with self.stores.catalog.transaction() as tx, tx.cursor() as cursor:
            cursor.execute("SELECT id FROM active_face ORDER BY id")
            current = people.current(tx, [face_id for (face_id,) in cursor.fetchall()])
        return {i: (a.label, str(a.outcome), a.source) for i, a in current.items()}

    def names_by_picture(self) -> dict[str, list[tuple[str | None, str]]]:
        """SHA-256 of a picture → (name, source) of its faces in use, best detection first."""
        with self.stores.catalog.transaction() as tx, tx.cursor() as cursor:
            cursor.execute(
                "SELECT image.sha256, person.label, c.source FROM image "
                "JOIN active_face AS f ON f.image_id = image.id "
                "LEFT JOIN current_assignment AS c ON c.face_id = f.id "
                "LEFT JOIN person ON person.id = c.person_id ORDER BY 1, f.ordinal"
            )
            found: dict[str, list[tuple[str | None, str]]] = {}
            for sha256, label, source in cursor:
                found.setdefault(sha256, []).append((label, source))
        return found

    def aliases(self) -> tuple[int | None, int | None]:
        """Versions of the embedder that champion and previous name."""
        found = self.stores.registry.aliases(self.stores.settings.mlflow.embedder)
        return found.get("champion"), found.get("previous")

    def want(self, info: ModelVersionInfo) -> int:
        return promotion.promote(
            info.name, info.version, actor="ada", reason="better", stores=self.stores
        )

    def rollback(self) -> int:
        return switching.rollback(
            self.context("rollback"), actor="ada", reason="worse", stores=self.stores
        )


@pytest.fixture
def steps(stores: Stores, pictures: dict[str, Portrait]) -> Steps:
    return Steps(stores, pictures)


@pytest.fixture
def in_use(stores: Stores) -> Callable[[], tuple[int, int]]:
    """Version numbers of the detector and embedder in use."""

    def read() -> tuple[int, int]:
        with stores.catalog.transaction() as tx:
            pair = active.current(tx)
        return pair.detector.version, pair.embedder.version

    return read
