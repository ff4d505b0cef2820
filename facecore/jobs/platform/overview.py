"""The state of the platform on one page: what waits where, how fast it goes, what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from facecore.jobs.stores import Stores
from facecore.stores.catalog.pages import state
from facecore.stores.catalog.pages.state import DagRun, Holdings, Hour
from facecore.stores.catalog.reports import alerts
from facecore.stores.catalog.reports.alerts import Alert

HOURS = 24
_SHOWN_ALERTS = 20

# Stage of a run → the step of the pipeline it belongs to.
STAGES = {
    "ingest.shard": "Ingest",
    "validate": "Quality gate",
    "extract.shard": "Extract",
    "identify.shard": "Identify",
    "cluster": "Cluster",
    "report": "Report",
}


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the pipeline: when it last ended and how; None: it never ran."""

    name: str
    stage: str
    state: str | None
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Throughput:
    """The last `HOURS` hours, every hour present, oldest first.

    Attributes:
        images_per_s: extracted, per second in which an extraction was at work; None: none was.
    """

    hours: list[Hour]
    ingested: int
    extracted: int
    faces: int
    images_per_s: float | None


@dataclass(frozen=True, slots=True)
class Overview:
    """What the overview shows."""

    at: datetime
    holdings: Holdings
    steps: list[Step]
    throughput: Throughput
    runs: list[DagRun]
    alerts: list[Alert]
    open_alerts: dict[str, int]


def overview(stores: Stores | None = None) -> Overview:
    """The state of now. Its time does not grow with the catalogue.

    Raises:
        CatalogUnavailable: the catalogue cannot be read.
    """
    now = datetime.now(UTC)
    with (stores or Stores()).catalog.transaction() as tx:
        ended = state.last_finished(tx, list(STAGES))
        return Overview(
            at=now,
            holdings=state.holdings(tx),
            steps=[
                Step(name, stage, *ended.get(stage, (None, None))) for stage, name in STAGES.items()
            ],
            throughput=throughput(state.hours(tx, _first_hour(now)), now),
            runs=state.dag_runs(tx),
            alerts=alerts.open_alerts(tx, limit=_SHOWN_ALERTS),
            open_alerts=alerts.count_open(tx),
        )


def throughput(worked: list[Hour], now: datetime) -> Throughput:
    """Fill in the hours in which nothing was done, and add up."""
    known = {hour.start.astimezone(UTC): hour for hour in worked}
    starts = [_first_hour(now) + timedelta(hours=i) for i in range(HOURS)]
    hours = [known.get(start, Hour(start, 0, 0, 0, 0.0)) for start in starts]
    extracted, seconds = sum(h.extracted for h in hours), sum(h.extract_s for h in hours)
    return Throughput(
        hours=hours,
        ingested=sum(h.ingested for h in hours),
        extracted=extracted,
        faces=sum(h.faces for h in hours),
        images_per_s=extracted / seconds if seconds > 0 else None,
    )


def acknowledge(alert_id: int, *, actor: str, reason: str, stores: Stores | None = None) -> None:
    """Say that somebody has dealt with an alert.

    Raises:
        NotFound: there is no such alert.
        UsageError: no reason was given.
        ChangeRefused: it was acknowledged before.
    """
    with (stores or Stores()).catalog.transaction() as tx:
        alerts.acknowledge(tx, alert_id, actor, reason)


def _first_hour(now: datetime) -> datetime:
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return hour - timedelta(hours=HOURS - 1)
