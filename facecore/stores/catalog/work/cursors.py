"""How far the incremental listing of a landing bucket has come."""

from __future__ import annotations

from facecore.stores.catalog.connection import Transaction


def start_after(tx: Transaction, bucket: str, prefix: str) -> str:
    """The key after which the next listing starts; empty at the beginning."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT start_after FROM ingest_cursor WHERE bucket = %s AND prefix = %s",
            [bucket, prefix],
        )
        row = cursor.fetchone()
    return "" if row is None else str(row[0])


def advance(tx: Transaction, bucket: str, prefix: str, key: str) -> None:
    """Continue after `key`; the empty string starts over at the beginning."""
    with tx.cursor() as cursor:
        cursor.execute(
            "INSERT INTO ingest_cursor (bucket, prefix, start_after) VALUES (%s, %s, %s) "
            "ON CONFLICT (bucket, prefix) DO UPDATE SET start_after = excluded.start_after, "
            "updated_at = now()",
            [bucket, prefix, key],
        )
