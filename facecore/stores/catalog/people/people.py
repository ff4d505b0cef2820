"""People, and which face is whose."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from psycopg2.extras import execute_values

from facecore.errors import NotFound, UsageError
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.faces import faces
from facecore.stores.catalog.models import active, counterparts, models
from facecore.stores.catalog.people import constraints
from facecore.types import Floats, Match, Outcome

LABEL_CHARACTERS = 200

# Faces that a human enrolled, of people who are still there.
_ENROLLED = (
    "FROM assignment AS a JOIN person ON person.id = a.person_id "
    "JOIN face AS f ON f.id = a.face_id JOIN image ON image.id = f.image_id "
    "WHERE a.gallery AND image.status <> 'erased' "
    "AND person.kind = 'enrolled' AND person.status = 'active'"
)
GALLERY = f"face.id IN (SELECT a.face_id {_ENROLLED})"
# The same of one face at a time, for a scan that meets few of many.
IN_GALLERY = f"(SELECT true {_ENROLLED} AND a.face_id = face.id LIMIT 1)"

# Who is counted and listed. Unnamed people without faces are not: a later pass of the clustering
# gave their faces to others.
SOMEBODY = (
    "(person.status = 'active' AND person.merged_into IS NULL AND (person.named OR EXISTS "
    "(SELECT FROM current_assignment AS c WHERE c.person_id = person.id)))"
)


@dataclass(frozen=True, slots=True)
class Gallery:
    """The enrolled faces under one model version, by face id.

    Attributes:
        face_ids, person_ids: int64 `[n]`.
        labels: the person's name per face, `[n]`.
        vectors: float32 `[n, d]`, unit length up to float16 rounding.
        contract: digest of the contract the vectors obey.
    """

    face_ids: npt.NDArray[np.int64]
    person_ids: npt.NDArray[np.int64]
    labels: list[str]
    vectors: Floats
    contract: str

    def __len__(self) -> int:
        return len(self.face_ids)


@dataclass(frozen=True, slots=True)
class AssignmentRow:
    """What a machine says of a face.

    Attributes:
        person_id: None exactly when the outcome is unknown.
        source: enrolled (match with the gallery) or cluster.
        margin: lead over the second person; None when there was no second.
    """

    face_id: int
    person_id: int | None
    outcome: Outcome
    source: str
    score: float
    model_version_id: int
    margin: float | None = None
    threshold: float | None = None
    gallery_size: int | None = None
    run_id: str | None = None

    @classmethod
    def from_match(
        cls, face_id: int, match: Match, *, model_version_id: int, gallery_size: int, run_id: str
    ) -> AssignmentRow:
        """The row of an identification; the best candidate of an unknown face is not its person."""
        return cls(
            face_id=face_id,
            person_id=None if match.outcome is Outcome.UNKNOWN else match.person_id,
            outcome=match.outcome,
            source="enrolled",
            score=match.score,
            model_version_id=model_version_id,
            margin=match.margin,
            threshold=match.threshold,
            gallery_size=gallery_size,
            run_id=run_id,
        )


@dataclass(frozen=True, slots=True)
class Assignment:
    """What holds for a face now, with the person's label."""

    face_id: int
    person_id: int | None
    label: str | None
    outcome: Outcome
    source: str
    score: float | None
    margin: float | None
    threshold: float | None


@dataclass(frozen=True, slots=True)
class Person:
    """A person with the number of enrolled faces and of faces assigned to them now."""

    id: int
    label: str
    kind: str
    enrolled_faces: int
    faces: int


def enrol(tx: Transaction, label: str) -> int:
    """The enrolled person with this name, made if there is none; returns the id.

    Names are compared after Unicode NFC and collapsing white space. A person whom clustering
    found and a human gave this name is the one: they are enrolled from now on.

    Raises:
        UsageError: the name is empty or longer than 200 characters.
    """
    name = normalised(label)
    if not 1 <= len(name) <= LABEL_CHARACTERS:
        raise UsageError(f"a person's name has 1 to {LABEL_CHARACTERS} characters.")
    with tx.cursor() as cursor:
        cursor.execute(
            "INSERT INTO person (label, kind) VALUES (%s, 'enrolled') "
            "ON CONFLICT (label) WHERE named AND status = 'active' AND merged_into IS NULL "
            "DO NOTHING",
            [name],
        )
        cursor.execute(
            "UPDATE person SET kind = 'enrolled' WHERE label = %s AND named "
            "AND status = 'active' AND merged_into IS NULL AND kind <> 'enrolled'",
            [name],
        )
        cursor.execute(
            "SELECT id FROM person WHERE label = %s AND named AND status = 'active' "
            "AND merged_into IS NULL",
            [name],
        )
        row = cursor.fetchone()
    if row is None:  # erased between the two statements
        raise NotFound("person", name)
    return int(row[0])


def normalised(label: str) -> str:
    """A name as it is stored: Unicode NFC, white space and control characters collapsed."""
    plain = "".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in label)
    return " ".join(unicodedata.normalize("NFC", plain).split())


def confirm(
    tx: Transaction,
    person_id: int,
    face_ids: Sequence[int],
    *,
    gallery: bool = False,
    run_id: str | None = None,
) -> None:
    """Record a human's word that these faces are this person, over any earlier word, also the
    one that they are not.

    A face of a detector version that went out of use meanwhile is spoken of as the one in use
    found it.

    Args:
        gallery: whether probes are to be compared with these faces from now on.
    """
    active.hold_any(tx)
    meant = sorted(set(counterparts.in_use(tx, face_ids)))
    constraints.revoke_of(tx, meant, person_id)
    with tx.cursor() as cursor:
        cursor.execute("SET LOCAL facecore.acting = 'human'")
        execute_values(
            cursor,
            "INSERT INTO assignment AS a (face_id, person_id, outcome, source, gallery, run_id) "
            "VALUES %s ON CONFLICT (face_id) WHERE source = 'human' DO UPDATE SET "
            "person_id = excluded.person_id, outcome = excluded.outcome, "
            "gallery = excluded.gallery, run_id = excluded.run_id "
            "WHERE (a.person_id, a.outcome, a.gallery) "
            "IS DISTINCT FROM (excluded.person_id, excluded.outcome, excluded.gallery)",
            [(face_id, person_id, "accept", "human", gallery, run_id) for face_id in meant],
        )
        cursor.execute("SET LOCAL facecore.acting = ''")


def write_assignments(tx: Transaction, rows: Iterable[AssignmentRow]) -> int:
    """Record what machines say; returns how many rows are new or say something new.

    A machine has its own row per face and model version beside the human's, which it can neither
    write nor change. What holds is what the version in use says.

    Raises:
        UsageError: a row claims to be a human's.
    """
    values = []
    for row in sorted(rows, key=lambda row: (row.face_id, row.source)):
        if row.source not in ("enrolled", "cluster"):
            raise UsageError(f"a machine cannot write an assignment of source {row.source!r}.")
        margin = row.margin if row.margin is not None and math.isfinite(row.margin) else None
        values.append(
            (
                row.face_id, row.person_id, str(row.outcome), row.source, float(row.score),
                None if margin is None else float(margin), row.threshold, row.gallery_size,
                row.model_version_id, row.run_id,
            )
        )  # fmt: skip
    if not values:
        return 0
    said = "person_id, outcome, score, margin, threshold, gallery_size"
    with tx.cursor() as cursor:
        return len(
            execute_values(
                cursor,
                "INSERT INTO assignment AS a (face_id, person_id, outcome, source, score, margin, "
                "threshold, gallery_size, model_version_id, run_id) VALUES %s "
                "ON CONFLICT (face_id, source, model_version_id) WHERE source <> 'human' "
                "DO UPDATE SET "
                f"({said}, run_id) = ({_prefixed('excluded', said)}, excluded.run_id) "
                f"WHERE ({_prefixed('a', said)}) IS DISTINCT FROM ({_prefixed('excluded', said)}) "
                "RETURNING id",
                values,
                page_size=1000,
                fetch=True,
            )
        )


def gallery(tx: Transaction, model_version_id: int) -> Gallery:
    """All enrolled faces that have a vector of this model version."""
    face_ids, vectors = faces.read_vectors(tx, model_version_id, GALLERY)
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT a.face_id, a.person_id, person.label FROM assignment AS a "
            "JOIN person ON person.id = a.person_id "
            "WHERE a.source = 'human' AND a.face_id = ANY(%s)",
            [face_ids.tolist()],
        )
        whose = {face_id: (person_id, label) for face_id, person_id, label in cursor}
    owners = [whose[face_id] for face_id in face_ids.tolist()]
    return Gallery(
        face_ids=face_ids,
        person_ids=np.array([person_id for person_id, _ in owners], np.int64),
        labels=[label for _, label in owners],
        vectors=vectors,
        contract=models.get(tx, model_version_id).contract,
    )


def gallery_size(tx: Transaction, model_version_id: int) -> int:
    """How many enrolled faces have a vector of this model version."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM embedding JOIN face ON face.id = embedding.face_id "
            f"WHERE embedding.model_version_id = %s AND {GALLERY}",
            [model_version_id],
        )
        return int((cursor.fetchone() or (0,))[0])


def gallery_fingerprint(tx: Transaction) -> str:
    """Changes whenever an enrolled face, or whose it is, does."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT md5(coalesce(string_agg(face.id || ':' || a.person_id, ',' "
            "ORDER BY face.id), '')) FROM active_face AS face "
            f"JOIN assignment AS a ON a.face_id = face.id AND a.gallery WHERE {GALLERY}"
        )
        return str((cursor.fetchone() or ("",))[0])


def enrolled_as(tx: Transaction, sha256s: Sequence[str]) -> dict[str, str]:
    """SHA-256 of a picture → name of the person it enrolled; other pictures are left out."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT image.sha256, person.label FROM image "
            "JOIN active_face AS face ON face.image_id = image.id "
            "JOIN assignment AS a ON a.face_id = face.id AND a.gallery "
            "JOIN person ON person.id = a.person_id AND person.status = 'active' "
            "WHERE image.sha256 = ANY(%s::char(64)[]) AND image.status <> 'erased'",
            [list(sha256s)],
        )
        return dict(cursor.fetchall())


def current(tx: Transaction, face_ids: Sequence[int]) -> dict[int, Assignment]:
    """Face id → what holds for it now; faces of which nothing was said are left out."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT c.face_id, c.person_id, person.label, c.outcome, c.source, c.score, c.margin, "
            "c.threshold FROM current_assignment AS c LEFT JOIN person ON person.id = c.person_id "
            "WHERE c.face_id = ANY(%s)",
            [list(face_ids)],
        )
        return {
            row[0]: Assignment(row[0], row[1], row[2], Outcome(row[3]), *row[4:]) for row in cursor
        }


def every(tx: Transaction, *, limit: int = 1000) -> list[Person]:
    """Active people by name."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT p.id, p.label, p.kind, "
            "count(c.face_id) FILTER (WHERE c.gallery), count(c.face_id) "
            "FROM person AS p LEFT JOIN current_assignment AS c ON c.person_id = p.id "
            "WHERE p.status = 'active' AND p.merged_into IS NULL "
            "GROUP BY p.id HAVING p.named OR count(c.face_id) > 0 "
            "ORDER BY p.label, p.id LIMIT %s",
            [limit],
        )
        return [Person(*row) for row in cursor]


def _prefixed(table: str, columns: str) -> str:
    return ", ".join(f"{table}.{column}" for column in columns.split(", "))
