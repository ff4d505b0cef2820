"""Alerts: what a person should look at, with the evidence; one open per kind and subject."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg2.extras import DateTimeTZRange

from facecore.errors import ChangeRefused, NotFound, UsageError
from facecore.stores.catalog import audit
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.json_values import as_json, as_text

Severity = Literal["info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")


@dataclass(frozen=True, slots=True)
class Alert:
    """A raised alert.

    Attributes:
        kind: what is wrong, in the words of who raised it: `drift`, `contract`, `source_silent` …
        subject: of what: `source/gate`, `face-embedder/2` …
        severity: info, warning or critical: the highest since it was raised.
        evidence: the numbers that say so, of the last time it was seen.
        period_start, period_end: the half-open time it is about, if it is about one.
        run_id: the run that saw it last.
        raised_at, seen_at, times: when it was first and last seen, and how often.
        acknowledged_at, acknowledged_by, acknowledged_for: who dealt with it, and why; None: open.
    """

    id: int
    kind: str
    subject: str
    severity: Severity
    evidence: dict[str, Any]
    period_start: datetime | None
    period_end: datetime | None
    run_id: str | None
    raised_at: datetime
    seen_at: datetime
    times: int
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    acknowledged_for: str | None

    @property
    def is_open(self) -> bool:
        """Nobody has dealt with it yet."""
        return self.acknowledged_at is None


_COLUMNS = (
    "id, kind, subject, severity, evidence, lower(period), upper(period), run_id, raised_at, "
    "seen_at, times, acknowledged_at, acknowledged_by, acknowledged_for"
)


def raise_alert(
    tx: Transaction,
    kind: str,
    subject: str,
    severity: Severity,
    evidence: Mapping[str, Any],
    run_id: str | None,
    *,
    period: tuple[datetime, datetime] | None = None,
) -> int:
    """Raise an alert, or renew the open one of the same kind and subject; returns its id.

    Renewed, it has the new evidence, period and run, and the higher of both severities. The same
    run seeing it again (a task that was tried twice) does not count again.

    Raises:
        UsageError: the severity is not known.
    """
    if severity not in SEVERITIES:
        raise UsageError(f"severity {severity!r} is none of {', '.join(SEVERITIES)}.")
    span = None if period is None else DateTimeTZRange(*period)
    with tx.cursor() as cursor:
        cursor.execute(
            "INSERT INTO alert AS a (kind, subject, severity, evidence, period, run_id) "
            "VALUES (%(kind)s, %(subject)s, %(severity)s, %(evidence)s, %(period)s, %(run)s) "
            "ON CONFLICT (kind, subject) WHERE acknowledged_at IS NULL DO UPDATE SET "
            "severity = CASE WHEN array_position(%(order)s, excluded.severity) > "
            "array_position(%(order)s, a.severity) THEN excluded.severity ELSE a.severity END, "
            "evidence = excluded.evidence, period = excluded.period, run_id = excluded.run_id, "
            "seen_at = clock_timestamp(), "
            "times = a.times + (excluded.run_id IS NULL OR "
            "                   a.run_id IS DISTINCT FROM excluded.run_id)::integer "
            "RETURNING id",
            {
                "kind": kind,
                "subject": as_text(subject),
                "severity": severity,
                "evidence": as_json(evidence),
                "period": span,
                "run": run_id,
                "order": list(SEVERITIES),
            },
        )
        (alert_id,) = cursor.fetchone() or (0,)
        return int(alert_id)


def get(tx: Transaction, alert_id: int) -> Alert:
    """One alert by id. Raises `NotFound`."""
    with tx.cursor() as cursor:
        cursor.execute(f"SELECT {_COLUMNS} FROM alert WHERE id = %s", [alert_id])
        row = cursor.fetchone()
    if row is None:
        raise NotFound("alert", str(alert_id), remedy="`facecore alerts list` shows them.")
    return Alert(*row)


def open_alerts(
    tx: Transaction, *, kind: str | None = None, before: int | None = None, limit: int = 50
) -> list[Alert]:
    """Alerts nobody has dealt with, newest first; `before` is the id after which to go on."""
    return _listed(tx, "acknowledged_at IS NULL", kind, before, limit)


def newest(
    tx: Transaction, *, kind: str | None = None, before: int | None = None, limit: int = 50
) -> list[Alert]:
    """All alerts, dealt with or not, newest first; `before` is the id after which to go on."""
    return _listed(tx, "true", kind, before, limit)


def count_open(tx: Transaction) -> dict[str, int]:
    """Severity → open alerts; every severity is present."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT severity, count(*) FROM alert WHERE acknowledged_at IS NULL GROUP BY 1"
        )
        found: dict[str, int] = dict(cursor.fetchall())
    return {severity: found.get(severity, 0) for severity in SEVERITIES}


def acknowledge(tx: Transaction, alert_id: int, actor: str, reason: str) -> None:
    """Say that somebody has dealt with an alert; seen again later, it is raised anew.

    Raises:
        NotFound: there is no such alert.
        UsageError: no reason was given.
        ChangeRefused: it was acknowledged before.
    """
    if not reason.strip():
        raise UsageError(
            "an alert is acknowledged with a reason.", remedy="Say what was done about it."
        )
    with tx.cursor() as cursor:
        cursor.execute(
            "UPDATE alert SET acknowledged_at = clock_timestamp(), acknowledged_by = %s, "
            "acknowledged_for = %s WHERE id = %s AND acknowledged_at IS NULL",
            [as_text(actor), as_text(reason), alert_id],
        )
        changed = cursor.rowcount == 1
    alert = get(tx, alert_id)
    if not changed:
        raise ChangeRefused(
            f"alert {alert_id} was acknowledged before, by {alert.acknowledged_by}.",
            rule="alert_acknowledged",
        )
    audit.record(
        tx,
        actor,
        "alert.acknowledged",
        f"alert/{alert_id}",
        reason,
        {"kind": alert.kind, "subject": alert.subject, "severity": alert.severity},
    )


def _listed(
    tx: Transaction, where: str, kind: str | None, before: int | None, limit: int
) -> list[Alert]:
    with tx.cursor() as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM alert WHERE {where} "
            "AND (%(kind)s::text IS NULL OR kind = %(kind)s) "
            "AND (%(before)s::bigint IS NULL OR id < %(before)s) "
            "ORDER BY id DESC LIMIT %(limit)s",
            {"kind": kind, "before": before, "limit": limit},
        )
        return [Alert(*row) for row in cursor]
