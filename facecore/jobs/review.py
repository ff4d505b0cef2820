"""A challenger is judged, a person decides, and what they decided is recorded and done."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facecore.errors import NotFound, PromotionRefused
from facecore.jobs import promotion
from facecore.jobs.judging import Judged, judge
from facecore.jobs.lineage import RunContext, recorded
from facecore.jobs.stores import Stores
from facecore.lifecycle.review import Answer, Review, summary
from facecore.lifecycle.review_tracking import record_review
from facecore.stores.catalog import active, audit, reports
from facecore.stores.registry import ModelVersionInfo

if TYPE_CHECKING:
    from facecore.lifecycle.evaluation import Comparison, GateResult

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
    from facecore.lifecycle.evaluation import GateLimits, compare, gates

    stores = stores or Stores()
    params = {"model": f"{name}/{version}", "dataset": dataset, "override": override}
    with recorded(stores.catalog, context, "review.evaluate", params) as run:
        held = GateLimits(**dict(limits or {}))
        info = stores.registry.version(name, version)
        snapshot = open_snapshot(stores.objects, dataset)
        judged = judge(stores, info, snapshot)
        comparison = compare(judged.champion, judged.challenger)
        results = gates(
            judged.challenger, judged.champion, held, comparison=comparison, cost=judged.cost
        )
        key = f"{KIND}/{name}-{version}-{run.id[:8]}.html"
        review = Review(
            name=name,
            version=version,
            dataset=snapshot.reference,
            champion=judged.champion.model,
            failed=tuple(g.name for g in results if not g.passed),
            override=override.strip(),
            evidence=key,
            run_id="",
            summary=summary(
                f"{name}/{version}",
                judged.champion.model,
                snapshot.reference,
                comparison,
                results,
                override=override,
                evidence_url=f"{_PAGES}/{key}",
            ),
        )
        run.models = {"challenger": review.subject, "champion": review.champion}
        run_id = _publish(stores, run.id, review, judged, comparison, results, snapshot)
        review = Review(**{**_fields(review), "run_id": run_id})
        run.counts = {"gates": len(results), "failed": len(review.failed)}
        if review.blocked:
            _block(stores, context, info, review, results)
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


def _embedder_of(stores: Stores, info: ModelVersionInfo) -> ModelVersionInfo:
    """The embedder version by which an approved version comes into use."""
    if "embedding" in info.contract:
        return info
    known = stores.registry.versions(stores.settings.mlflow.embedder)
    for version in reversed(known):
        if version.contract["embedding"]["detector_sha256"] == info.weights_sha256:
            return version
    raise NotFound(
        "embedder version paired with detector",
        f"{info.name}/{info.version}",
        remedy="`facecore train` registers one beside each detector it trains.",
    )


def _publish(
    stores: Stores,
    run_id: str,
    review: Review,
    judged: Judged,
    comparison: Comparison,
    results: list[GateResult],
    snapshot: Any,
) -> str:
    """Evidence page and numbers into bucket `reports` and MLflow; returns MLflow's run."""
    from facecore.lifecycle.evaluation import draw_plots, render_evidence

    plots = draw_plots(judged.challenger, judged.champion)
    page = render_evidence(
        judged.challenger,
        judged.champion,
        comparison=comparison,
        gate_results=results,
        cost=judged.cost,
        plots=plots,
        facts={"Gates overridden": review.override} if review.override else None,
    )
    document = {
        "challenger": judged.challenger.to_json(),
        "champion": judged.champion.to_json(),
        "comparison": comparison.to_json(),
        "gates": [result.to_json() for result in results],
        "cost": judged.cost.to_json(),
        "override": review.override,
    }
    text = json.dumps(document, indent=1, default=str)
    numbers = review.evidence.removesuffix(".html") + ".json"
    stores.objects.put("reports", review.evidence, page, content_type="text/html; charset=utf-8")
    stores.objects.put("reports", numbers, text.encode(), content_type="application/json")
    now = datetime.now(UTC)
    with stores.catalog.transaction() as tx:
        # A report is of a period; of a review, the moment it was made.
        row = reports.ReportRow(
            KIND, now - timedelta(microseconds=1), now, review.evidence, numbers, run_id
        )
        reports.record(tx, row)
    with tempfile.TemporaryDirectory(prefix="facecore-review-") as scratch:
        folder = Path(scratch)
        (folder / "evidence.html").write_bytes(page)
        (folder / "evidence.json").write_text(text, "utf-8")
        (folder / "plots").mkdir()
        for plot in plots:
            (folder / "plots" / f"{plot.name}.png").write_bytes(plot.png)
        return record_review(
            stores.settings.mlflow,
            review,
            folder,
            snapshot,
            metrics={
                f"{side}_{key}": value
                for side, one in (("challenger", judged.challenger), ("champion", judged.champion))
                for key, value in one.metrics().items()
            },
        )


def _block(
    stores: Stores,
    context: RunContext,
    info: ModelVersionInfo,
    review: Review,
    results: list[GateResult],
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


def _fields(review: Review) -> dict[str, Any]:
    return {**review.to_json(), "failed": review.failed}
