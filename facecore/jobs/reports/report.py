"""The activity report of a period: counted in the catalogue, rendered, stored in `reports`."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from facecore.analytics import activity, shared, shared_report
from facecore.analytics.activity_report import ActivityReport
from facecore.analytics.metrics import SCORE_EDGES, face_metrics, image_metrics
from facecore.analytics.period import Period
from facecore.analytics.presence import COUNT_EDGES, DWELL_EDGES, FACE_TRENDS, IMAGE_TRENDS
from facecore.analytics.report import Rendered, render
from facecore.analytics.shared import SharedReport
from facecore.errors import ObjectMissing, UsageError
from facecore.jobs.faces.crops import read_crops
from facecore.jobs.lineage import RunContext, code_version, recorded
from facecore.jobs.reports import report_sections
from facecore.jobs.stores import Stores
from facecore.stores.catalog.reports import reports
from facecore.stores.catalog.reports.activity import ActivityQuery, read_activity, read_totals
from facecore.stores.catalog.reports.presence import PresenceQuery, read_presence
from facecore.stores.catalog.reports.shared_cells import read_shared_cells
from facecore.types import Image

logger = logging.getLogger(__name__)

KIND = "activity"
SHARED_KIND = reports.SHARED


def build(
    context: RunContext,
    moment: datetime,
    start: str | None = None,
    end: str | None = None,
    *,
    share: bool = False,
    out: Path | None = None,
    stores: Stores | None = None,
) -> dict[str, str]:
    """Publish the report of a period; returns its bounds and object keys.

    The same period again replaces its report: with the same bytes, if it is over and the
    catalogue's rows of it did not change.

    Args:
        moment: without `start`, the day before this moment is reported.
        start, end: first and last day, `YYYY-MM-DD`, both included.
        share: also publish a report without names or faces, none of whose numbers is about fewer
            than `FACECORE_REPORT__K_ANONYMITY` people; its keys are `shared_html`, `shared_json`.
        out: also write the files into this folder.

    Raises:
        UsageError: a date is malformed, the period ends before it starts, or it cannot be shared:
            it is shorter than a week, is not over, or overlaps another shared one.
    """
    stores = stores or Stores()
    period = period_of(moment, start, end, stores.settings.report.timezone)
    params = {"start": period.start.isoformat(), "end": period.end.isoformat()}
    if share:
        check_shareable(stores, period)
    with recorded(stores.catalog, context, "report", {**params, "share": share}) as run:
        report, to_share = _count(stores, period, share=share)
        published = {}
        if to_share is not None:
            keys = _publish(
                stores, SHARED_KIND, period, shared_report.render(to_share), run.id, out
            )
            published = {f"shared_{form}": key for form, key in keys.items()}
        more = report_sections.collect(stores, period)
        rendered = render(report, _thumbnails(stores, report), more)
        published |= _publish(stores, KIND, period, rendered, run.id, out)
        run.counts = {"images": report.totals.images, "faces": report.totals.faces}
        logger.info("report %s: %s", published["html"], run.counts)
    return {**params, **published}


def build_week(
    context: RunContext, moment: datetime, stores: Stores | None = None
) -> dict[str, str]:
    """On Mondays (of the reports' timezone) the report of the week before, to be shared, too.

    Returns:
        What `build` returns; nothing on other days. Where a shared report of another period
        overlaps the week, the week is reported but not shared.
    """
    stores = stores or Stores()
    today = moment.astimezone(ZoneInfo(stores.settings.report.timezone)).date()
    if today.isoweekday() != 1:
        return {}
    first, last = str(today - timedelta(days=7)), str(today - timedelta(days=1))
    period = period_of(moment, first, last, stores.settings.report.timezone)
    try:
        check_shareable(stores, period)
        share = True
    except UsageError as refused:
        logger.warning("the week is not shared: %s", refused)
        share = False
    return build(context, moment, first, last, share=share, stores=stores)


def check_shareable(stores: Stores, period: Period) -> None:
    """Shared reports are of whole weeks or more that are over, and never overlap.

    A number that is withheld in one of two overlapping reports could be had by subtracting them.

    Raises:
        UsageError: this period is not like that.
    """
    days = (period.local_end.date() - period.local_start.date()).days
    if days < shared.SHORTEST_DAYS:
        raise UsageError(
            f"a report to be shared covers at least {shared.SHORTEST_DAYS} days, not {days}.",
            remedy="Choose a longer period, or build the report without sharing it.",
        )
    if period.end > datetime.now(UTC):
        raise UsageError(
            f"the period {period.describe()} is not over, so it cannot be shared yet.",
            remedy="Share it when it is over: two versions could be subtracted.",
        )
    with stores.catalog.transaction() as tx:
        other = reports.overlapping(tx, SHARED_KIND, period.start, period.end)
    if other is not None:
        zone = ZoneInfo(period.timezone)
        first, end = other.period_start.astimezone(zone), other.period_end.astimezone(zone)
        raise UsageError(
            f"the report {first:%Y-%m-%d} to {end - timedelta(days=1):%Y-%m-%d} was shared; one "
            "that overlaps it could be subtracted from it.",
            remedy="Share the same period again, or one that does not overlap.",
        )


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


def _count(
    stores: Stores, period: Period, *, share: bool
) -> tuple[ActivityReport, SharedReport | None]:
    """Everything from one snapshot: the period before, the period, and what is shared of it."""
    settings = stores.settings
    images = image_metrics(settings.gate)
    faces = face_metrics(settings.extract.score_threshold)
    query = _query(period, top_people=settings.report.top_people)
    query = replace(
        query,
        image_bins={metric.key: metric.edges for metric in images},
        face_bins={metric.key: metric.edges for metric in faces},
    )
    gap = timedelta(minutes=settings.report.visit_gap_minutes)
    wanted = PresenceQuery(gap, DWELL_EDGES, COUNT_EDGES, image_trends=tuple(IMAGE_TRENDS),
                           face_trends=tuple(FACE_TRENDS))  # fmt: skip
    earlier = period.before()
    now = datetime.now(UTC)
    with stores.catalog.transaction() as tx:
        before = activity.compared(read_totals(tx, _query(earlier)), earlier)
        frames = {**read_activity(tx, query), **read_presence(tx, query, wanted)}
        cells = read_shared_cells(tx, query) if share else {}
    report = activity.summarise(
        frames,
        period=period,
        image_metrics=images,
        face_metrics=faces,
        counted_at=now if now < period.end else None,
        code_version=code_version(),
        visit_gap_s=int(gap.total_seconds()),
        before=before,
    )
    if not share:
        return report, None
    return report, shared.summarise(
        cells,
        report.presence,
        period=period,
        quarantined=report.totals.quarantined,
        k=settings.report.k_anonymity,
        code_version=code_version(),
    )


def _query(period: Period, top_people: int = 0) -> ActivityQuery:
    return ActivityQuery(
        start=period.start,
        end=period.end,
        timezone=period.timezone,
        bin_unit=period.bin_unit,
        score_edges=SCORE_EDGES,
        top_people=top_people,
    )


def _publish(
    stores: Stores, kind: str, period: Period, rendered: Rendered, run_id: str, out: Path | None
) -> dict[str, str]:
    days = f"{period.local_start:%Y-%m-%d}_{period.local_end - timedelta(days=1):%Y-%m-%d}"
    keys = {"html": f"{kind}/{days}.html", "json": f"{kind}/{days}.json"}
    html, numbers = rendered.html.encode(), rendered.json.encode()
    stores.objects.put("reports", keys["html"], html, content_type="text/html; charset=utf-8")
    stores.objects.put("reports", keys["json"], numbers, content_type="application/json")
    with stores.catalog.transaction() as tx:
        reports.record(
            tx,
            reports.ReportRow(kind, period.start, period.end, keys["html"], keys["json"], run_id),
        )
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        prefix = "" if kind == KIND else "shared_"
        (out / f"{prefix}{days}.html").write_bytes(html)
        (out / f"{prefix}{days}.json").write_bytes(numbers)
    return keys


def _thumbnails(stores: Stores, report: ActivityReport) -> dict[int, Image]:
    where = {p.face_id: (p.crop_key, p.crop_index) for p in report.people}
    try:
        return read_crops(stores.objects, where)
    except ObjectMissing as missing:
        # Crops can be erased while their counts remain; initials stand in for them.
        logger.warning("report without thumbnails: %s", missing)
        return {}
