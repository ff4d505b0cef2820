"""What became of delivered objects: image, verdict, faces and names, by landing key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from facecore.stores.catalog.connection import Transaction

_KEYS_PER_QUERY = 2000


@dataclass(frozen=True, slots=True)
class FoundFace:
    """A face of a delivered image.

    Attributes:
        person: id of whom it is taken for, by the gallery, clustering or a human; None: nobody.
        label: that person's name; None where the person has none.
    """

    face_id: int
    box: tuple[float, float, float, float]
    outcome: str
    person: int | None
    label: str | None


@dataclass(frozen=True, slots=True)
class Finding:
    """One delivered object. `reasons` are codes; `faces` are of the detector in use."""

    key: str
    image_id: int
    status: str
    width: int | None
    height: int | None
    captured_at: datetime | None
    reasons: tuple[str, ...]
    faces: tuple[FoundFace, ...]


def findings(tx: Transaction, keys: Sequence[str]) -> Iterator[Finding]:
    """One finding per known key; a key delivered with several contents gives the newest."""
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        yield from _some(tx, keys[start : start + _KEYS_PER_QUERY])


def _some(tx: Transaction, keys: Sequence[str]) -> Iterator[Finding]:
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT ON (s.landing_key) s.landing_key, i.id, i.status, i.width, i.height, "
            "s.captured_at, i.reasons FROM sighting AS s JOIN image AS i ON i.id = s.image_id "
            "WHERE s.landing_bucket = 'landing' AND s.landing_key = ANY(%s::text[]) "
            "ORDER BY s.landing_key, s.id DESC",
            [list(keys)],
        )
        delivered = cursor.fetchall()
        cursor.execute(
            "SELECT f.image_id, f.id, f.box, c.outcome, p.id, "
            "CASE WHEN p.named THEN p.label END FROM active_face AS f "
            "LEFT JOIN current_assignment AS c ON c.face_id = f.id "
            "LEFT JOIN person AS p ON p.id = c.person_id "
            "WHERE f.image_id = ANY(%s) ORDER BY f.image_id, f.ordinal",
            [[row[1] for row in delivered]],
        )
        faces: dict[int, list[FoundFace]] = {}
        for image_id, face_id, box, outcome, person, label in cursor:
            faces.setdefault(image_id, []).append(
                FoundFace(face_id, tuple(box), outcome or "unknown", person, label)
            )
    for key, image_id, status, width, height, captured_at, reasons in delivered:
        yield Finding(
            key=key,
            image_id=image_id,
            status=status,
            width=width,
            height=height,
            captured_at=captured_at,
            reasons=tuple(reason["code"] for reason in reasons),
            faces=tuple(faces.get(image_id, ())),
        )
