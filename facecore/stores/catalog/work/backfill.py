"""What a back-fill keeps in the catalogue: who runs it, and which of its shards are open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from facecore.errors import CatalogBusy
from facecore.stores.catalog.connection import Catalog, Transaction, told_in_our_words

_LOCK = "back-fill of extraction"


@contextmanager
def alone(catalog: Catalog) -> Iterator[None]:
    """Nobody else fills back meanwhile. Ends with the connection, however the process ends.

    Raises:
        CatalogBusy: somebody else does.
    """
    connection = catalog.connect()
    try:
        with told_in_our_words(catalog.database), connection.cursor() as cursor:
            connection.autocommit = True  # or it would be an open transaction for hours
            cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [_LOCK])
            (mine,) = cursor.fetchone() or (False,)
        if not mine:
            raise CatalogBusy(
                "another back-fill is running on this catalogue.",
                remedy="Wait for it, or end it: what it has done stays, and the next one goes on.",
            )
        yield
    finally:
        connection.close()


def open_shards(tx: Transaction, prefix: str) -> list[tuple[int, str]]:
    """Id and run of extraction shards that are not done, of runs whose name starts so.

    Those that were tried least come first, so that a shard which ends every process that
    touches it is the last one left.
    """
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT id, dag_run_id FROM shard WHERE stage = 'extract' AND state <> 'done' "
            "AND starts_with(dag_run_id, %s) ORDER BY attempts, id",
            [prefix],
        )
        return [(int(shard_id), str(run)) for shard_id, run in cursor]
