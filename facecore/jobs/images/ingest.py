"""Landing bucket → distinct images, sightings and measurements.

An object is hashed, its bytes are stored under their SHA-256, its pixels are measured, and its
rows are committed; only then the landing object is removed. Whatever happens in between, the
next run finds the object again and ends with the same rows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

from facecore.jobs.images import landing
from facecore.jobs.images.landing import Landed, Taken
from facecore.jobs.images.quarantine import ELSEWHERE
from facecore.jobs.lineage import RunContext, attempt, recorded
from facecore.jobs.stores import Stores
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.images import duplicates, images
from facecore.stores.catalog.images import quarantine as quarantined
from facecore.stores.catalog.work import cursors, shards
from facecore.stores.object_info import ObjectInfo
from facecore.stores.objects import addressable
from facecore.types import ImageStatus

logger = logging.getLogger(__name__)

KEYS_PER_PAGE = 1000


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
        seen = refused = 0
        last = ""
        room = limits.shard_size * limits.max_shards
        listing = stores.objects.list("landing", prefix=prefix, start_after=start)
        for page in _pages(islice(listing, page_limit * KEYS_PER_PAGE)):
            usable = [landed for landed in page if addressable(landed.key)]
            refused += len(page) - len(usable)
            fresh, known = _split_known(stores, usable)
            landing.remove(stores, known)
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
        run.counts = {
            "listed": seen,
            "new": len(new),
            "refused_keys": refused,
            "shards": len(shard_ids),
        }
        if refused:
            logger.warning(
                "%d objects stay in the landing bucket: a key with a segment '.' or '..' names "
                "different objects to different programs; deliver them under another key",
                refused,
            )
        logger.info("%d objects listed, %d new, %d shards", seen, len(new), len(shard_ids))
        return shard_ids


def ingest_shard(context: RunContext, shard_id: int, stores: Stores | None = None) -> int:
    """Take in a shard's objects; returns the shard's id. A shard that is done is left alone."""
    stores = stores or Stores()
    with recorded(stores.catalog, context, "ingest.shard", {"shard": shard_id}) as run:
        with attempt(stores.catalog, shard_id):
            landed = _ingest(stores, shard_id, run.id, run.counts)
        # Committed: from here on the landing objects are only copies.
        landing.remove(stores, landed)
        logger.info("shard %d: %s", shard_id, run.counts)
    return shard_id


def summarise(shard_ids: Sequence[int], stores: Stores | None = None) -> dict[str, int]:
    """The counts of these shards, added up."""
    stores = stores or Stores()
    with stores.catalog.transaction() as tx:
        return shards.totals(tx, shard_ids)


def _ingest(stores: Stores, shard_id: int, run_id: str, counts: dict[str, Any]) -> list[Landed]:
    with stores.catalog.transaction() as tx:
        claimed = shards.claim(tx, shard_id) is not None
        members = [Landed(**member) for member in shards.get(tx, shard_id).members]
        if not claimed:
            return members
        taken = list(landing.take_in(stores, members, shard_id=shard_id, run_id=run_id))
        recorded_images = images.record_images(tx, (t.row for t in taken))
        deliveries = [
            images.SightingRow(
                image_id=recorded_images[t.row.sha256].id,
                landing_bucket="landing",
                landing_key=t.landed.key,
                etag=t.landed.etag,
                source=t.row.source,
                captured_at=t.row.captured_at,
                captured_from=t.row.captured_from,
                last_modified=t.landed.modified,
                run_id=run_id,
            )
            for t in taken
        ]
        erased = {r.id for r in recorded_images.values() if r.status is ImageStatus.ERASED}
        sightings = [row for row in deliveries if row.image_id not in erased]
        images.record_sightings(tx, sightings)
        quarantined.record_discarded(tx, (row for row in deliveries if row.image_id in erased))
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
        _forget_unwanted(stores, tx, taken, recorded_images)
        shards.complete(tx, shard_id, counts)
    return [t.landed for t in taken]


def _forget_unwanted(
    stores: Stores,
    tx: Transaction,
    taken: Iterable[Taken],
    known: Mapping[str, images.ImageRecordResult],
) -> None:
    """Remove the bytes, stored anew, of content that lies in the quarantine or was erased.

    A quarantined picture whose bytes were lost gets these, so that it can be released. Before
    the commit: interrupted, the shard is taken in again, and nothing discarded stays.
    """
    unwanted = {
        known[item.row.sha256].id: item.row.object_key
        for item in taken
        if known[item.row.sha256].status in ELSEWHERE
    }
    # Somebody may have released one meanwhile, whose bytes belong here then.
    for image_id, image in quarantined.lock(tx, list(unwanted)).items():
        if image.status not in ELSEWHERE:
            continue
        key = unwanted[image_id]
        kept = image.status is ImageStatus.QUARANTINED
        if kept and not stores.objects.exists("quarantine", key):
            stores.objects.copy("images", key, "quarantine", key)
        stores.objects.delete("images", key)


def _pages(listing: Iterable[ObjectInfo]) -> Iterator[list[Landed]]:
    objects = iter(listing)
    while page := [Landed.of(info) for info in islice(objects, KEYS_PER_PAGE)]:
        yield page


def _split_known(stores: Stores, page: list[Landed]) -> tuple[list[Landed], list[Landed]]:
    with stores.catalog.transaction() as tx:
        known = images.known_landing(tx, "landing", [(o.key, o.etag) for o in page])
    fresh = [o for o in page if (o.key, o.etag) not in known]
    return fresh, [o for o in page if (o.key, o.etag) in known]
