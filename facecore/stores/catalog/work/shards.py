"""Shards: the unit of work that is claimed, computed and completed in one transaction.

The protocol of a worker::

    shards.note_attempt(catalog, shard_id)
    with catalog.transaction() as tx:
        shard = shards.claim(tx, shard_id)      # locks the row; None: already done
        if shard is not None:
            ...                                 # compute, write the results with tx
            shards.complete(tx, shard_id, counts)

A worker that dies takes its transaction with it: the lock opens, no result exists, and the next
attempt starts clean. Because results and completion commit together, work is never half done
and never done twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from psycopg2.extras import execute_values

from facecore.errors import NotFound
from facecore.stores.catalog.connection import Catalog, Transaction
from facecore.stores.catalog.json_values import as_json, as_text
from facecore.types import ImageRef

Stage = Literal["ingest", "extract", "reembed", "score"]

_ERROR_CHARACTERS = 4000


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard. `members`: what the planner put in; image ids for extract and reembed,
    keys of crop packs for score."""

    id: int
    stage: str
    dag_run_id: str
    ordinal: int
    members: list[Any]
    state: str
    attempts: int
    counts: dict[str, Any]
    error: str | None


_COLUMNS = "id, stage, dag_run_id, ordinal, members, state, attempts, counts, error"


def plan(
    tx: Transaction, stage: Stage, dag_run_id: str, members_by_shard: Sequence[Sequence[Any]]
) -> list[int]:
    """Create the shards of a DAG run; returns their ids in order.

    A run is planned once: called again, this returns the shards the run has, whatever the
    members given now, so a cleared or repeated planning task maps over the same work.
    """
    _serialise(tx, f"plan {stage} {dag_run_id}")
    planned = of_run(tx, stage, dag_run_id)
    if planned:
        return [shard.id for shard in planned]
    return _insert(tx, stage, dag_run_id, members_by_shard)


def add(
    tx: Transaction, stage: Stage, dag_run_id: str, members_by_shard: Sequence[Sequence[Any]]
) -> list[int]:
    """Add shards to those a run has; returns the new ones' ids in order."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(max(ordinal) + 1, 0) FROM shard WHERE stage = %s AND dag_run_id = %s",
            [stage, dag_run_id],
        )
        (first,) = cursor.fetchone() or (0,)
    return _insert(tx, stage, dag_run_id, members_by_shard, first_ordinal=first)


def plan_extraction(
    tx: Transaction,
    dag_run_id: str,
    shard_size: int,
    max_shards: int,
    *,
    stale_after_s: float = 6 * 3600.0,
    max_pixels: int | None = None,
) -> list[int]:
    """Put accepted images that nobody extracts into shards; returns the ids in order.

    With `max_pixels` the pictures of a shard have no more together, unless it is a single one.

    Taken are images without a shard, and images whose shard failed for good or was left
    unfinished for `stale_after_s` without a worker holding it. An image belongs to one shard at
    a time: the one that loses it finds it gone when it is claimed after all (`images_of`).
    Planned once per DAG run, like `plan`.
    """
    _serialise(tx, "plan extraction")
    planned = of_run(tx, "extract", dag_run_id)
    if planned:
        return [shard.id for shard in planned]
    limit = shard_size * max_shards
    with tx.cursor() as cursor:
        # A shard that a worker holds is locked, hence skipped, whatever its visible state.
        cursor.execute(
            "SELECT id FROM shard WHERE stage = 'extract' AND dag_run_id <> %s AND "
            "(state = 'failed' OR (state IN ('planned', 'running') "
            " AND updated_at < now() - make_interval(secs => %s))) "
            "AND EXISTS (SELECT FROM image WHERE extract_shard_id = shard.id "
            "            AND status = 'accepted') "
            "ORDER BY id LIMIT %s FOR NO KEY UPDATE SKIP LOCKED",
            [dag_run_id, stale_after_s, max_shards],
        )
        abandoned = [shard_id for (shard_id,) in cursor.fetchall()]
        cursor.execute(
            "(SELECT id, width::bigint * height FROM image "
            " WHERE status = 'accepted' AND extract_shard_id = ANY(%s) "
            " ORDER BY id LIMIT %s) UNION ALL "
            "(SELECT id, width::bigint * height FROM image "
            " WHERE status = 'accepted' AND extract_shard_id IS NULL "
            " ORDER BY id LIMIT %s) LIMIT %s",
            [abandoned, limit, limit, limit],
        )
        members = _cut(cursor.fetchall(), shard_size, max_pixels)[:max_shards]
        shard_ids = _insert(tx, "extract", dag_run_id, members)
        for shard_id, ids in zip(shard_ids, members, strict=True):
            cursor.execute(
                "UPDATE image SET extract_shard_id = %s WHERE id = ANY(%s)", [shard_id, ids]
            )
    return shard_ids


def _cut(
    images: Sequence[tuple[int, int | None]], most: int, max_pixels: int | None
) -> list[list[int]]:
    """Consecutive image ids, at most so many and so many pixels together."""
    members: list[list[int]] = []
    pixels = 0
    for image_id, size in images:
        pixels += size or 0
        full = max_pixels is not None and pixels > max_pixels
        if not members or full or len(members[-1]) == most:
            members.append([])
            pixels = size or 0
        members[-1].append(image_id)
    return members


def claim(tx: Transaction, shard_id: int) -> Shard | None:
    """Take a shard for this transaction; None when it is done already.

    Waits while another worker holds it (a retry may start before its predecessor is gone).

    Raises:
        NotFound: there is no such shard.
        CatalogBusy: it was still held after the transaction's lock timeout.
    """
    with tx.cursor() as cursor:
        # NO KEY: rows that refer to the shard can be written by others meanwhile.
        cursor.execute(f"SELECT {_COLUMNS} FROM shard WHERE id = %s FOR NO KEY UPDATE", [shard_id])
        row = cursor.fetchone()
    if row is None:
        raise NotFound("shard", str(shard_id))
    shard = Shard(*row)
    return None if shard.state == "done" else shard


def images_of(tx: Transaction, shard_id: int) -> list[ImageRef]:
    """The images a claimed extraction shard still has to extract, by id."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT id, sha256, bucket, object_key, source, captured_at FROM image "
            "WHERE extract_shard_id = %s AND status = 'accepted' ORDER BY id",
            [shard_id],
        )
        return [ImageRef(*row) for row in cursor]


def complete(tx: Transaction, shard_id: int, counts: Mapping[str, Any]) -> None:
    """Mark a claimed shard done, in the transaction that writes its results.

    Raises:
        NotFound: there is no such shard.
        ChangeRefused: it was done before; the results of this transaction must not be kept.
    """
    with tx.cursor() as cursor:
        cursor.execute(
            "UPDATE shard SET state = 'done', counts = %s, error = NULL WHERE id = %s",
            [as_json(counts), shard_id],
        )
        if cursor.rowcount == 0:
            raise NotFound("shard", str(shard_id))


def note_attempt(catalog: Catalog, shard_id: int) -> int:
    """Count a try, visible at once; returns how many there were, this one included.

    A shard that is done is left alone.
    """
    with catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute(
            "UPDATE shard SET state = 'running', attempts = attempts + 1 "
            "WHERE id = %s AND state <> 'done' RETURNING attempts",
            [shard_id],
        )
        row = cursor.fetchone()
        return int(row[0]) if row is not None else get(tx, shard_id).attempts


def fail(catalog: Catalog, shard_id: int, error: str) -> None:
    """Mark a shard failed for good (no retry is left) unless it is done.

    Its images are offered again to the next planning.
    """
    with catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute(
            "UPDATE shard SET state = 'failed', error = %s WHERE id = %s AND state <> 'done'",
            [as_text(error)[:_ERROR_CHARACTERS], shard_id],
        )


def get(tx: Transaction, shard_id: int) -> Shard:
    """One shard, not locked. Raises `NotFound`."""
    with tx.cursor() as cursor:
        cursor.execute(f"SELECT {_COLUMNS} FROM shard WHERE id = %s", [shard_id])
        row = cursor.fetchone()
    if row is None:
        raise NotFound("shard", str(shard_id))
    return Shard(*row)


def of_run(tx: Transaction, stage: Stage, dag_run_id: str) -> list[Shard]:
    """The shards of a DAG run, in order."""
    with tx.cursor() as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM shard WHERE stage = %s AND dag_run_id = %s ORDER BY ordinal",
            [stage, dag_run_id],
        )
        return [Shard(*row) for row in cursor]


def finished(tx: Transaction, stage: Stage) -> list[int]:
    """Ids of the shards of a stage that are done, oldest first."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM shard WHERE stage = %s AND state = 'done' ORDER BY id", [stage]
        )
        return [shard_id for (shard_id,) in cursor]


def totals(tx: Transaction, shard_ids: Sequence[int]) -> dict[str, int]:
    """The counts of these shards, added up, and their number as `shards`."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT key, sum(value::bigint)::bigint FROM shard, jsonb_each_text(counts) "
            "WHERE id = ANY(%s) GROUP BY key ORDER BY key",
            [list(shard_ids)],
        )
        return {"shards": len(shard_ids), **dict(cursor.fetchall())}


def counts_by_state(tx: Transaction) -> dict[str, dict[str, int]]:
    """Stage → state → number of shards."""
    counts: dict[str, dict[str, int]] = {stage: {} for stage in get_args(Stage)}
    with tx.cursor() as cursor:
        cursor.execute("SELECT stage, state, count(*) FROM shard GROUP BY 1, 2 ORDER BY 1, 2")
        for stage, state, number in cursor:
            counts[stage][state] = number
    return counts


def _insert(
    tx: Transaction,
    stage: Stage,
    dag_run_id: str,
    members_by_shard: Sequence[Sequence[Any]],
    *,
    first_ordinal: int = 0,
) -> list[int]:
    if not members_by_shard:
        return []
    with tx.cursor() as cursor:
        created = execute_values(
            cursor,
            "INSERT INTO shard (stage, dag_run_id, ordinal, members) VALUES %s "
            "RETURNING ordinal, id",
            [
                (stage, dag_run_id, ordinal, as_json(list(members)))
                for ordinal, members in enumerate(members_by_shard, first_ordinal)
            ],
            page_size=100,
            fetch=True,
        )
    return [shard_id for _, shard_id in sorted(created)]


def _serialise(tx: Transaction, what: str) -> None:
    """Let one transaction at a time do `what`; the others wait for its commit."""
    with tx.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [what])
