"""The review of an autoencoder, forecaster or matcher: judged beside the one in use, shown to a
person.

The decision is recorded as that of any model; approval brings the version into use at once.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facecore.errors import PromotionRefused
from facecore.jobs.models import analysis_models
from facecore.jobs.stores import Stores
from facecore.jobs.training import matchers
from facecore.jobs.training.analysis_judging import Measured, gates, measure
from facecore.lifecycle.review import Answer, Review
from facecore.lifecycle.review_tracking import record_review
from facecore.stores.catalog.reports import reports
from facecore.stores.registry import ModelVersionInfo

if TYPE_CHECKING:
    from facecore.lifecycle.datasets.snapshot import Snapshot
    from facecore.lifecycle.evaluation import GateResult
    from facecore.stores.catalog.models.models import ModelVersion

NOBODY = "no version yet"
_PAGES = "/facecore/reports"


def judge(
    stores: Stores,
    info: ModelVersionInfo,
    snapshot: Snapshot,
    run_id: str,
    *,
    margin: float,
    override: str,
) -> tuple[Review, list[GateResult]]:
    """Measure both, publish page and numbers, record the run.

    Args:
        margin: by how much it may be worse than the one in use.

    Raises:
        PromotionRefused: it is in use already.
        UsageError: the snapshot is of the wrong kind or too small.
    """
    task: analysis_models.AnalysisTask = info.contract["task"]
    subject = f"{info.name}/{info.version}"
    used = analysis_models.in_use(stores, task)
    if used is not None and (used.name, used.version) == (info.name, info.version):
        raise PromotionRefused(subject, f"{subject} is in use already.", failed=("in use",))
    own, other = _measured(stores, info, snapshot, used)
    results = gates(task, own, other, margin=margin)
    key = f"review/{info.name}-{info.version}-{run_id[:8]}.html"
    review = Review(
        name=info.name,
        version=info.version,
        dataset=snapshot.reference,
        champion=NOBODY if other is None else other.model,
        failed=tuple(gate.name for gate in results if not gate.passed),
        override=override.strip(),
        evidence=key,
        run_id="",
        summary="",
    )
    review = replace(review, summary=_summary(review, own, other, results))
    return replace(
        review, run_id=_publish(stores, run_id, review, own, other, results, snapshot)
    ), results


def _measured(
    stores: Stores, info: ModelVersionInfo, snapshot: Snapshot, used: ModelVersion | None
) -> tuple[Measured, Measured | None]:
    """The challenger, and what it is put beside."""
    if info.contract["task"] == "match":
        return matchers.judge(stores, info, snapshot)
    network = analysis_models.load(stores, info.name, info.version)
    own = measure(network, snapshot, f"{info.name}/{info.version}")
    if used is None:
        return own, None
    rival = analysis_models.load(stores, used.name, used.version)
    return own, measure(rival, snapshot, f"{used.name}/{used.version}")


def approve(stores: Stores, review: Review, answer: Answer, details: Mapping[str, Any]) -> None:
    """Bring an approved version into use."""
    analysis_models.activate(
        review.name,
        review.version,
        actor=answer.reviewer or "",
        reason=answer.reason,
        details={**details, "origin": "review"},
        stores=stores,
    )


def _rows(own: Measured, other: Measured | None) -> list[tuple[str, str, str]]:
    numbers = {} if other is None else other.metrics
    return [
        (name, f"{numbers[name]:.4f}" if name in numbers else "", f"{value:.4f}")
        for name, value in own.metrics.items()
    ]


def _summary(
    review: Review, own: Measured, other: Measured | None, results: Sequence[GateResult]
) -> str:
    lines = [
        f"Shall **{review.subject}** come into use in place of {review.champion}? "
        f"Judged on `{review.dataset}`.",
        "",
        f"| measure | {review.champion} | {review.subject} |",
        "|---|---|---|",
        *(f"| {name} | {before} | {value} |" for name, before, value in _rows(own, other)),
        "",
        *(f"- **{'passed' if g.passed else 'FAILED'}** {g.name}: {g.reason}" for g in results),
        "",
        f"[Evidence page]({_PAGES}/{review.evidence})",
    ]
    if review.override:
        lines += ["", f"The failed gates were overridden: {review.override}"]
    return "\n".join(lines)


def _publish(
    stores: Stores,
    run_id: str,
    review: Review,
    own: Measured,
    other: Measured | None,
    results: Sequence[GateResult],
    snapshot: Snapshot,
) -> str:
    from facecore.lifecycle.evaluation.analysis_evidence import render_analysis_evidence

    page = render_analysis_evidence(
        review.subject,
        review.champion,
        snapshot,
        _rows(own, other),
        results,
        review.override,
        own.plots,
    )
    document = json.dumps(
        {
            "model": own.model,
            "gates": [gate.to_json() for gate in results],
            "evaluation": own.document,
            "champion": None if other is None else other.document,
        },
        indent=1,
    ).encode()
    numbers = review.evidence.removesuffix(".html") + ".json"
    stores.objects.put("reports", review.evidence, page, content_type="text/html; charset=utf-8")
    stores.objects.put("reports", numbers, document, content_type="application/json")
    with tempfile.TemporaryDirectory(prefix="facecore-review-") as scratch:
        (Path(scratch) / "evidence.html").write_bytes(page)
        (Path(scratch) / "evaluation.json").write_bytes(document)
        for plot in own.plots:
            (Path(scratch) / f"{plot.name}.png").write_bytes(plot.png)
        sides = {"challenger": own, **({} if other is None else {"champion": other})}
        mlflow_run = record_review(
            stores.settings.mlflow,
            review,
            Path(scratch),
            snapshot,
            metrics={
                f"{side}_{name}": value
                for side, one in sides.items()
                for name, value in one.metrics.items()
            },
        )
    now = datetime.now(UTC)
    with stores.catalog.transaction() as tx:
        # A report is of a period; of a review, the moment it was made.
        row = reports.ReportRow(
            "review", now - timedelta(microseconds=1), now, review.evidence, numbers, run_id
        )
        reports.record(tx, row)
    return mlflow_run
