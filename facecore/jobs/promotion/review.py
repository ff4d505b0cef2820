"""A challenger is judged, a person decides, and what they decided is recorded and done."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facecore.errors import PromotionRefused
from facecore.jobs.lineage import Run, RunContext, recorded
from facecore.jobs.models import analysis_models
from facecore.jobs.models.champions import champions
from facecore.jobs.models.model_versions import candidate
from facecore.jobs.promotion import analysis_review, promotion
from facecore.jobs.stores import Stores
from facecore.jobs.training import challengers
from facecore.jobs.training.evaluate_model import ModelReport, evaluate_model
from facecore.lifecycle.review import Answer, Review, summary
from facecore.lifecycle.review_tracking import record_review
from facecore.stores.catalog import audit
from facecore.stores.catalog.models import active
from facecore.stores.catalog.reports import reports
from facecore.stores.registry import ModelVersionInfo

if TYPE_CHECKING:
    from facecore.lifecycle.datasets.snapshot import Snapshot
    from facecore.lifecycle.evaluation import GateLimits, GateResult

logger = logging.getLogger(__name__)

KIND = "review"
# Where the plugin serves what lies in bucket `reports`.
_PAGES = "/facecore/reports"


def evaluate(
    context: RunContext,
    name: str,
    version: int,
    dataset: str,
    *,
    limits: Mapping[str, Any] | None = None,
    override: str = "",
    stores: Stores | None = None,
) -> dict[str, Any]:
    """Judge a challenger beside the champion; publish and log the evidence.

    Args:
        limits: of the gates, by the names of `GateLimits`; its defaults where left out.
        override: why failed gates are not to block; recorded.

    Returns:
        `Review.to_json`, for the reviewer and for `decide`.

    Raises:
        NotFound: no such version or snapshot.
        PromotionRefused: a gate failed and nothing overrides it, or the version could not come
            into use anyway; recorded as a decision.
    """
    from facecore.lifecycle.datasets import open_snapshot
    from facecore.lifecycle.evaluation import GateLimits

    stores = stores or Stores()
    params = {"model": f"{name}/{version}", "dataset": dataset, "override": override}
    with recorded(stores.catalog, context, "review.evaluate", params) as run:
        info = stores.registry.version(name, version)
        snapshot = open_snapshot(stores.objects, dataset)
        if analysis_models.is_analysis(info):
            return _of_analysis(stores, context, run, info, snapshot, limits, override)
        report = _judge(stores, info, snapshot, GateLimits(**dict(limits or {})))
        assert report.comparison is not None and report.champion is not None  # noqa: S101, PT018
        key = f"{KIND}/{name}-{version}-{run.id[:8]}.html"
        review = Review(
            name=name,
            version=version,
            dataset=snapshot.reference,
            champion=report.champion.model,
            failed=tuple(g.name for g in report.gates if not g.passed),
            override=override.strip(),
            evidence=key,
            run_id="",
            summary=summary(
                f"{name}/{version}",
                report.champion.model,
                snapshot.reference,
                report.comparison,
                report.gates,
                override=override,
                evidence_url=f"{_PAGES}/{key}",
            ),
        )
        run.models = {"challenger": review.subject, "champion": review.champion}
        review = replace(review, run_id=_publish(stores, run.id, review, report, snapshot))
        run.counts = {"gates": len(report.gates), "failed": len(review.failed)}
        if review.blocked:
            _block(stores, context, info, review, report.gates)
    return review.to_json()


def decide(
    context: RunContext,
    review: Mapping[str, Any],
    response: Mapping[str, Any],
    stores: Stores | None = None,
) -> list[int]:
    """Record what the reviewer decided; on approval, start the promotion.

    Returns:
        The promotion's id, in a list that is empty where nothing is to be promoted.

    Raises:
        UsageError: a person gave no reason.
        PromotionRefused, ChangeRefused: approved, but it cannot be promoted now.
    """
    stores = stores or Stores()
    judged, answer = Review.from_json(review), Answer.read(response)
    params = {"model": judged.subject, "decision": answer.decision}
    with recorded(stores.catalog, context, "review.decide", params) as run:
        info = stores.registry.version(judged.name, judged.version)
        _record(stores, context, info, judged, answer)
        if answer.decision != "approved":
            return []
        if analysis_models.is_analysis(info):
            analysis_review.approve(stores, judged, answer, _evidence(judged))
            return []  # in use at once: nothing is embedded anew
        embedder = _embedder_of(stores, info)
        with stores.catalog.transaction() as tx:
            used = active.current(tx).embedder
        if (used.name, used.version) == (embedder.name, embedder.version):
            return []  # this task was done before
        promotion_id = promotion.promote(
            embedder.name,
            embedder.version,
            actor=answer.reviewer or "",
            reason=answer.reason,
            origin="review",
            details=_evidence(judged),
            stores=stores,
        )
        run.counts = {"promotion": promotion_id}
    return [promotion_id]


def _of_analysis(
    stores: Stores,
    context: RunContext,
    run: Run,
    info: ModelVersionInfo,
    snapshot: Snapshot,
    limits: Mapping[str, Any] | None,
    override: str,
) -> dict[str, Any]:
    """`evaluate` of an autoencoder, a forecaster or a matcher."""
    from facecore.lifecycle.evaluation import GateLimits

    margin = GateLimits(**dict(limits or {})).accuracy_margin
    review, results = analysis_review.judge(
        stores, info, snapshot, run.id, margin=margin, override=override
    )
    run.models = {"challenger": review.subject, "champion": review.champion}
    run.counts = {"gates": len(results), "failed": len(review.failed)}
    if review.blocked:
        _block(stores, context, info, review, results)
    return review.to_json()


def _embedder_of(stores: Stores, info: ModelVersionInfo) -> ModelVersionInfo:
    """The embedder version by which an approved version comes into use.

    A detector comes with the weights of the embedder in use, since no other embedder was judged.
    It was paired with the one that was in use when it was trained; if that is another one by now,
    it is paired anew.
    """
    if "embedding" in info.contract:
        return info
    chosen = champions(stores)
    for version in reversed(stores.registry.versions(chosen.embedder.name)):
        paired = version.contract["embedding"]["detector_sha256"] == info.weights_sha256
        if paired and version.weights_sha256 == chosen.embedder.weights_sha256:
            return version
    with tempfile.TemporaryDirectory(prefix="facecore-register-") as scratch:
        return challengers.pair(stores, chosen, info, Path(scratch))


def _judge(
    stores: Stores, info: ModelVersionInfo, snapshot: Snapshot, limits: GateLimits
) -> ModelReport:
    """Challenger beside champion; who could not come into use anyway is refused before."""
    subject = f"{info.name}/{info.version}"
    if subject in champions(stores).names.values():
        raise PromotionRefused(
            subject,
            f"{subject} is in use already.",
            failed=("in use",),
            remedy="`facecore models` lists the versions that are not.",
        )
    if "embedding" in info.contract:
        candidate(stores, info.name, info.version)
    return evaluate_model(subject, snapshot.reference, limits=limits, stores=stores)


def _publish(
    stores: Stores, run_id: str, review: Review, report: ModelReport, snapshot: Snapshot
) -> str:
    """Evidence page and numbers into bucket `reports` and MLflow; returns MLflow's run."""
    assert report.champion is not None  # noqa: S101 (`evaluate` refused to judge it alone)
    facts = {"Gates overridden": review.override} if review.override else None
    numbers = review.evidence.removesuffix(".html") + ".json"
    now = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="facecore-review-") as scratch:
        page, document, *_ = report.write(Path(scratch), facts)
        for key, file, kind in (
            (review.evidence, page, "text/html; charset=utf-8"),
            (numbers, document, "application/json"),
        ):
            stores.objects.put("reports", key, file.read_bytes(), content_type=kind)
        mlflow_run = record_review(
            stores.settings.mlflow,
            review,
            Path(scratch),
            snapshot,
            metrics={
                f"{side}_{key}": value
                for side, one in (("challenger", report.evaluation), ("champion", report.champion))
                for key, value in one.metrics().items()
            },
        )
    with stores.catalog.transaction() as tx:
        # A report is of a period; of a review, the moment it was made.
        row = reports.ReportRow(
            KIND, now - timedelta(microseconds=1), now, review.evidence, numbers, run_id
        )
        reports.record(tx, row)
    return mlflow_run


def _block(
    stores: Stores,
    context: RunContext,
    info: ModelVersionInfo,
    review: Review,
    results: Sequence[GateResult],
) -> None:
    why = "; ".join(f"{g.name}: {g.reason}" for g in results if not g.passed)
    _record(stores, context, info, review, Answer("blocked", "gates", why))
    raise PromotionRefused(
        review.subject,
        f"{review.subject} is not put to a reviewer: {why}",
        failed=review.failed,
        remedy="Train a better one, or trigger review_model again with a reason to override "
        "the gates.",
    )


def _record(
    stores: Stores, context: RunContext, info: ModelVersionInfo, review: Review, answer: Answer
) -> None:
    """The decision in the registry's tags and, once per DAG run, in the audit log."""
    reviewer = answer.reviewer or "time-out"
    stores.registry.tag(
        info,
        {
            "review.decision": answer.decision,
            "review.reviewer": reviewer,
            "review.reason": answer.reason,
            "review.at": datetime.now(UTC).isoformat(timespec="seconds"),
            "review.dataset": review.dataset,
            "review.evidence": review.evidence,
            "review.run": review.run_id,
            "review.override": review.override,
        },
    )
    action = f"review.{answer.decision.replace(' ', '_')}"
    with stores.catalog.transaction() as tx:
        for entry in audit.newest(tx, subject=review.subject):
            if entry.action == action and entry.details.get("dag_run") == context.dag_run_id:
                return
        details = {**_evidence(review), "dag_run": context.dag_run_id}
        audit.record(tx, reviewer, action, review.subject, answer.reason, details)
    logger.info("%s: %s by %s", review.subject, answer.decision, reviewer)


def _evidence(review: Review) -> dict[str, Any]:
    return {
        "champion": review.champion,
        "dataset": review.dataset,
        "evidence": review.evidence,
        "mlflow_run": review.run_id,
        "failed_gates": list(review.failed),
        "override": review.override,
    }
