"""People as pages show them: search by name, faces, sightings, who looks alike.

Every list is fetched page by page along an index (keyset): the next page starts after the last
row of the one before, so that page 1,000 costs what page 1 does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np

from facecore.config import SearchSettings
from facecore.errors import NotFound
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.faces import faces
from facecore.stores.catalog.models import models
from facecore.stores.catalog.people.people import SOMEBODY, normalised
from facecore.stores.catalog.search import index_checks
from facecore.stores.catalog.search.face_filter import FaceFilter
from facecore.stores.catalog.search.neighbours import LookUp
from facecore.types import Floats, Outcome

COUNTED_FACES = 1000
_PROBES = 8
_NEAR_FACES = 60


@dataclass(frozen=True, slots=True)
class PersonEntry:
    """A person in a list.

    Attributes:
        named: whether the label is a name; otherwise it is a placeholder made of the id.
        faces: how many are theirs now; `COUNTED_FACES` stands for so many or more.
        reviews: how many of those wait for a human.
        crop_key, crop_index: place of their best face, for a thumbnail; None without faces.
        face_id: that face.
    """

    id: int
    label: str
    kind: str
    named: bool
    faces: int
    reviews: int
    face_id: int | None
    crop_key: str | None
    crop_index: int | None

    @property
    def key(self) -> tuple[str, int]:
        """Where the page after this entry starts."""
        return self.label, self.id


@dataclass(frozen=True, slots=True)
class FaceEntry:
    """A face of a person: whose word it is, the place of its crop, and where it was seen first."""

    face_id: int
    image_id: int
    crop_key: str
    crop_index: int
    outcome: Outcome
    source: str
    score: float | None
    quality: float | None
    seen_at: datetime | None
    seen_by: str


@dataclass(frozen=True, slots=True)
class SightingEntry:
    """A delivery of a picture that shows the person; `at` is when it was captured, or arrived."""

    id: int
    at: datetime
    source: str
    image_id: int
    face_id: int


@dataclass(frozen=True, slots=True)
class Lookalike:
    """Another person with faces near this one's; `score` is the highest cosine similarity."""

    person_id: int
    label: str
    score: float
    face_id: int


# Their best face first: a human's word, then quality.
_ENTRY = f"""
    SELECT p.id, p.label, p.kind, p.named, counted.faces, counted.reviews,
           best.id, best.crop_key, best.crop_index
    FROM page AS p
    CROSS JOIN LATERAL (
        SELECT count(*) AS faces, count(*) FILTER (WHERE outcome = 'review') AS reviews
        FROM (SELECT outcome FROM current_assignment WHERE person_id = p.id
              LIMIT {COUNTED_FACES}) AS limited
    ) AS counted
    LEFT JOIN LATERAL (
        SELECT face.id, face.crop_key, face.crop_index
        FROM (SELECT face_id, outcome FROM current_assignment WHERE person_id = p.id
              LIMIT {COUNTED_FACES}) AS c JOIN face ON face.id = c.face_id
        ORDER BY c.outcome = 'accept' DESC, CASE WHEN jsonb_typeof(face.quality -> 'score')
            = 'number' THEN (face.quality ->> 'score')::float8 END DESC NULLS LAST, face.id
        LIMIT 1
    ) AS best ON true
"""


def find(
    tx: Transaction,
    prefix: str = "",
    *,
    after: tuple[str, int] | None = None,
    limit: int = 50,
    named: bool | None = None,
) -> list[PersonEntry]:
    """People whose name starts with `prefix`, whatever its case, in the order of their names.

    Args:
        after: `key` of the last entry of the page before.
        named: only people who have a name, or only those who have none.
    """
    pattern = normalised(prefix).replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    values = {
        "pattern": pattern + "%",
        "label": None if after is None else after[0],
        "id": None if after is None else after[1],
        "named": named,
        "limit": limit,
    }
    with tx.cursor() as cursor:
        cursor.execute(
            "WITH page AS MATERIALIZED (SELECT id, label, kind, named, "
            '  lower(label) COLLATE "C" AS sorted FROM person '
            f"  WHERE {SOMEBODY} "
            '  AND lower(label) COLLATE "C" LIKE lower(%(pattern)s) '
            "  AND (%(label)s::text IS NULL OR "
            '       (lower(label) COLLATE "C", id) > (lower(%(label)s), %(id)s)) '
            "  AND (%(named)s::boolean IS NULL OR named = %(named)s) "
            '  ORDER BY lower(label) COLLATE "C", id LIMIT %(limit)s) '
            f"{_ENTRY} ORDER BY p.sorted, p.id",
            values,
        )
        return [PersonEntry(*row) for row in cursor]


def entry(tx: Transaction, person_id: int) -> PersonEntry:
    """One person; somebody who was merged is who they are now. Raises `NotFound`."""
    with tx.cursor() as cursor:
        cursor.execute(
            "WITH page AS (SELECT id, label, kind, named FROM person "
            f"WHERE id = person_now(%s) AND status = 'active') {_ENTRY}",
            [person_id],
        )
        row = cursor.fetchone()
    if row is None:
        raise NotFound("person", str(person_id))
    return PersonEntry(*row)


def faces_of(
    tx: Transaction,
    person_id: int,
    *,
    after: int = 0,
    limit: int = 60,
    outcome: Outcome | None = None,
) -> list[FaceEntry]:
    """A person's faces now, by id.

    Args:
        after: the last face of the page before.
        outcome: only what is accepted, or only what waits for a human.
    """
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT face.id, face.image_id, face.crop_key, face.crop_index, c.outcome, c.source, "
            "c.score, CASE WHEN jsonb_typeof(face.quality -> 'score') = 'number' "
            "THEN (face.quality ->> 'score')::float8 END, image.captured_at, image.source "
            "FROM current_assignment AS c JOIN face ON face.id = c.face_id "
            "JOIN image ON image.id = face.image_id "
            "WHERE c.person_id = %s AND c.face_id > %s AND image.status <> 'erased' "
            "AND (%s::text IS NULL OR c.outcome = %s) ORDER BY c.face_id LIMIT %s",
            [person_id, after, outcome, outcome, limit],
        )
        return [_face(row) for row in cursor]


def sightings(
    tx: Transaction,
    person_id: int,
    *,
    before: tuple[datetime, int] | None = None,
    limit: int = 100,
) -> list[SightingEntry]:
    """When and where accepted faces of a person were seen, newest first.

    Args:
        before: time and id of the last entry of the page before.
    """
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT s.id, coalesce(s.captured_at, s.created_at) AS at, s.source, s.image_id, "
            "min(c.face_id) FROM current_assignment AS c JOIN face ON face.id = c.face_id "
            "JOIN sighting AS s ON s.image_id = face.image_id "
            "WHERE c.person_id = %(person)s AND c.outcome = 'accept' "
            "AND (%(at)s::timestamptz IS NULL OR "
            "     (coalesce(s.captured_at, s.created_at), s.id) < (%(at)s, %(id)s)) "
            "GROUP BY s.id ORDER BY 2 DESC, s.id DESC LIMIT %(limit)s",
            {
                "person": person_id,
                "at": None if before is None else before[0],
                "id": None if before is None else before[1],
                "limit": limit,
            },
        )
        return [SightingEntry(*row) for row in cursor]


def days(tx: Transaction, person_id: int, zone: str = "UTC") -> list[tuple[date, str, int]]:
    """(day, source, pictures) in which accepted faces of a person were seen, oldest first.

    Args:
        zone: IANA name of the wall clock that days follow.
    """
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT (coalesce(s.captured_at, s.created_at) AT TIME ZONE %s)::date, s.source, "
            "count(DISTINCT s.image_id) FROM current_assignment AS c "
            "JOIN face ON face.id = c.face_id JOIN sighting AS s ON s.image_id = face.image_id "
            "WHERE c.person_id = %s AND c.outcome = 'accept' GROUP BY 1, 2 ORDER BY 1, 2",
            [zone, person_id],
        )
        return cursor.fetchall()


def lookalikes(
    tx: Transaction, person_id: int, wanted: SearchSettings, *, limit: int = 10
) -> list[Lookalike]:
    """Other people with faces near this person's, nearest first: candidates for a merge.

    Looks from the best faces of the person only.

    Args:
        wanted: of the index, so that it is used.
    """
    embedder = models.active(tx, "embed").id
    method = index_checks.method(tx, embedder, wanted)
    look_up = LookUp(tx, embedder, method, FaceFilter())
    best: dict[int, Lookalike] = {}
    for vector in _probes(tx, embedder, person_id):
        for near in look_up.nearest(vector, _NEAR_FACES):
            if near.person_id is None or near.person_id == person_id or near.label is None:
                continue
            if near.person_id not in best or near.score > best[near.person_id].score:
                best[near.person_id] = Lookalike(
                    near.person_id, near.label, near.score, near.face_id
                )
    return sorted(best.values(), key=lambda one: (-one.score, one.person_id))[:limit]


def _face(row: tuple[Any, ...]) -> FaceEntry:
    values = list(row)
    values[4] = Outcome(row[4])
    return FaceEntry(*values)


def _probes(tx: Transaction, embedder_id: int, person_id: int) -> Sequence[Floats]:
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT face.id FROM (SELECT face_id FROM current_assignment WHERE person_id = %s "
            "AND outcome = 'accept' LIMIT %s) AS c JOIN face ON face.id = c.face_id "
            "ORDER BY CASE WHEN jsonb_typeof(face.quality -> 'score') = 'number' "
            "THEN (face.quality ->> 'score')::float8 END DESC NULLS LAST, face.id LIMIT %s",
            [person_id, COUNTED_FACES, _PROBES],
        )
        chosen = ",".join(str(int(face_id)) for (face_id,) in cursor) or "NULL"
    _, vectors = faces.read_vectors(tx, embedder_id, f"face.id IN ({chosen})")
    return [np.asarray(vector) for vector in vectors]
