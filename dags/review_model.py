"""A challenger beside the champion, and a person who decides.

Trigger it with a registered version and a snapshot (`facecore dataset list`). Both models are
evaluated on the same data in the same run; the evidence goes to MLflow (experiment
`facecore-reviews`) and to *Browse → Face reports*. Gates (accuracy, fairness, latency) can stop
it before anybody is asked; with *Override* filled in they are told to the reviewer instead.

**`ask`** waits for a person: *Required Actions* in this run. Approve, reject or ask for more,
with a reason. Nobody for seven days counts as a rejection. Decision, reviewer and reason are
kept as tags of the version in MLflow and in the audit log.

**Approval** points the aliases `champion` and `previous` and starts `reembed_faces`; nothing
changes for anybody before that has switched. An approved detector comes into use with the
newest embedder version that is paired with it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param, dag, task

from _shared.assets import WANTED_MODELS
from _shared.defaults import DAG_DEFAULTS, JUDGING, PLANNING, REVIEW_TIME
from _shared.lineage import run_context
from facecore.lifecycle.review import OPTIONS, REJECT


def _limit(default: float | None, title: str, description: str, minimum: float) -> Param:
    kind = "number" if default is not None else ["null", "number"]
    return Param(default, type=kind, minimum=minimum, title=title, description=description)


@dag(
    schedule=None,
    catchup=False,
    max_active_runs=2,  # a run that waits for its reviewer must not stop the next one
    default_args=DAG_DEFAULTS,
    dagrun_timeout=REVIEW_TIME + timedelta(days=1),
    doc_md=__doc__,
    tags=["facecore", "models"],
    params={
        "model": Param(
            "face-embedder",
            type="string",
            minLength=1,
            title="Model",
            description="Registered model, for example face-embedder or face-detector.",
        ),
        "version": Param(
            1,
            type="integer",
            minimum=1,
            title="Version",
            description="The challenger's version number in MLflow.",
        ),
        "dataset": Param(
            "faces",
            type="string",
            minLength=1,
            title="Data set",
            description="Snapshot whose test split judges: NAME or NAME@DIGEST. Faces for an "
            "embedder, scenes for a detector.",
        ),
        "accuracy_margin": _limit(
            0.01, "Accuracy margin", "The accuracy may be lower by at most this.", 0
        ),
        "fmr_ratio": _limit(
            10.0, "Fairness: false matches", "Worst group's rate over the best group's.", 1
        ),
        "fnmr_ratio": _limit(
            5.0, "Fairness: misses", "Worst group's rate over the best group's.", 1
        ),
        "slowdown": Param(
            2.0,
            type=["null", "number"],
            minimum=1,
            title="Slowdown",
            description="At most so many times the champion's time; empty: any.",
        ),
        "override": Param(
            "",
            type="string",
            title="Override",
            description="Why failed gates are not to stop this review; recorded. Empty: they do.",
        ),
    },
)
def review_model() -> None:
    @task(**JUDGING)
    def evaluate(params: dict[str, Any]) -> dict[str, Any]:
        from facecore.jobs.promotion import review

        limits = {
            name: params[name]
            for name in ("accuracy_margin", "fmr_ratio", "fnmr_ratio", "slowdown")
        }
        asked = (params["model"], params["version"], params["dataset"])
        return review.evaluate(run_context(), *asked, limits=limits, override=params["override"])

    ask = HITLOperator(
        task_id="ask",
        subject="Promote {{ params.model }} version {{ params.version }}?",
        body="{{ ti.xcom_pull(task_ids='evaluate')['summary'] }}",
        options=list(OPTIONS),
        defaults=REJECT,
        response_timeout=REVIEW_TIME,
        # Empty until somebody answers, so it has to be allowed; the form demands it of people.
        params={
            "reason": Param(
                "",
                type="string",
                title="Reason",
                description="Recorded with your decision.",
            )
        },
    )

    @task(**PLANNING)
    def decide(judged: dict[str, Any], response: dict[str, Any]) -> list[int]:
        from facecore.jobs.promotion import review

        return review.decide(run_context(), judged, response)

    @task(**PLANNING, outlets=[WANTED_MODELS])
    def promote(promotion_id: int, outlet_events: dict[Any, Any]) -> int:
        from facecore.jobs.promotion import promotion

        outlet_events[WANTED_MODELS].extra = promotion.describe(promotion_id)
        return promotion_id

    judged = evaluate()
    judged >> ask
    promote.expand(promotion_id=decide(judged, ask.output))


review_model()
