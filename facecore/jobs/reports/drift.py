"""Drift: a period held against the days before, published, remembered, and said out loud."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from facecore.analytics.drift import canaries, check
from facecore.analytics.drift.check import Limits, Measurement
from facecore.analytics.drift.page import DriftReport, evidence, in_words, render
from facecore.analytics.metrics import DETECTION_SCORE, face_metrics, image_metrics
from facecore.analytics.period import Period
from facecore.errors import DriftFound, NotFound
from facecore.jobs.lineage import RunContext, code_version, recorded
from facecore.jobs.models.champions import Champions, champions, extractor, while_models_change
from facecore.jobs.reports.report import period_of
from facecore.jobs.stores import Stores
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.faces import faces
from facecore.stores.catalog.models import active
from facecore.stores.catalog.reports import alerts, drift, reports
from facecore.stores.catalog.reports.drift import CheckRow, MeasurementRow
from facecore.types import Floats

logger = logging.getLogger(__name__)

KIND = "drift"
_PEOPLE = 200
_FACES_EACH = 3
_NO_DISTRIBUTION = frozenset({"pixels"})  # cameras have a few sizes; a new one is not drift


def measure(
    context: RunContext,
    moment: datetime,
    start: str | None = None,
    end: str | None = None,
    stores: Stores | None = None,
) -> dict[str, Any]:
    """Measure drift, publish and record it, and raise an alert for whatever is over its limit.

    It does not fail when something drifted: see `judge`.

    Args:
        moment: without `start`, the `FACECORE_DRIFT__PERIOD_DAYS` before this day are looked at.
        start, end: first and last day, `YYYY-MM-DD`, both included.

    Returns:
        check (its id), html and json (object keys), measures, drifted.

    Raises:
        UsageError: a date is malformed or the period ends before it starts.
    """
    stores = stores or Stores()
    settings = stores.settings.drift
    zone = stores.settings.report.timezone
    if start is None and end is None:
        today = moment.astimezone(ZoneInfo(zone)).date()
        start = str(today - timedelta(days=settings.period_days))
        end = str(today - timedelta(days=1))
    period = period_of(moment, start, end, zone)
    first = period.local_start.date() - timedelta(days=settings.reference_days)
    reference = Period.days(first, settings.reference_days, zone)
    params = {"start": period.start.isoformat(), "end": period.end.isoformat()}
    with recorded(stores.catalog, context, KIND, params) as run:
        found = while_models_change(lambda: _measured(stores, reference, period, run.id))
        rendered = render(found)
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
                tx, reports.ReportRow(KIND, period.start, period.end, keys["html"], keys["json"],
                                      run.id)
            )  # fmt: skip
            check_id = drift.record(
                tx,
                CheckRow(
                    period.start, period.end, reference.start, period.start, keys["html"], run.id,
                    [_row(one) for one in found.measurements],
                ),
            )  # fmt: skip
            _raise_alerts(tx, found, keys["html"], run.id)
        run.counts = {
            "measures": sum(one.state != "too_few" for one in found.measurements),
            "drifted": len(found.drifted),
        }
        logger.info("drift %s: %s", days, run.counts)
    return {"check": check_id, **keys, **run.counts}


def judge(check_id: int, stores: Stores | None = None) -> None:
    """Fail, with the evidence, if a check found drift.

    Raises:
        DriftFound: it did.
        NotFound: there is no such check.
    """
    stores = stores or Stores()
    with stores.catalog.transaction() as tx:
        found = drift.get(tx, check_id)
    if found is None:
        raise NotFound("drift check", str(check_id))
    if not found.drifted:
        return
    said = [_measurement(one) for one in found.measurements]
    raise DriftFound(
        f"{len(said):,} measures of {found.period_start:%Y-%m-%d} and the days after drifted: "
        + " ".join(in_words(one) for one in said[:5])
        + (" …" if len(said) > 5 else ""),
        evidence={f"{one.subject}: {one.measure}": evidence(one) for one in said},
        report=found.html_key,
        remedy=f"Read the report {found.html_key} (Airflow: Face reports), then acknowledge the "
        "alerts: `facecore alerts list`.",
    )


def _measured(stores: Stores, reference: Period, period: Period, run_id: str) -> DriftReport:
    chosen = champions(stores)
    limits = _limits(stores)
    found = [_canary(stores, chosen, limits, run_id)]
    images = [m for m in image_metrics(stores.settings.gate) if m.key not in _NO_DISTRIBUTION]
    of_faces = face_metrics(stores.settings.extract.score_threshold)
    image_bins = {m.key: m.edges for m in images}
    face_bins = {m.key: m.edges for m in of_faces}
    most = stores.settings.drift.max_samples
    old, new = (reference.start, period.start), (period.start, period.end)
    with stores.catalog.transaction() as tx:
        active.pin(tx, chosen.embedder_row.id)
        found += check.distributions(
            drift.read_histograms(tx, *old, image_bins, face_bins),
            drift.read_histograms(tx, *new, image_bins, face_bins),
            limits,
        )
        for what, keys, is_face in (
            ("images", list(image_bins), False),
            ("faces", [DETECTION_SCORE, *(k for k in face_bins if k != DETECTION_SCORE)], True),
        ):
            before, after = (
                drift.read_rows(tx, *span, keys, of_faces=is_face, limit=most)
                for span in (old, new)
            )
            found.append(check.told_apart(what, before, after, limits))
        row = chosen.embedder_row
        found += check.impostors(
            _recognised(tx, row.id, *old),
            _recognised(tx, row.id, *new),
            limits,
            threshold=row.threshold,
            target_fmr=row.target_fmr,
        )
        found += check.silent_sources(
            drift.read_source_days(tx, *old, period.timezone),
            drift.read_source_days(tx, *new, period.timezone),
            reference.weekdays(),
            period.weekdays(),
        )
    return DriftReport(period, reference, chosen.names["embed"], code_version(), tuple(found))


def _canary(stores: Stores, chosen: Champions, limits: Limits, run_id: str) -> Measurement:
    """Embed the canaries as production does; at the first check of a contract they are pinned."""
    embedder = extractor(stores, chosen).embedder
    vectors = dict(
        zip(canaries.digests(), embedder.embed(canaries.canaries()).vectors, strict=True)
    )
    contract = chosen.embedder_row.contract
    with stores.catalog.transaction() as tx:
        pinned = drift.pinned_canaries(tx, contract)
        if not pinned.keys() & vectors.keys() and all(
            np.isfinite(vector).all() for vector in vectors.values()
        ):
            drift.pin_canaries(tx, contract, vectors, embedder.precision, run_id)
    return check.canary(chosen.names["embed"], canaries.reproduced(pinned, vectors), limits)


def _recognised(
    tx: Transaction, embedder_id: int, start: datetime, end: datetime
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Vectors of a sample of recognised faces, and whose they are."""
    whose = drift.recognised_faces(tx, start, end, people=_PEOPLE, faces_each=_FACES_EACH)
    if not whose:
        return np.zeros((0, 1), np.float32), np.zeros(0, np.int64)
    condition = f"face.id IN ({','.join(str(int(face_id)) for face_id in sorted(whose))})"
    ids, vectors = faces.read_vectors(tx, embedder_id, condition)
    return vectors, np.array([whose[int(face_id)] for face_id in ids], np.int64)


def _raise_alerts(tx: Transaction, found: DriftReport, html_key: str, run_id: str) -> None:
    span = (found.period.start, found.period.end)
    for kind, subject, severity, measurements in _grouped(found.drifted):
        said = {
            "report": html_key,
            "in_words": [in_words(one) for one in measurements],
            "measures": {one.measure: evidence(one) for one in measurements},
        }
        alerts.raise_alert(tx, kind, subject, severity, said, run_id, period=span)


def _grouped(
    drifted: Sequence[Measurement],
) -> list[tuple[str, str, alerts.Severity, list[Measurement]]]:
    """Per alert: its kind, subject, severity, and what it is about."""
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for one in drifted:
        kind = {"canary": "contract", "silent": "source_silent"}.get(one.measure, KIND)
        groups.setdefault((kind, one.subject), []).append(one)
    return [
        (kind, subject, "critical" if kind == "contract" else "warning", some)
        for (kind, subject), some in sorted(groups.items())
    ]


def _limits(stores: Stores) -> Limits:
    chosen = stores.settings.drift
    return Limits(
        chosen.psi, chosen.auc, chosen.score_shift, chosen.alpha, chosen.canary_tolerance,
        chosen.min_samples,
    )  # fmt: skip


def _row(one: Measurement) -> MeasurementRow:
    return MeasurementRow(
        one.subject, one.measure, one.state, one.value, one.upper_limit, one.p_value,
        one.reference_n, one.period_n, one.details,
    )  # fmt: skip


def _measurement(row: MeasurementRow) -> Measurement:
    return Measurement(
        row.subject, row.measure, "drift", row.value, row.upper_limit, row.p_value,
        row.reference_n, row.period_n, row.details,
    )  # fmt: skip
