"""Quarantined images as a reviewer reads them, and what reviewers decided."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg2.extras import execute_values

from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.images.images import SightingRow
from facecore.stores.catalog.json_values import as_json, as_text
from facecore.types import ImageStatus

Action = Literal["release", "discard"]

# Of so many of the newest the reasons are counted.
COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An image that is, or was, in the quarantine.

    Attributes:
        bucket: where its bytes lie, by the platform's name.
        reasons: each `{"code": …, "detail": …}`.
        landing_key: of its newest delivery; None: it was never delivered there.
        judged_at: when the row last changed: for a quarantined image, when it was refused.
    """

    id: int
    bucket: str
    object_key: str
    source: str
    status: ImageStatus
    reasons: list[dict[str, Any]]
    bytes: int
    width: int | None
    height: int | None
    format: str | None
    captured_at: datetime | None
    judged_at: datetime
    landing_key: str | None

    @property
    def codes(self) -> set[str]:
        """The reasons' codes."""
        return {str(reason["code"]) for reason in self.reasons}


@dataclass(frozen=True, slots=True)
class Decided:
    """What somebody decided about an image; `overruled` are the gate's reasons then."""

    id: int
    image_id: int
    action: Action
    actor: str
    reason: str
    overruled: list[dict[str, Any]]
    at: datetime


_COLUMNS = (
    "i.id, i.bucket, i.object_key, i.source, i.status, i.reasons, i.bytes, i.width, i.height, "
    "i.format, i.captured_at, i.updated_at, (SELECT s.landing_key FROM sighting AS s "
    "WHERE s.image_id = i.id ORDER BY s.id DESC LIMIT 1)"
)


def newest(
    tx: Transaction, *, code: str | None = None, before: int | None = None, limit: int = 30
) -> list[Quarantined]:
    """Quarantined images, newest first.

    Args:
        code: only those with this reason.
        before: only lower ids: the last one of the page before.
    """
    wanted = None if code is None else as_json([{"code": code}])
    with tx.cursor() as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM image AS i WHERE i.status = 'quarantined' "
            "AND (%(before)s::bigint IS NULL OR i.id < %(before)s) "
            "AND (%(wanted)s::jsonb IS NULL OR i.reasons @> %(wanted)s::jsonb) "
            "ORDER BY i.id DESC LIMIT %(limit)s",
            {"before": before, "wanted": wanted, "limit": limit},
        )
        return [_quarantined(row) for row in cursor]


def count_by_code(tx: Transaction) -> dict[str, int]:
    """Reason code → how many of the newest `COUNTED` quarantined images have it, most first."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT r ->> 'code', count(*) FROM (SELECT reasons FROM image "
            "WHERE status = 'quarantined' ORDER BY id DESC LIMIT %s) AS newest, "
            "jsonb_array_elements(newest.reasons) AS r GROUP BY 1 ORDER BY 2 DESC, 1",
            [COUNTED],
        )
        return dict(cursor.fetchall())


def lock(tx: Transaction, image_ids: Sequence[int]) -> dict[int, Quarantined]:
    """These images, whatever their status, held until the transaction ends; unknown left out."""
    with tx.cursor() as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM image AS i WHERE i.id = ANY(%s::bigint[]) "
            "ORDER BY i.id FOR NO KEY UPDATE OF i",
            [list(image_ids)],
        )
        return {row[0]: _quarantined(row) for row in cursor}


def find(tx: Transaction, image_id: int) -> Quarantined | None:
    """One image, whatever its status, or None."""
    with tx.cursor() as cursor:
        cursor.execute(f"SELECT {_COLUMNS} FROM image AS i WHERE i.id = %s", [image_id])
        row = cursor.fetchone()
    return None if row is None else _quarantined(row)


def decide(tx: Transaction, image: Quarantined, action: Action, *, actor: str, reason: str) -> None:
    """Add a decision about a locked, quarantined image and move it on.

    Released, it waits for extraction as if the gate had accepted it, its bytes in `images`.
    Discarded, its bytes are gone and its row stays, with its reasons.

    Raises:
        ChangeRefused: it is not in the quarantine.
    """
    with tx.cursor() as cursor:
        cursor.execute(
            "INSERT INTO quarantine_decision (image_id, action, actor, reason, overruled) "
            "VALUES (%s, %s, %s, %s, %s)",
            [image.id, action, as_text(actor), as_text(reason), as_json(image.reasons)],
        )
        cursor.execute("SET LOCAL facecore.acting = 'human'")
        if action == "release":
            cursor.execute(
                "UPDATE image SET status = 'accepted', bucket = 'images', reasons = '[]', "
                "extract_shard_id = NULL WHERE id = %s",
                [image.id],
            )
        else:
            cursor.execute("UPDATE image SET status = 'erased' WHERE id = %s", [image.id])
        cursor.execute("SET LOCAL facecore.acting = ''")


def record_discarded(tx: Transaction, rows: Iterable[SightingRow]) -> None:
    """Record deliveries of erased images: no sightings, and not to be taken in again."""
    values = [
        (row.landing_bucket, as_text(row.landing_key), row.etag, row.image_id, row.run_id)
        for row in sorted(rows, key=lambda row: (row.landing_bucket, row.landing_key, row.etag))
    ]
    with tx.cursor() as cursor:
        execute_values(
            cursor,
            "INSERT INTO discarded_delivery (landing_bucket, landing_key, etag, image_id, run_id) "
            "VALUES %s ON CONFLICT DO NOTHING",
            values,
        )


def decisions(
    tx: Transaction, *, image_id: int | None = None, before: int | None = None, limit: int = 20
) -> list[Decided]:
    """What was decided, newest first, about one image or about all."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT id, image_id, action, actor, reason, overruled, at FROM quarantine_decision "
            "WHERE (%(image)s::bigint IS NULL OR image_id = %(image)s) "
            "AND (%(before)s::bigint IS NULL OR id < %(before)s) ORDER BY id DESC LIMIT %(limit)s",
            {"image": image_id, "before": before, "limit": limit},
        )
        return [Decided(*row) for row in cursor]


def _quarantined(row: tuple[Any, ...]) -> Quarantined:
    values = list(row)
    values[4] = ImageStatus(values[4])
    return Quarantined(*values)
