"""Forecasts of activity and flags of hours that were not as due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg2.extras import execute_values

from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.json_values import as_json

Hour = tuple[str, datetime, list[float]]


@dataclass(frozen=True, slots=True)
class ForecastRow:
    """A forecast: see table `forecast`. Times are naive, of `timezone`'s wall clock.

    Attributes:
        evidence: how the method was chosen, trends, what was left out.
        hours: (source, hour, five quantiles).
    """

    origin: datetime
    timezone: str
    method: str
    learned: bool
    model_version_id: int | None
    evidence: Mapping[str, Any]
    hours: Sequence[Hour]
    run_id: str


@dataclass(frozen=True, slots=True)
class FlagRow:
    """Hours of a source that are not as they were due."""

    source: str
    kind: str
    starts_at: datetime
    ends_at: datetime
    timezone: str
    observed: float
    expected: float
    severity: float
    evidence: str


def record(tx: Transaction, row: ForecastRow) -> int:
    """Keep a forecast, in place of an earlier one of the same moment; returns its id."""
    with tx.cursor() as cursor:
        cursor.execute(
            "DELETE FROM forecast WHERE origin = %s AND timezone = %s", [row.origin, row.timezone]
        )
        cursor.execute(
            "INSERT INTO forecast (origin, timezone, method, learned, model_version_id, evidence, "
            "run_id) VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id",
            [
                row.origin, row.timezone, row.method, row.learned, row.model_version_id,
                as_json(dict(row.evidence)), row.run_id,
            ],
        )  # fmt: skip
        (forecast_id,) = cursor.fetchone() or (0,)
        if row.hours:
            execute_values(
                cursor,
                "INSERT INTO forecast_hour (forecast_id, source, at, quantiles) VALUES %s",
                [(forecast_id, source, at, quantiles) for source, at, quantiles in row.hours],
                page_size=1000,
            )
    return int(forecast_id)


def newest(
    tx: Transaction,
    *,
    after: datetime | None = None,
    until: datetime | None = None,
    timezone: str | None = None,
) -> ForecastRow | None:
    """The forecast of the latest moment, or None.

    Args:
        after, until: only of moments in `(after, until]`, on the wall clock.
        timezone: only in this one.
    """
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT id, origin, timezone, method, learned, model_version_id, evidence, run_id "
            "FROM forecast WHERE (%(after)s::timestamp IS NULL OR origin > %(after)s) "
            "AND (%(until)s::timestamp IS NULL OR origin <= %(until)s) "
            "AND (%(timezone)s::text IS NULL OR timezone = %(timezone)s) "
            "ORDER BY origin DESC, id DESC LIMIT 1",
            {"after": after, "until": until, "timezone": timezone},
        )
        row = cursor.fetchone()
        if row is None:
            return None
        cursor.execute(
            "SELECT source, at, quantiles FROM forecast_hour WHERE forecast_id = %s "
            "ORDER BY source, at",
            [row[0]],
        )
        hours = [(source, at, list(quantiles)) for source, at, quantiles in cursor.fetchall()]
    return ForecastRow(*row[1:7], hours, row[7])  # type: ignore[call-arg]


def replace_flags(
    tx: Transaction,
    period: tuple[datetime, datetime],
    flags: Sequence[FlagRow],
    run_id: str,
) -> None:
    """Keep the flags of the period `[start, end)` in place of those that begin in it."""
    start, end = period
    with tx.cursor() as cursor:
        cursor.execute(
            "DELETE FROM activity_flag WHERE starts_at >= %s AND starts_at < %s", [start, end]
        )
        if flags:
            execute_values(
                cursor,
                "INSERT INTO activity_flag (source, kind, starts_at, ends_at, timezone, observed, "
                "expected, severity, evidence, run_id) VALUES %s "
                "ON CONFLICT (source, kind, starts_at) DO NOTHING",
                [
                    (
                        f.source, f.kind, f.starts_at, f.ends_at, f.timezone, f.observed,
                        f.expected, f.severity, f.evidence, run_id,
                    )
                    for f in flags
                ],
            )  # fmt: skip


def flags_between(tx: Transaction, start: datetime, end: datetime) -> list[FlagRow]:
    """Flags that overlap `[start, end)`, by time and source."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT source, kind, starts_at, ends_at, timezone, observed, expected, severity, "
            "evidence FROM activity_flag WHERE starts_at < %s AND ends_at > %s "
            "ORDER BY starts_at, source, kind",
            [end, start],
        )
        return [FlagRow(*row) for row in cursor]
