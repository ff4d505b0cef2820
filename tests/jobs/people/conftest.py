"""A catalogue with made-up faces: points near a centre per person, a calibrated embedder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from facecore.config import DatabaseSettings, Settings
from facecore.jobs.stores import Stores
from facecore.lifecycle.default_pack import default_calibration
from facecore.local.platform import Platform
from facecore.stores.catalog import migrate
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.faces import faces
from facecore.stores.catalog.images import images
from facecore.stores.catalog.models import models
from facecore.stores.catalog.people import people
from facecore.types import Contract, Embeddings, Floats, Outcome

DIMENSION = 128


@pytest.fixture(scope="session")
def people_database(platform: Platform) -> DatabaseSettings:
    platform.up(["postgres"])
    database = platform.create_database(f"people_{uuid4().hex[:12]}")
    migrate(database)
    return database


@pytest.fixture
def stores(people_database: DatabaseSettings, tmp_path: Path) -> Stores:
    """Stores with an empty catalogue, and versions 1 of a detector and an embedder in use."""
    stores = Stores(Settings(home=tmp_path, database=people_database))
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute(
            "SELECT string_agg(format('DROP TABLE %s', inhrelid::regclass), ';') FROM pg_inherits "
            "WHERE inhparent = 'embedding'::regclass AND inhrelid IN "
            "(SELECT oid FROM pg_class WHERE relkind = 'r')"
        )
        (drop,) = cursor.fetchone()
        if drop:
            cursor.execute(drop)
        cursor.execute(
            "TRUNCATE decision, image, face, person, assignment, model_version, run, shard "
            "RESTART IDENTITY CASCADE"
        )
    return stores


class World:
    """Faces of made-up people in a catalogue; vectors of one person lie near a centre."""

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self.random = np.random.default_rng(5)
        self.centres: dict[str, Floats] = {}
        self.detector, self.embedder = self.register(1)
        with stores.catalog.transaction() as tx:
            models.set_active(tx, self.detector)
            models.set_active(tx, self.embedder)

    def register(self, version: int, detector_id: int | None = None) -> tuple[int, int]:
        """A detector (unless given) and a calibrated embedder; ids in the catalogue."""
        contract = self.contract(version)
        calibration = replace(default_calibration(), contract=contract.digest).to_json()
        with self.stores.catalog.transaction() as tx:
            if detector_id is None:
                mark = hashlib.sha256(f"detector {version}".encode()).hexdigest()
                row = models.ModelVersionRow("detect", "face-detector", version, mark, mark)
                detector_id = models.upsert(tx, row)
            embedder_id = models.upsert(
                tx,
                models.ModelVersionRow(
                    "embed",
                    "face-embedder",
                    version,
                    contract.digest,
                    contract.weights_sha256,
                    DIMENSION,
                    threshold=0.36,
                    target_fmr=1e-3,
                    calibration=calibration,
                    detector_version_id=detector_id,
                ),
            )
            return detector_id, embedder_id

    @staticmethod
    def contract(version: int) -> Contract:
        weights = hashlib.sha256(f"embedder {version}".encode()).hexdigest()
        return Contract("test", weights, DIMENSION, "b" * 64)

    def unit(self, vectors: Floats) -> Floats:
        return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)

    def centre(self, name: str) -> Floats:
        if name not in self.centres:
            self.centres[name] = self.unit(self.random.normal(size=DIMENSION))
        return self.centres[name]

    def near(self, name: str, count: int, spread: float = 0.7) -> Floats:
        """Vectors of a person; two of them have a cosine of about 1 / (1 + spread²)."""
        noise = self.random.normal(size=(count, DIMENSION)) * spread / np.sqrt(DIMENSION)
        return self.unit(self.centre(name) + noise)

    def between(self, left: str, right: str, count: int = 1) -> Floats:
        """Vectors as near to one person as to another."""
        return self.unit(self.near(left, count, 0.1) + self.near(right, count, 0.1))

    def add(
        self,
        vectors: Floats,
        *,
        quality: float = 0.9,
        source: str = "door",
        detector: int | None = None,
        model: int | None = None,
        version: int = 1,
    ) -> list[int]:
        """Extracted faces with these vectors, one image each; returns their ids."""
        with self.stores.catalog.transaction() as tx:
            return self.add_in(
                tx, vectors, quality, source, detector or self.detector, model or self.embedder,
                version,
            )  # fmt: skip

    def add_in(
        self,
        tx: Transaction,
        vectors: Floats,
        quality: float,
        source: str,
        detector: int,
        model: int,
        version: int,
    ) -> list[int]:
        marks = [uuid4().hex * 2 for _ in vectors]
        rows = [
            images.ImageRow(sha256=m, bucket="images", object_key=m, source=source, bytes=9)
            for m in marks
        ]
        known = images.record_images(tx, rows)
        image_ids = [known[mark].id for mark in marks]
        with tx.cursor() as cursor:
            cursor.execute(
                "INSERT INTO shard (stage, dag_run_id, ordinal, members) "
                "VALUES ('extract', %s, 0, %s::jsonb) RETURNING id",
                [f"test-{uuid4().hex[:8]}", str(image_ids)],
            )
            (shard_id,) = cursor.fetchone()
        if image_ids:
            images.set_gate_result(tx, image_ids, {})
            images.mark_extracted(tx, image_ids)
        face_ids = faces.insert_faces(
            tx,
            [
                faces.FaceRow(
                    image_id, detector, 0, [0, 0, 90, 90], None, 0.9, f"{shard_id}.safetensors",
                    index, {"score": quality}, None if source == "enrolment" else shard_id,
                )
                for index, image_id in enumerate(image_ids)
            ],
        )  # fmt: skip
        self.embed_in(tx, face_ids, vectors, model, version)
        return face_ids

    def embed_in(
        self, tx: Transaction, face_ids: Sequence[int], vectors: Floats, model: int, version: int
    ) -> None:
        embeddings = Embeddings(np.ascontiguousarray(vectors), self.contract(version))
        faces.copy_embeddings(tx, model, face_ids, embeddings)

    def enrol(self, label: str, count: int = 1) -> int:
        """An enrolled person with gallery faces."""
        face_ids = self.add(self.near(label, count), source="enrolment")
        with self.stores.catalog.transaction() as tx:
            person = people.enrol(tx, label)
            people.confirm(tx, person, face_ids, gallery=True)
        return person

    def discovered(self, name: str, count: int, outcome: Outcome = Outcome.ACCEPT) -> Any:
        """A discovered person with so many clustered faces: person id, face ids."""
        from facecore.stores.catalog.people import corrections

        face_ids = self.add(self.near(name, count))
        with self.stores.catalog.transaction() as tx:
            (person,) = corrections.discover(tx, 1)
        self.say(face_ids, person, outcome=outcome)
        return person, face_ids

    def say(
        self,
        face_ids: Sequence[int],
        person: int | None,
        *,
        source: str = "cluster",
        outcome: Outcome = Outcome.ACCEPT,
        model: int | None = None,
    ) -> None:
        """What a machine says of faces."""
        with self.stores.catalog.transaction() as tx:
            people.write_assignments(
                tx,
                [
                    people.AssignmentRow(face, person, outcome, source, 0.6, model or self.embedder)
                    for face in face_ids
                ],
            )

    def whose(self, face_ids: Sequence[int]) -> dict[int, int | None]:
        """Face → the person it is now."""
        with self.stores.catalog.transaction() as tx:
            found = people.current(tx, face_ids)
        return {i: found[i].person_id if i in found else None for i in face_ids}

    def outcomes(self, face_ids: Sequence[int]) -> list[str | None]:
        """What holds for each face now: source and outcome."""
        with self.stores.catalog.transaction() as tx:
            found = people.current(tx, face_ids)
        return [f"{found[i].source} {found[i].outcome}" if i in found else None for i in face_ids]

    def person(self, person_id: int) -> tuple[str, str, bool, int | None]:
        """Label, kind, named, merged into."""
        with self.stores.catalog.transaction() as tx, tx.cursor() as cursor:
            cursor.execute(
                "SELECT label, kind, named, merged_into FROM person WHERE id = %s", [person_id]
            )
            return cursor.fetchone()


@pytest.fixture
def world(stores: Stores) -> World:
    return World(stores)
