"""Published reports, for the pages inside Airflow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import jinja2

from facecore.jobs.stores import Stores
from facecore.stores.catalog import reports, runs

_NEWEST = 200
_NEWEST_DOCS = 20


@dataclass(frozen=True, slots=True)
class Entry:
    """A published document: what it is about, when it was made, and its files' keys."""

    title: str
    detail: str
    made_at: datetime
    files: tuple[tuple[str, str], ...]


@lru_cache(maxsize=1)
def _stores() -> Stores:
    return Stores()


def newest_reports(stores: Stores | None = None) -> str:
    """A page that lists the newest 200 reports, and the newest validation results."""
    stores = stores or _stores()
    zone = ZoneInfo(stores.settings.report.timezone)
    with stores.catalog.transaction() as tx:
        found = reports.newest(tx, limit=_NEWEST)
        validated = runs.latest(tx, _NEWEST_DOCS, stage="validate")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("facecore.jobs"), autoescape=True, trim_blocks=True
    )
    return environment.get_template("reports.html.j2").render(
        reports=[_report(one, zone) for one in found],
        validations=[_validation(one) for one in validated if one.counts.get("data_docs")],
    )


def _report(report: reports.Report, zone: ZoneInfo) -> Entry:
    first = report.period_start.astimezone(zone).date()
    last = (report.period_end.astimezone(zone) - timedelta(days=1)).date()
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
    return (stores or _stores()).objects.get("reports", key)
