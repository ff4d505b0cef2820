"""Faces to learn from: those a human named, and those nobody did.

Only faces of the detector in use, of pictures and people that were not erased.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from facecore.stores.catalog.connection import Transaction

Which = Literal["confirmed", "unlabelled", "all"]
WHICH: tuple[Which, ...] = ("confirmed", "unlabelled", "all")
_ROWS_AT_ONCE = 5000

_CONDITION = {
    "confirmed": "human.person_id IS NOT NULL",
    "unlabelled": "human.person_id IS NULL",
    "all": "TRUE",
}


@dataclass(frozen=True, slots=True)
class TrainingFace:
    """A face with the place of its crop.

    Attributes:
        face_id, image_id: in the catalogue.
        image_sha256, source: of the picture.
        person_id: who it is in a human's word; None without one.
        likely_person_id: that, or else whom the machine takes it for.
        first_image_id: the picture, or the one that it is nearly a copy of.
        crop_key, crop_index: object in bucket "crops" and the row of its tensor.
        box, landmarks: pixels of the upright picture: 4 and 10 numbers, or no landmarks.
        score: of the detection, 0..1.
        quality: score of `stages.face_quality`, 0..1, if it was measured.
    """

    face_id: int
    image_id: int
    image_sha256: str
    source: str
    person_id: int | None
    likely_person_id: int | None
    first_image_id: int
    crop_key: str
    crop_index: int
    box: tuple[float, ...]
    landmarks: tuple[float, ...] | None
    score: float
    quality: float | None


def training_faces(tx: Transaction, which: Which) -> Iterator[TrainingFace]:
    """Faces by pack and row within it, fetched page by page.

    Args:
        which: confirmed (a human said who it is), unlabelled (no human did), or all.
    """
    with tx.cursor(name="training_faces") as cursor:
        cursor.itersize = _ROWS_AT_ONCE
        cursor.execute(
            "SELECT face.id, image.id, image.sha256, image.source, human.person_id, "
            "coalesce(human.person_id, now.person_id), "
            "coalesce(image.near_duplicate_of, image.id), face.crop_key, face.crop_index, "
            "face.box, face.landmarks, face.score, (face.quality ->> 'score')::float8 "
            "FROM active_face AS face JOIN image ON image.id = face.image_id "
            "LEFT JOIN assignment AS human ON human.face_id = face.id "
            "AND human.source = 'human' AND human.outcome = 'accept' "
            "LEFT JOIN current_assignment AS now ON now.face_id = face.id "
            "LEFT JOIN person ON person.id = coalesce(human.person_id, now.person_id) "
            "WHERE image.status <> 'erased' AND coalesce(person.status, 'active') = 'active' "
            f"AND {_CONDITION[which]} ORDER BY face.crop_key, face.crop_index, face.id"
        )
        for row in cursor:
            values = list(row)
            values[9] = tuple(row[9])
            values[10] = None if row[10] is None else tuple(row[10])
            yield TrainingFace(*values)
