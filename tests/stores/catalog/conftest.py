"""Rows to start from: made through the public functions, with as little as they need."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from facecore.stores.catalog import Catalog
from facecore.stores.catalog.faces import faces
from facecore.stores.catalog.images import images
from facecore.stores.catalog.models import models
from facecore.stores.catalog.people import people
from facecore.types import Contract, Embeddings, Floats


class Make:
    """Builds rows in the transaction given."""

    dimension = 16
    contract = Contract("test", "a" * 64, 16, "b" * 64)

    @staticmethod
    def digest(name: str) -> str:
        return hashlib.sha256(name.encode()).hexdigest()

    def image_row(self, name: str, **changes: Any) -> images.ImageRow:
        values: dict[str, Any] = {
            "sha256": self.digest(name),
            "bucket": "images",
            "object_key": f"{self.digest(name)[:2]}/{self.digest(name)}",
            "source": "door",
            "bytes": 1000,
        }
        return images.ImageRow(**{**values, **changes})

    def images(self, tx, *names: str, accepted: bool = False, **changes: Any) -> list[int]:
        ids = []
        for name in names:  # one by one, so that ids rise in the order given
            row = self.image_row(name, **changes)
            ids.append(images.record_images(tx, [row])[row.sha256].id)
        if accepted:
            images.set_gate_result(tx, ids, {})
        return ids

    def detector(self, tx, version: int = 1) -> int:
        row = models.ModelVersionRow("detect", "face-detector", version, "d" * 64, "d" * 64)
        return self._first_is_active(tx, models.upsert(tx, row), version)

    def embedder(self, tx, version: int = 1, contract: Contract | None = None) -> int:
        made = contract or self.contract
        row = models.ModelVersionRow(
            "embed", "face-embedder", version, made.digest, made.weights_sha256, made.dimension
        )
        return self._first_is_active(tx, models.upsert(tx, row), version)

    @staticmethod
    def _first_is_active(tx, version_id: int, version: int) -> int:
        if version == 1 and models.get(tx, version_id).state == "candidate":
            models.set_active(tx, version_id)
        return version_id

    def face_row(
        self, image_id: int, detector_id: int, ordinal: int = 0, **changes: Any
    ) -> faces.FaceRow:
        values: dict[str, Any] = {
            "box": [1.0, 2.0, 31.5, 42.5],
            "landmarks": [float(n) for n in range(10)],
            "score": 0.875,
            "crop_key": "1.safetensors",
            "crop_index": ordinal,
            "quality": {"sharpness": 12.5},
        }
        return faces.FaceRow(image_id, detector_id, ordinal, **{**values, **changes})

    def faces(self, tx, name: str, count: int, **changes: Any) -> list[int]:
        """`count` faces of one image."""
        (image_id,) = self.images(tx, name, **changes)
        detector_id = self.detector(tx)
        return faces.insert_faces(
            tx, [self.face_row(image_id, detector_id, ordinal) for ordinal in range(count)]
        )

    def vectors(self, count: int, seed: int = 0, dimension: int = 16) -> Floats:
        drawn = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    def embeddings(self, vectors: Floats) -> Embeddings:
        return Embeddings(np.ascontiguousarray(vectors, np.float32), self.contract)

    def enrolled(self, tx, label: str, vectors: Floats) -> tuple[int, list[int]]:
        """A person with one gallery face per vector: person id, face ids."""
        face_ids = self.faces(tx, f"gallery {label}", len(vectors), source="enrolment")
        faces.copy_embeddings(tx, self.embedder(tx), face_ids, self.embeddings(vectors))
        person_id = people.enrol(tx, label)
        people.confirm(tx, person_id, face_ids, gallery=True)
        return person_id, face_ids


@pytest.fixture
def make() -> Make:
    return Make()


@pytest.fixture
def tx(catalog: Catalog):
    """A transaction on an empty catalogue, committed at the end."""
    with catalog.transaction() as open_transaction:
        yield open_transaction
