"""Images and their sightings: one row per distinct content, one sighting per delivery."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from psycopg2.extras import execute_values

from facecore.errors import NotFound
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.json_values import as_json, as_text
from facecore.types import ImageRef, ImageStatus

# Source of the pictures that people were enrolled with: they are no sightings of anybody.
ENROLMENT = "enrolment"


@dataclass(frozen=True, slots=True)
class ImageRow:
    """A distinct image to record.

    Attributes:
        sha256: 64 lower-case hex digits of the bytes.
        bucket: the platform's name of the bucket ("images"), not its real name.
        captured_from: exif, metadata, key or modified; None exactly when `captured_at` is.
        quality: measurements, by name.
        phash: 64-bit perceptual hash as a signed integer; None when undecodable.
    """

    sha256: str
    bucket: str
    object_key: str
    source: str
    bytes: int
    captured_at: datetime | None = None
    captured_from: str | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    quality: Mapping[str, Any] = field(default_factory=dict)
    reasons: Sequence[Mapping[str, Any]] = ()
    phash: int | None = None
    ingest_shard_id: int | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class ImageRecordResult:
    """Where an image of `record_images` ended up; `created` is false when it was known."""

    id: int
    created: bool
    status: ImageStatus


@dataclass(frozen=True, slots=True)
class SightingRow:
    """One delivery of an image: an object version in the landing bucket."""

    image_id: int
    landing_bucket: str
    landing_key: str
    etag: str
    source: str
    captured_at: datetime | None = None
    captured_from: str | None = None
    last_modified: datetime | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image with its measurements, as the quality gate reads it."""

    id: int
    sha256: str
    bucket: str
    object_key: str
    source: str
    captured_at: datetime | None
    captured_from: str | None
    bytes: int
    width: int | None
    height: int | None
    format: str | None
    status: ImageStatus
    quality: dict[str, Any]
    reasons: list[dict[str, Any]]
    phash: int | None
    near_duplicate_of: int | None
    created_at: datetime


_STORED_COLUMNS = tuple(column.name for column in fields(StoredImage))


def record_images(tx: Transaction, rows: Iterable[ImageRow]) -> dict[str, ImageRecordResult]:
    """Record images that are not known yet; a known one keeps its row as it is.

    Returns:
        SHA-256 → id, whether this call created it, and its status: an image that was erased
        stays erased, and must not be stored again.
    """
    # In the order of the digest: two writers of the same pictures wait, and never deadlock.
    unique = {row.sha256: row for row in rows}
    ordered = [unique[digest] for digest in sorted(unique)]
    if not ordered:
        return {}
    with tx.cursor() as cursor:
        created = execute_values(
            cursor,
            "INSERT INTO image (sha256, bucket, object_key, source, bytes, captured_at, "
            "captured_from, width, height, format, quality, reasons, phash, ingest_shard_id, "
            "run_id) VALUES %s ON CONFLICT (sha256) DO NOTHING RETURNING sha256, id",
            [
                (
                    row.sha256, row.bucket, as_text(row.object_key), as_text(row.source),
                    row.bytes, row.captured_at, row.captured_from, row.width, row.height,
                    row.format, as_json(row.quality), as_json(row.reasons), row.phash,
                    row.ingest_shard_id, row.run_id,
                )
                for row in ordered
            ],
            page_size=1000,
            fetch=True,
        )  # fmt: skip
        new = {digest for digest, _ in created}
        cursor.execute(
            "SELECT sha256, id, status FROM image WHERE sha256 = ANY(%s::char(64)[])",
            [list(unique)],
        )
        return {
            digest: ImageRecordResult(image_id, digest in new, ImageStatus(status))
            for digest, image_id, status in cursor
        }


def record_sightings(tx: Transaction, rows: Iterable[SightingRow]) -> int:
    """Record deliveries; returns how many were new."""
    values = [
        (
            row.image_id, row.landing_bucket, as_text(row.landing_key), row.etag,
            as_text(row.source), row.captured_at, row.captured_from, row.last_modified,
            row.run_id,
        )
        for row in sorted(rows, key=lambda row: (row.landing_bucket, row.landing_key, row.etag))
    ]  # fmt: skip
    if not values:
        return 0
    with tx.cursor() as cursor:
        return len(
            execute_values(
                cursor,
                "INSERT INTO sighting (image_id, landing_bucket, landing_key, etag, source, "
                "captured_at, captured_from, last_modified, run_id) VALUES %s "
                "ON CONFLICT (landing_bucket, landing_key, etag) DO NOTHING RETURNING id",
                values,
                page_size=1000,
                fetch=True,
            )
        )


def known_landing(
    tx: Transaction, bucket: str, objects: Sequence[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Which of these (key, etag) of the landing bucket were taken in, or discarded, already."""
    if not objects:
        return set()
    originals = {(as_text(key), etag): (key, etag) for key, etag in objects}
    with tx.cursor() as cursor:
        cursor.execute(
            "WITH asked AS (SELECT %s AS landing_bucket, landing_key, etag "
            "FROM unnest(%s::text[], %s::text[]) AS o (landing_key, etag)) "
            "SELECT landing_key, etag FROM asked "
            "JOIN sighting USING (landing_bucket, landing_key, etag) UNION "
            "SELECT landing_key, etag FROM asked "
            "JOIN discarded_delivery USING (landing_bucket, landing_key, etag)",
            [bucket, [key for key, _ in originals], [etag for _, etag in originals]],
        )
        return {originals[key, etag] for key, etag in cursor}


def stored_images(
    tx: Transaction, shard_ids: Sequence[int] = (), *, image_ids: Sequence[int] = ()
) -> list[StoredImage]:
    """The images of these ingest shards, or of these ids, that still wait for the gate."""
    return _stored(
        tx,
        "status = 'stored' AND (ingest_shard_id = ANY(%s::bigint[]) OR id = ANY(%s::bigint[]))",
        [list(shard_ids), list(image_ids)],
    )


def get(tx: Transaction, image_id: int) -> StoredImage:
    """One image by id, in any status. Raises `NotFound`."""
    for image in _stored(tx, "id = %s", [image_id]):
        return image
    raise NotFound("image", str(image_id))


def find(tx: Transaction, sha256: str) -> StoredImage | None:
    """One image by content, in any status, or None."""
    return next(iter(_stored(tx, "sha256 = %s", [sha256])), None)


def _stored(tx: Transaction, condition: str, values: Sequence[Any]) -> list[StoredImage]:
    with tx.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(_STORED_COLUMNS)} FROM image WHERE {condition} ORDER BY id", values
        )
        return [StoredImage(*_with_status(row)) for row in cursor]


def _with_status(row: tuple[Any, ...]) -> list[Any]:
    values = list(row)
    position = _STORED_COLUMNS.index("status")
    values[position] = ImageStatus(values[position])
    return values


def sighting_counts(tx: Transaction, image_ids: Sequence[int]) -> dict[int, int]:
    """Image id → how often it was delivered; images never delivered are left out."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT image_id, count(*) FROM sighting WHERE image_id = ANY(%s::bigint[]) "
            "GROUP BY image_id",
            [list(image_ids)],
        )
        return dict(cursor.fetchall())


def shards_to_validate(tx: Transaction, limit: int = 1000) -> list[int]:
    """Ingest shards with images that no gate has judged, oldest first."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT ingest_shard_id FROM image WHERE status = 'stored' "
            "AND ingest_shard_id IS NOT NULL ORDER BY ingest_shard_id LIMIT %s",
            [limit],
        )
        return [shard_id for (shard_id,) in cursor]


def set_gate_result(
    tx: Transaction,
    accepted_ids: Sequence[int],
    rejected: Mapping[int, Sequence[Mapping[str, Any]]],
    *,
    quarantine_bucket: str | None = None,
) -> None:
    """Record the gate's verdict on stored images; an image that was judged keeps its verdict.

    Args:
        rejected: image id → reasons, each `{"code": …, "detail": …}`, at least one.
        quarantine_bucket: where the caller moved the rejected objects; None if nowhere.
    """
    with tx.cursor() as cursor:
        cursor.execute(
            "UPDATE image SET status = 'accepted' WHERE id = ANY(%s::bigint[]) "
            "AND status = 'stored'",
            [sorted(accepted_ids)],
        )
    quarantine(tx, rejected, bucket=quarantine_bucket, only=(ImageStatus.STORED,))


def quarantine(
    tx: Transaction,
    rejected: Mapping[int, Sequence[Mapping[str, Any]]],
    *,
    bucket: str | None = None,
    only: Sequence[ImageStatus] = (ImageStatus.STORED, ImageStatus.ACCEPTED),
) -> set[int]:
    """Quarantine images, also accepted ones whose extraction found them broken.

    Returns:
        The ids that moved: others stand elsewhere by now, and their bytes stay where they are.
    """
    if not rejected:
        return set()
    with tx.cursor() as cursor:
        moved = execute_values(
            cursor,
            "UPDATE image SET status = 'quarantined', reasons = r.reasons, "
            "bucket = coalesce(r.bucket, image.bucket) FROM (VALUES %s) AS r (id, reasons, bucket, "
            "only_status) WHERE image.id = r.id AND image.status = ANY(r.only_status) "
            "RETURNING image.id",
            [
                (image_id, as_json(list(reasons)), bucket, [str(status) for status in only])
                for image_id, reasons in sorted(rejected.items())
            ],
            template="(%s::bigint, %s::jsonb, %s::text, %s::text[])",
            page_size=1000,
            fetch=True,
        )
        return {image_id for (image_id,) in moved}


def mark_extracted(tx: Transaction, image_ids: Sequence[int]) -> int:
    """Accepted images → extracted; returns how many moved (fewer when some had moved before)."""
    with tx.cursor() as cursor:
        cursor.execute(
            "UPDATE image SET status = 'extracted' WHERE id = ANY(%s::bigint[]) "
            "AND status = 'accepted'",
            [sorted(image_ids)],
        )
        return cursor.rowcount


def refs(tx: Transaction, image_ids: Sequence[int]) -> list[ImageRef]:
    """Images by id, in the order asked for, in any status. Raises `NotFound` for the first
    that does not exist."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT id, sha256, bucket, object_key, source, captured_at FROM image "
            "WHERE id = ANY(%s::bigint[])",
            [list(image_ids)],
        )
        found = {row[0]: ImageRef(*row) for row in cursor}
    for image_id in image_ids:
        if image_id not in found:
            raise NotFound("image", str(image_id))
    return [found[image_id] for image_id in image_ids]


def counts_by_status(tx: Transaction) -> dict[str, int]:
    """How many images stand where; every status is present."""
    with tx.cursor() as cursor:
        cursor.execute("SELECT status, count(*) FROM image GROUP BY status")
        return {str(status): 0 for status in ImageStatus} | dict(cursor.fetchall())
