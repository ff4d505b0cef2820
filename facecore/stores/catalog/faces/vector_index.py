"""The HNSW index of a model version's vectors: built, rebuilt, and what it is like.

Each partition of `embedding` has its own. Vectors that are inserted later go into the index at
once; a partition that is filled first and indexed then is ready in a fraction of the time.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg2 import errors as pg
from psycopg2.extensions import cursor as Cursor

from facecore.errors import CatalogBusy, NotFound
from facecore.stores.catalog.connection import Catalog, Transaction, told_in_our_words

# Links of each vector, and how many candidates it chooses them from. More links or candidates make
# a build, and every insertion, take longer in proportion; twice pgvector's 64 candidates reach a
# recall with fewer steps of each look-up (benchmarks/search.py, docs/performance.md).
M = 16
EF_CONSTRUCTION = 128

# Of one vector in the graph while it is built: its links on the lowest level (2 M of 16 bytes), on
# the levels above, and overhead. An estimate: pgvector says so when a graph did not fit.
_BYTES_PER_LINK = 16
_OVERHEAD_BYTES = 250
# More is not asked for: a server that builds larger graphs is told so in its own settings.
_MOST_MEMORY_MB = 4096


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """An index as it is.

    Attributes:
        oid: another one after it was built anew.
        m, ef_construction: what it was built with.
        bytes: on disk.
    """

    oid: int
    m: int
    ef_construction: int
    bytes: int


def partition(model_version_id: int) -> str:
    """The table that holds the vectors of a model version."""
    return f"embedding_v{int(model_version_id)}"


def exists(tx: Transaction, table: str) -> bool:
    """Whether there is a table, or index, of this name."""
    with tx.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [f"facecore.{table}"])
        return cursor.fetchone() == (True,)


def find(tx: Transaction, model_version_id: int) -> VectorIndex | None:
    """The usable index of a model version's vectors, or None."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT c.oid, coalesce((SELECT option_value FROM pg_options_to_table(c.reloptions) "
            " WHERE option_name = 'm')::int, 16), "  # pgvector's own defaults
            "coalesce((SELECT option_value FROM pg_options_to_table(c.reloptions) "
            " WHERE option_name = 'ef_construction')::int, 64), pg_relation_size(c.oid) "
            "FROM pg_class AS c JOIN pg_index ON indexrelid = c.oid "
            "WHERE c.oid = to_regclass(%s) AND indisvalid",
            [f"facecore.{partition(model_version_id)}_hnsw"],
        )
        row = cursor.fetchone()
    return None if row is None else VectorIndex(*map(int, row))


def build(tx: Transaction, model_version_id: int, dimension: int) -> None:
    """Create the index of a filled partition unless it exists.

    With memory for the whole graph where that is at most 4 GiB, or what the server's own
    `maintenance_work_mem` gives: a graph that does not fit is built many times more slowly. It
    takes minutes for millions of vectors, so the transaction's time limit is lifted.
    """
    table = partition(model_version_id)
    with tx.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [table])
        if exists(tx, f"{table}_hnsw"):
            return
        cursor.execute("SET LOCAL statement_timeout = 0")
        _give_memory(cursor, table, dimension, local=True)
        cursor.execute("SAVEPOINT build")
        try:
            cursor.execute(_statement(f"{table}_hnsw", table, dimension))
        except pg.DiskFull:
            # Parallel workers share their memory through /dev/shm, which containers keep small.
            cursor.execute("ROLLBACK TO build")
            cursor.execute("SET LOCAL max_parallel_maintenance_workers = 0")
            cursor.execute(_statement(f"{table}_hnsw", table, dimension))


def rebuild(catalog: Catalog, model_version_id: int, dimension: int) -> None:
    """Build the index, anew beside the old one if there is one, then put it in its place.

    Look-ups and writers go on meanwhile, and it waits for those who write. Interrupted, the old
    one stays, or the new one is in place already; repeated, it begins again.

    Raises:
        NotFound: the version has no vectors.
        CatalogBusy: it is being rebuilt already.
    """
    table = partition(model_version_id)
    name, new, old = (f"{table}_hnsw{suffix}" for suffix in ("", "_new", "_old"))
    connection = catalog.connect()
    connection.autocommit = True  # an index that is built concurrently wants no transaction
    try:
        with told_in_our_words(catalog.database), connection.cursor() as cursor:
            if not exists(connection, table):
                raise NotFound("vectors of model version", str(model_version_id))
            cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 1))", [table])
            if cursor.fetchone() != (True,):
                raise CatalogBusy(f"catalogue: the index of {table} is being rebuilt already.")
            # It waits for those who write, a shard's minutes perhaps, and holds nobody up.
            cursor.execute("SET statement_timeout = 0; SET lock_timeout = 0")
            _give_memory(cursor, table, dimension, local=False)
            for left_over in (new, old):
                cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {left_over}")
            statement = _statement(new, table, dimension, how="CONCURRENTLY")
            try:
                cursor.execute(statement)
            except pg.DiskFull:  # as above
                cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {new}")
                cursor.execute("SET max_parallel_maintenance_workers = 0")
                cursor.execute(statement)
            # Neither renaming nor dropping concurrently holds anybody up: a plain DROP would wait
            # for every writer, and every look-up for it. Two statements sent together are one
            # transaction.
            cursor.execute(
                f"ALTER INDEX IF EXISTS {name} RENAME TO {old}; ALTER INDEX {new} RENAME TO {name}"
            )
            cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {old}")
    finally:
        connection.close()


def _give_memory(cursor: Cursor, table: str, dimension: int, *, local: bool) -> None:
    """As much `maintenance_work_mem` as the graph takes, or what the server gives already."""
    per_vector = 2 * dimension + 2 * M * _BYTES_PER_LINK + _OVERHEAD_BYTES
    cursor.execute(
        f"SELECT set_config('maintenance_work_mem', greatest("
        f" pg_size_bytes(current_setting('maintenance_work_mem')) / 1024, "
        f" least((SELECT count(*) FROM {table}) * %s / 1024, %s))::text, %s)",
        [per_vector, _MOST_MEMORY_MB * 1024, local],
    )


def _statement(name: str, table: str, dimension: int, how: str = "") -> str:
    return (
        f"CREATE INDEX {how} {name} ON {table} "
        f"USING hnsw ((vector::halfvec({int(dimension)})) halfvec_cosine_ops) "
        f"WITH (m = {M}, ef_construction = {EF_CONSTRUCTION})"
    )
