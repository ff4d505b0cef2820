"""Landing bucket → distinct images, sightings and measurements.

An object is hashed, its bytes are stored under their SHA-256, its pixels are measured, and its
rows are committed; only then the landing object is removed. Whatever happens in between, the
next run finds the object again and ends with the same rows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from facecore.config import Settings
from facecore.errors import FacecoreError, ImageRejected, ObjectMissing
from facecore.jobs.lineage import RunContext, recorded
from facecore.jobs.stores import Stores
from facecore.stages import reasons
from facecore.stages.decode import Limits, decode, inspect
from facecore.stages.fingerprint import perceptual_hash, sha256
from facecore.stages.measure import measure
from facecore.stages.provenance import provenance
from facecore.stores.catalog import cursors, duplicates, images, shards
from facecore.stores.objects import ObjectInfo
from facecore.types import ImageStatus

logger = logging.getLogger(__name__)

KEYS_PER_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Landed:
    """An object of the landing bucket, as a shard's member."""

    key: str
    etag: str
    size: int
    last_modified: str

    @classmethod
    def of(cls, info: ObjectInfo) -> Landed:
        return cls(info.key, info.etag, info.size, info.last_modified.isoformat())


@dataclass(frozen=True, slots=True)
class Taken:
    """An object that was read: its image row, and its sighting but for the image's id."""

    landed: Landed
    row: images.ImageRow


def content_key(digest: str) -> str:
    """Key of an image in the buckets `images` and `quarantine`."""
    return f"{digest[:2]}/{digest}"


def plan(
    context: RunContext, prefix: str = "", page_limit: int = 100, stores: Stores | None = None
) -> list[int]:
    """List what is new under `prefix` and put it into shards; returns their ids.

    Looks at no more than `page_limit` pages of 1,000 keys and goes on there the next time; at
    the end of the bucket it starts over. Objects that were taken in before are not planned
    again; unless the landing bucket is to be kept, what an interrupted run left there is removed.
    """
    stores = stores or Stores()
    with recorded(
        stores.catalog, context, "ingest.plan", {"prefix": prefix, "page_limit": page_limit}
    ) as run:
        with stores.catalog.transaction() as tx:
            planned = shards.of_run(tx, "ingest", context.dag_run_id)
            if planned:
                return [shard.id for shard in planned]
            start = cursors.start_after(tx, "landing", prefix)
        limits = stores.settings.ingest
        new: list[Landed] = []
        seen = 0
        last = ""
        room = limits.shard_size * limits.max_shards
        listing = stores.objects.list("landing", prefix=prefix, start_after=start)
        for page in _pages(islice(listing, page_limit * KEYS_PER_PAGE)):
            fresh, known = _split_known(stores, page)
            _remove_landed(stores, known)
            seen += len(page)
            new += fresh
            last = page[-1].key
            if len(new) >= room:
                break
        complete = seen < page_limit * KEYS_PER_PAGE and len(new) < room
        members = [
            [asdict(landed) for landed in new[i : i + limits.shard_size]]
            for i in range(0, len(new), limits.shard_size)
        ]
        with stores.catalog.transaction() as tx:
            shard_ids = shards.plan(tx, "ingest", context.dag_run_id, members)
            cursors.advance(tx, "landing", prefix, "" if complete else last)
        run.counts = {"listed": seen, "new": len(new), "shards": len(shard_ids)}
        logger.info("%d objects listed, %d new, %d shards", seen, len(new), len(shard_ids))
        return shard_ids


def ingest_shard(context: RunContext, shard_id: int, stores: Stores | None = None) -> int:
    """Take in a shard's objects; returns the shard's id. A shard that is done is left alone."""
    stores = stores or Stores()
    with recorded(stores.catalog, context, "ingest.shard", {"shard": shard_id}) as run:
        shards.note_attempt(stores.catalog, shard_id)
        try:
            landed = _ingest(stores, shard_id, run.id, run.counts)
        except FacecoreError as error:
            shards.fail(stores.catalog, shard_id, str(error))
            raise
        # Committed: from here on the landing objects are only copies.
        _remove_landed(stores, landed)
        logger.info("shard %d: %s", shard_id, run.counts)
    return shard_id


def summarise(shard_ids: Sequence[int], stores: Stores | None = None) -> dict[str, int]:
    """The counts of these shards, added up."""
    stores = stores or Stores()
    with stores.catalog.transaction() as tx:
        return shards.totals(tx, shard_ids)


def _ingest(stores: Stores, shard_id: int, run_id: str, counts: dict[str, Any]) -> list[Landed]:
    with stores.catalog.transaction() as tx:
        shard = shards.claim(tx, shard_id)
        if shard is None:
            with stores.catalog.transaction() as other:
                return [Landed(**member) for member in shards.get(other, shard_id).members]
        members = [Landed(**member) for member in shard.members]
        taken = list(_take_in(stores, members, shard_id, run_id))
        recorded_images = images.record_images(tx, (t.row for t in taken))
        sightings = [
            images.SightingRow(
                image_id=recorded_images[t.row.sha256].id,
                landing_bucket="landing",
                landing_key=t.landed.key,
                etag=t.landed.etag,
                source=t.row.source,
                captured_at=t.row.captured_at,
                captured_from=t.row.captured_from,
                last_modified=datetime.fromisoformat(t.landed.last_modified),
                run_id=run_id,
            )
            for t in taken
            if recorded_images[t.row.sha256].status is not ImageStatus.ERASED
        ]
        images.record_sightings(tx, sightings)
        created = [r.id for r in recorded_images.values() if r.created]
        near = duplicates.flag_near_duplicates(
            tx, created, stores.settings.ingest.near_duplicate_bits
        )
        counts.update(
            objects=len(members),
            vanished=len(members) - len(taken),
            images=len(created),
            sightings=len(sightings),
            near_duplicates=near,
            undecodable=sum(bool(t.row.reasons) for t in taken),
        )
        shards.complete(tx, shard_id, counts)
    return [t.landed for t in taken]


def _take_in(stores: Stores, members: list[Landed], shard_id: int, run_id: str) -> Iterator[Taken]:
    def one(landed: Landed) -> Taken | None:
        return _take_one(stores, landed, shard_id, run_id)

    with ThreadPoolExecutor(stores.settings.s3.connections, "ingest") as pool:
        # Results are rows, not pixels: a shard of any size stays small in memory.
        yield from (taken for taken in pool.map(one, members) if taken is not None)


def _take_one(stores: Stores, landed: Landed, shard_id: int, run_id: str) -> Taken | None:
    """Store one object's bytes by content and describe it; None when it is gone."""
    limits = stores.settings.ingest
    try:
        info = stores.objects.stat("landing", landed.key)
        if info.size > limits.max_bytes:
            return _take_oversized(stores, landed, info, shard_id, run_id)
        data = stores.objects.get("landing", landed.key, max_bytes=limits.max_bytes)
    except ObjectMissing:
        # Removed by its owner, or by an earlier try that committed elsewhere: nothing to take.
        logger.warning("landing object %r is gone", landed.key)
        return None
    digest = sha256(data)
    stores.objects.put("images", content_key(digest), data)
    width = height = phash = None
    kind = None
    captured_exif = None
    quality: dict[str, Any] = {}
    faults: list[dict[str, Any]] = []
    try:
        bounds = _limits(stores.settings)
        header = inspect(data, bounds)
        kind, width, height = header.format, header.width, header.height
        captured_exif = header.captured_at
        pixels = decode(data, bounds)
        quality = asdict(measure(pixels, len(data)))
        phash = perceptual_hash(pixels)
    except ImageRejected as rejected:
        faults = [{"code": rejected.reason, "detail": str(rejected)}]
    origin = provenance(
        key=landed.key,
        metadata=info.metadata,
        last_modified=info.last_modified,
        exif_captured_at=captured_exif,
    )
    row = images.ImageRow(
        sha256=digest,
        bucket="images",
        object_key=content_key(digest),
        source=origin.source,
        bytes=len(data),
        captured_at=origin.captured_at,
        captured_from=origin.captured_from,
        width=width,
        height=height,
        format=kind,
        quality=quality,
        reasons=faults,
        phash=phash,
        ingest_shard_id=shard_id,
        run_id=run_id,
    )
    return Taken(landed, row)


def _take_oversized(
    stores: Stores, landed: Landed, info: ObjectInfo, shard_id: int, run_id: str
) -> Taken:
    """A file over the limit is hashed in pieces and copied inside the object store."""
    digest = stores.objects.sha256("landing", landed.key)
    stores.objects.copy("landing", landed.key, "images", content_key(digest))
    origin = provenance(
        key=landed.key,
        metadata=info.metadata,
        last_modified=info.last_modified,
        exif_captured_at=None,
    )
    limit = stores.settings.ingest.max_bytes
    row = images.ImageRow(
        sha256=digest,
        bucket="images",
        object_key=content_key(digest),
        source=origin.source,
        bytes=info.size,
        captured_at=origin.captured_at,
        captured_from=origin.captured_from,
        reasons=[
            {
                "code": reasons.TOO_MANY_BYTES,
                "detail": f"{info.size:,} bytes are more than the limit of {limit:,}",
            }
        ],
        ingest_shard_id=shard_id,
        run_id=run_id,
    )
    return Taken(landed, row)


def _limits(settings: Settings) -> Limits:
    return Limits(settings.ingest.max_bytes, settings.ingest.max_pixels)


def _pages(listing: Iterable[ObjectInfo]) -> Iterator[list[Landed]]:
    objects = iter(listing)
    while page := [Landed.of(info) for info in islice(objects, KEYS_PER_PAGE)]:
        yield page


def _split_known(stores: Stores, page: list[Landed]) -> tuple[list[Landed], list[Landed]]:
    with stores.catalog.transaction() as tx:
        known = images.known_landing(tx, "landing", [(o.key, o.etag) for o in page])
    fresh = [o for o in page if (o.key, o.etag) not in known]
    return fresh, [o for o in page if (o.key, o.etag) in known]


def _remove_landed(stores: Stores, landed: list[Landed]) -> None:
    """Remove landing objects that were taken in, unless one was replaced meanwhile."""
    if stores.settings.ingest.keep_landing or not landed:
        return

    def one(item: Landed) -> None:
        try:
            if stores.objects.stat("landing", item.key).etag == item.etag:
                stores.objects.delete("landing", item.key)
        except ObjectMissing:
            return

    with ThreadPoolExecutor(stores.settings.s3.connections, "remove-landed") as pool:
        list(pool.map(one, landed))
