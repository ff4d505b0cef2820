"""Published reports, and the quality gate's Data Docs, for the pages inside Airflow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from facecore.jobs.stores import Stores
from facecore.stores.catalog import runs
from facecore.stores.catalog.pages import published
from facecore.stores.catalog.reports import reports

_NEWEST_DOCS = 20


@dataclass(frozen=True, slots=True)
class Entry:
    """A published document: what it is about, when it was made, and its files' keys."""

    title: str
    detail: str
    made_at: datetime
    files: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Published:
    """A page of what was published.

    Attributes:
        kinds: of reports, that there are any of.
        more_before: id of the report to go on after; None: this is the last page.
    """

    reports: list[Entry]
    validations: list[Entry]
    kinds: list[str]
    more_before: int | None


def newest(
    *,
    kind: str | None = None,
    before: int | None = None,
    limit: int = 50,
    stores: Stores | None = None,
) -> Published:
    """Reports, newest first, and the newest validation results.

    Args:
        before: id of the last report of the page before.
    """
    stores = stores or Stores()
    zone = ZoneInfo(stores.settings.report.timezone)
    with stores.catalog.transaction() as tx:
        made = None if before is None else published.made_at(tx, before)
        after = None if before is None or made is None else (made, before)
        found = published.newest(tx, kind=kind, before=after, limit=limit + 1)
        validated = runs.latest(tx, _NEWEST_DOCS, stage="validate")
        kinds = published.kinds(tx)
    return Published(
        reports=[_report(one, zone) for one in found[:limit]],
        validations=[_validation(one) for one in validated if one.counts.get("data_docs")],
        kinds=kinds,
        more_before=found[limit - 1].id if len(found) > limit else None,
    )


def _report(report: reports.Report, zone: ZoneInfo) -> Entry:
    first = report.period_start.astimezone(zone).date()
    last = (report.period_end.astimezone(zone) - timedelta(microseconds=1)).date()
    days = f"{first}" if first == last else f"{first} to {last}"
    files = (("report", report.html_key), ("JSON", report.json_key))
    return Entry(days, report.kind, report.created_at, files)


def _validation(run: runs.Run) -> Entry:
    counts = run.counts
    detail = f"{counts.get('images', 0):,} images, {counts.get('rejected', 0):,} rejected"
    if run.state == "failed":
        detail += "; the batch was stopped"
    files = (("Data Docs", str(counts["data_docs"])),)
    return Entry(run.dag_run_id, detail, run.started_at, files)


def read_published(key: str, stores: Stores | None = None) -> bytes:
    """The bytes of a published file.

    Raises:
        ObjectMissing: there is no such file.
        KeyRefused: the key points elsewhere.
    """
    return (stores or Stores()).objects.get("reports", key)
