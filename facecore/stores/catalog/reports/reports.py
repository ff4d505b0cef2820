"""Which reports exist; the documents themselves are in bucket "reports"."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from facecore.stores.catalog.connection import Transaction

# Reports of this kind may leave the house. The database lets no two of them overlap, because
# subtracting one from the other could give what both withhold.
SHARED = "activity-shared"


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A report to record: the period `[start, end)` and the keys of its two forms."""

    kind: str
    period_start: datetime
    period_end: datetime
    html_key: str
    json_key: str
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A recorded report."""

    id: int
    kind: str
    period_start: datetime
    period_end: datetime
    html_key: str
    json_key: str
    run_id: str | None
    created_at: datetime


_COLUMNS = "id, kind, period_start, period_end, html_key, json_key, run_id, created_at"


def record(tx: Transaction, row: ReportRow) -> int:
    """Record a report; one of the same kind and period is replaced. Returns the id."""
    with tx.cursor() as cursor:
        cursor.execute(
            "INSERT INTO report (kind, period_start, period_end, html_key, json_key, run_id) "
            "VALUES (%s, %s, %s, %s, %s, %s) "
            "ON CONFLICT (kind, period_start, period_end) DO UPDATE SET "
            "html_key = excluded.html_key, json_key = excluded.json_key, "
            "run_id = excluded.run_id, created_at = now() RETURNING id",
            [
                row.kind, row.period_start, row.period_end, row.html_key, row.json_key, row.run_id,
            ],
        )  # fmt: skip
        (report_id,) = cursor.fetchone() or (0,)
        return int(report_id)


def newest(tx: Transaction, kind: str | None = None, limit: int = 20) -> list[Report]:
    """Reports of a kind, or of every kind, newest first."""
    with tx.cursor() as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM report WHERE %s::text IS NULL OR kind = %s "
            "ORDER BY created_at DESC, id DESC LIMIT %s",
            [kind, kind, limit],
        )
        return [Report(*row) for row in cursor]


def overlapping(tx: Transaction, kind: str, start: datetime, end: datetime) -> Report | None:
    """A report of this kind about another period that overlaps `[start, end)`, if there is one."""
    with tx.cursor() as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM report WHERE kind = %s AND period_start < %s "
            "AND period_end > %s AND (period_start, period_end) <> (%s, %s) "
            "ORDER BY period_start LIMIT 1",
            [kind, end, start, start, end],
        )
        row = cursor.fetchone()
    return None if row is None else Report(*row)
