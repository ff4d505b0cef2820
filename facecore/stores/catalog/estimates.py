"""How many rows there are, in a time that does not grow with them: for pages, not for reports."""

from __future__ import annotations

from dataclasses import dataclass

from facecore.stores.catalog.connection import Transaction

# Counted exactly up to here, which takes milliseconds.
EXACT_UP_TO = 50_000


@dataclass(frozen=True, slots=True)
class Count:
    """A number of rows; not exact, it is what the planner's statistics say, or a lower bound."""

    value: int
    exact: bool = True


def rows(tx: Transaction, table: str) -> Count:
    """Rows of a table, or of a partition."""
    counted = matching(tx, table)
    if counted.exact:
        return counted
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT greatest(sum(c.reltuples), 0)::bigint FROM pg_class AS c "
            "WHERE c.oid = %(table)s::regclass OR c.oid IN "
            "(SELECT inhrelid FROM pg_inherits WHERE inhparent = %(table)s::regclass)",
            {"table": table},
        )
        (known,) = cursor.fetchone() or (0,)
    return Count(max(int(known or 0), counted.value), exact=False)


def vectors(tx: Transaction, model_version_id: int) -> Count:
    """Vectors of a model version; none where it has no partition."""
    partition = f"embedding_v{int(model_version_id)}"
    with tx.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [partition])
        known = cursor.fetchone() == (True,)
    return rows(tx, partition) if known else Count(0)


def matching(tx: Transaction, table: str, condition: str = "true") -> Count:
    """Rows that meet a condition an index answers; beyond `EXACT_UP_TO` a lower bound."""
    with tx.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM (SELECT FROM {table} WHERE {condition} LIMIT %s) AS limited",
            [EXACT_UP_TO + 1],
        )
        (number,) = cursor.fetchone() or (0,)
    if number > EXACT_UP_TO:
        return Count(EXACT_UP_TO, exact=False)
    return Count(int(number))
