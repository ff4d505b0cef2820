"""Reports as pages list them: by when they were made, newest first, page by page."""

from __future__ import annotations

from datetime import datetime

from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.reports.reports import Report


def newest(
    tx: Transaction,
    *,
    kind: str | None = None,
    before: tuple[datetime, int] | None = None,
    limit: int = 50,
) -> list[Report]:
    """Reports of one kind or of all, newest first.

    Args:
        before: when the last one of the page before was made, and its id.
    """
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT id, kind, period_start, period_end, html_key, json_key, run_id, created_at "
            "FROM report WHERE (%(kind)s::text IS NULL OR kind = %(kind)s) "
            "AND (%(at)s::timestamptz IS NULL OR (created_at, id) < (%(at)s, %(id)s)) "
            "ORDER BY created_at DESC, id DESC LIMIT %(limit)s",
            {
                "kind": kind,
                "at": None if before is None else before[0],
                "id": None if before is None else before[1],
                "limit": limit,
            },
        )
        return [Report(*row) for row in cursor]


def made_at(tx: Transaction, report_id: int) -> datetime | None:
    """When a report was made; None where there is no such report."""
    with tx.cursor() as cursor:
        cursor.execute("SELECT created_at FROM report WHERE id = %s", [report_id])
        row = cursor.fetchone()
    return None if row is None else row[0]


def kinds(tx: Transaction) -> list[str]:
    """The kinds there are reports of, by name."""
    with tx.cursor() as cursor:
        cursor.execute("SELECT DISTINCT kind FROM report ORDER BY kind")
        return [kind for (kind,) in cursor]
