"""One object of the landing bucket → stored bytes and a catalogue row."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from facecore.errors import ImageRejected, ObjectMissing, ObjectTooLarge
from facecore.jobs.stores import Stores
from facecore.stages import reasons
from facecore.stages.decode import Limits, decode, inspect
from facecore.stages.fingerprint import content_digest, perceptual_hash
from facecore.stages.measure import measure
from facecore.stages.provenance import trace
from facecore.stores.catalog.images.images import ImageRow
from facecore.stores.object_info import ObjectInfo

logger = logging.getLogger(__name__)

# Reading waits for the network and may be wide; decoded pixels are large and must be few.
_DECODING_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Landed:
    """A version of a landing object, as a member of a shard."""

    key: str
    etag: str
    size: int
    last_modified: str

    @classmethod
    def of(cls, info: ObjectInfo) -> Landed:
        """What a listing or `stat` says of it."""
        return cls(info.key, info.etag, info.size, info.last_modified.isoformat())

    @property
    def modified(self) -> datetime:
        """When it was written."""
        return datetime.fromisoformat(self.last_modified)


@dataclass(frozen=True, slots=True)
class Taken:
    """An object whose bytes are stored, with the image's row."""

    landed: Landed
    row: ImageRow


def content_key(digest: str) -> str:
    """Key of an image in the buckets `images` and `quarantine`."""
    return f"{digest[:2]}/{digest}"


def take_in(
    stores: Stores, members: Sequence[Landed], *, shard_id: int, run_id: str
) -> Iterator[Taken]:
    """Store each object's bytes by content and describe it; objects that are gone are left out.

    What cannot be decoded is stored too, with the reason in its row.
    """
    most = stores.settings.ingest.max_bytes
    decoding = threading.BoundedSemaphore(_DECODING_AT_ONCE)

    def one(landed: Landed) -> Taken | None:
        try:
            try:
                info, data = stores.objects.read("landing", landed.key, most)
            except ObjectTooLarge:
                info = stores.objects.stat("landing", landed.key)
                return Taken(Landed.of(info), _oversized(stores, info, shard_id, run_id))
        except ObjectMissing:
            # Removed by its owner, or by an earlier try that committed: nothing to take.
            logger.warning("landing object %r is gone", landed.key)
            return None
        digest = content_digest(data)
        stores.objects.put("images", content_key(digest), data)
        with decoding:
            row = _described(stores, info, data, digest, shard_id, run_id)
        # Replaced since it was listed? Then this is the version that was taken in.
        return Taken(Landed.of(info), row)

    with ThreadPoolExecutor(stores.settings.s3.connections, "ingest") as pool:
        # Results are rows, not pixels: a shard of any size stays small in memory.
        yield from (taken for taken in pool.map(one, members) if taken is not None)


def remove(stores: Stores, landed: Sequence[Landed]) -> None:
    """Remove objects that were taken in, except those replaced meanwhile.

    Does nothing where the landing bucket is to be kept.
    """
    if not stores.settings.ingest.keep_landing:
        stores.objects.delete_versions("landing", [(item.key, item.etag) for item in landed])


def _described(
    stores: Stores, info: ObjectInfo, data: bytes, digest: str, shard_id: int, run_id: str
) -> ImageRow:
    limits = stores.settings.ingest
    bounds = Limits(limits.max_bytes, limits.max_pixels)
    header = phash = None
    quality: dict[str, Any] = {}
    faults: list[dict[str, Any]] = []
    try:
        header = inspect(data, bounds)
        pixels = decode(data, bounds)
        quality = measure(pixels, len(data)).as_dict()
        phash = perceptual_hash(pixels)
    except ImageRejected as rejected:
        faults = [{"code": rejected.reason, "detail": str(rejected)}]
    origin = trace(
        info.key,
        last_modified=info.last_modified,
        exif_time=header.captured_at if header else None,
        metadata=info.metadata,
        zone=ZoneInfo(limits.camera_timezone),
    )
    return ImageRow(
        sha256=digest,
        bucket="images",
        object_key=content_key(digest),
        source=origin.source,
        bytes=len(data),
        captured_at=origin.captured_at,
        captured_from=origin.captured_from,
        width=header.width if header else None,
        height=header.height if header else None,
        format=header.format if header else None,
        quality=quality,
        reasons=faults,
        phash=phash,
        ingest_shard_id=shard_id,
        run_id=run_id,
    )


def _oversized(stores: Stores, info: ObjectInfo, shard_id: int, run_id: str) -> ImageRow:
    """A file over the limit is hashed in pieces and copied inside the object store."""
    digest = stores.objects.sha256("landing", info.key)
    stores.objects.copy("landing", info.key, "images", content_key(digest))
    limit = stores.settings.ingest.max_bytes
    origin = trace(
        info.key,
        last_modified=info.last_modified,
        metadata=info.metadata,
        zone=ZoneInfo(stores.settings.ingest.camera_timezone),
    )
    detail = f"{info.size:,} bytes are more than the limit of {limit:,}"
    return ImageRow(
        sha256=digest,
        bucket="images",
        object_key=content_key(digest),
        source=origin.source,
        bytes=info.size,
        captured_at=origin.captured_at,
        captured_from=origin.captured_from,
        reasons=[{"code": reasons.TOO_MANY_BYTES, "detail": detail}],
        ingest_shard_id=shard_id,
        run_id=run_id,
    )
