"""The activity report of a period: counted in the catalogue, rendered, stored in `reports`."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from facecore.analytics.activity import summarise
from facecore.analytics.activity_report import ActivityReport
from facecore.analytics.metrics import SCORE_EDGES, face_metrics, image_metrics
from facecore.analytics.period import Period
from facecore.analytics.report import render
from facecore.errors import ObjectMissing, UsageError
from facecore.jobs.crops import read_crops
from facecore.jobs.lineage import RunContext, code_version, recorded
from facecore.jobs.stores import Stores
from facecore.stores.catalog import reports
from facecore.stores.catalog.activity import ActivityQuery, read_activity
from facecore.types import Image

logger = logging.getLogger(__name__)

KIND = "activity"


def build(
    context: RunContext,
    moment: datetime,
    start: str | None = None,
    end: str | None = None,
    *,
    out: Path | None = None,
    stores: Stores | None = None,
) -> dict[str, str]:
    """Publish the report of a period; returns its bounds and object keys.

    The same period again replaces its report. Its numbers change only if the catalogue did.

    Args:
        moment: without `start`, the day before this moment is reported.
        start, end: first and last day, `YYYY-MM-DD`, both included.
        out: also write the HTML and JSON into this folder.

    Raises:
        UsageError: a date is malformed or the period ends before it starts.
    """
    stores = stores or Stores()
    period = period_of(moment, start, end, stores.settings.report.timezone)
    params = {"start": period.start.isoformat(), "end": period.end.isoformat()}
    with recorded(stores.catalog, context, "report", params) as run:
        report = _count(stores, period)
        rendered = render(report, _thumbnails(stores, report))
        days = f"{period.local_start:%Y-%m-%d}_{period.local_end - timedelta(days=1):%Y-%m-%d}"
        keys = {"html": f"{KIND}/{days}.html", "json": f"{KIND}/{days}.json"}
        stores.objects.put(
            "reports", keys["html"], rendered.html.encode(), content_type="text/html; charset=utf-8"
        )
        stores.objects.put(
            "reports", keys["json"], rendered.json.encode(), content_type="application/json"
        )
        with stores.catalog.transaction() as tx:
            reports.record(
                tx,
                reports.ReportRow(
                    KIND, period.start, period.end, keys["html"], keys["json"], run.id
                ),
            )
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            (out / Path(keys["html"]).name).write_text(rendered.html, "utf-8")
            (out / Path(keys["json"]).name).write_text(rendered.json, "utf-8")
        run.counts = {"images": report.totals.images, "faces": report.totals.faces}
        logger.info("report %s: %s", days, run.counts)
    return {**params, **keys}


def period_of(moment: datetime, start: str | None, end: str | None, timezone: str) -> Period:
    """The whole days a report covers, in the reports' timezone.

    Raises:
        UsageError: a date is malformed, there is an end without a start, or it is before it.
    """
    if start is None:
        if end is not None:
            raise UsageError("an end without a start; give both, or neither for yesterday.")
        local = moment.astimezone(ZoneInfo(timezone)).date()
        return Period.days(local - timedelta(days=1), 1, timezone)
    first, last = _day(start), _day(end or start)
    if last < first:
        raise UsageError(f"the period {first} to {last} ends before it begins.")
    return Period.days(first, (last - first).days + 1, timezone)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a date like 2026-11-23.") from None


def _count(stores: Stores, period: Period) -> ActivityReport:
    images = image_metrics(stores.settings.gate)
    faces = face_metrics(stores.settings.extract.score_threshold)
    query = ActivityQuery(
        start=period.start,
        end=period.end,
        timezone=period.timezone,
        bin_unit=period.bin_unit,
        image_bins={metric.key: metric.edges for metric in images},
        face_bins={metric.key: metric.edges for metric in faces},
        score_edges=SCORE_EDGES,
        top_people=stores.settings.report.top_people,
    )
    with stores.catalog.transaction() as tx:
        frames = read_activity(tx, query)
    return summarise(
        frames,
        period=period,
        image_metrics=images,
        face_metrics=faces,
        generated_at=datetime.now(UTC),
        code_version=code_version(),
    )


def _thumbnails(stores: Stores, report: ActivityReport) -> dict[int, Image]:
    where = {p.face_id: (p.crop_key, p.crop_index) for p in report.people}
    try:
        return read_crops(stores.objects, where)
    except ObjectMissing as missing:
        # Crops can be erased while their counts remain; initials stand in for them.
        logger.warning("report without thumbnails: %s", missing)
        return {}
