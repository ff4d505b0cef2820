"""Train challengers, judge them beside the model in use, register them.

Trigger it with a model, a goal and a data set (`facecore dataset list`). Every choice of the
plan is checked before anything starts; what does not fit is said with what would.

**Grid.** Lists of values make one run per combination, for example
`{"learning_rate": [0.001, 0.002], "augmentation": ["light", "strong"]}`. The runs share the
pool `gpu`, one after the other per device.

Each run is in MLflow (experiment `facecore-training`): parameters, curves, environment, git
revision, data set. A run that was killed continues after its last epoch, in the same MLflow
run, when its task is tried again (by the same machine, or one with the same `FACECORE_HOME`).
Each result becomes a version of `face-detector`, `face-embedder` or `face-matcher`; a detector
also gets an embedder version that pairs it with the embedder in use. The best by its
validation metric gets the alias `challenger`. Nothing comes into use by this DAG.

**Schedule.** Off by default: set `FACECORE_TRAINING__SCHEDULE` (such as `@weekly`) to train
with the params below regularly, on the newest version of the data set.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task

from _shared.assets import CHALLENGERS
from _shared.defaults import DAG_DEFAULTS, PLANNING, TRAINING
from _shared.lineage import run_context
from facecore.config import settings
from facecore.lifecycle.training.goals.catalogue import GOALS
from facecore.lifecycle.training.plan import (
    AUGMENTATIONS,
    OPTIMIZERS,
    PRECISIONS,
    SCHEDULERS,
    TRAINABLE,
    TrainingPlan,
)

_DEFAULTS = {name: field.default for name, field in TrainingPlan.model_fields.items()}
_GOALS = "".join(f"\n- `{name}` ({goal.task}): {goal.about}" for name, goal in GOALS.items())


@dag(
    schedule=settings().training.schedule or None,
    catchup=False,
    max_active_runs=1,  # two trainings at once would only halve each other's speed
    default_args=DAG_DEFAULTS,
    dagrun_timeout=timedelta(days=7),
    doc_md=__doc__,
    tags=["facecore", "models"],
    params={
        "model": Param(
            "cnn",
            type="string",
            enum=list(TRAINABLE),
            title="Model",
            description="What is trained; embedders, detectors, or the matcher.",
        ),
        "goals": Param(
            "distill",
            type="string",
            minLength=1,
            examples=[*GOALS, "arcface+triplet=0.5", "arcface+distill"],
            title="Goal",
            description="Joined by +, each with a weight if wanted.",
            description_md=f"Joined by `+`, with weights: `arcface+distill=0.5`.\n{_GOALS}",
        ),
        "dataset": Param(
            "faces",
            type="string",
            minLength=1,
            title="Data set",
            description="Snapshot: NAME for its newest version, or NAME@DIGEST.",
        ),
        "evaluate_on": Param(
            "",
            type="string",
            title="Judge on",
            description="Another snapshot whose test split judges; empty: the data set's own.",
        ),
        "epochs": Param(
            _DEFAULTS["epochs"],
            type="integer",
            minimum=1,
            maximum=10_000,
            title="Epochs",
            description="Times through the training split.",
        ),
        "learning_rate": Param(
            None,
            type=["null", "number"],
            exclusiveMinimum=0,
            title="Learning rate",
            description="The peak; empty: one that suits the optimiser.",
        ),
        "batch_size": Param(
            _DEFAULTS["batch_size"],
            type="integer",
            minimum=2,
            maximum=4096,
            title="Batch size",
            description="Crops or scenes per step and device.",
        ),
        "optimizer": Param(
            _DEFAULTS["optimizer"],
            type="string",
            enum=list(OPTIMIZERS),
            title="Optimiser",
            description="Momentum is the setting `momentum` where there is one.",
        ),
        "scheduler": Param(
            _DEFAULTS["scheduler"],
            type="string",
            enum=list(SCHEDULERS),
            title="Schedule of the learning rate",
            description="After a linear warm-up.",
        ),
        "weight_decay": Param(
            _DEFAULTS["weight_decay"],
            type="number",
            minimum=0,
            title="Weight decay",
            description="Of weights; biases and normalisation layers are left alone.",
        ),
        "dropout": Param(
            None,
            type=["null", "number"],
            minimum=0,
            exclusiveMaximum=1,
            title="Dropout",
            description="For models that have it; empty: the model's own.",
        ),
        "augmentation": Param(
            _DEFAULTS["augmentation"],
            type="string",
            enum=list(AUGMENTATIONS),
            title="Augmentation",
            description="How far views differ from the pictures.",
        ),
        "precision": Param(
            _DEFAULTS["precision"],
            type="string",
            enum=list(PRECISIONS),
            title="Precision",
            description="auto: mixed on CUDA, fp32 on a CPU.",
        ),
        "device": Param(
            _DEFAULTS["device"],
            type="string",
            enum=["auto", "cpu", "cuda"],
            title="Device",
            description="cuda fails at once where there is none.",
        ),
        "seed": Param(
            _DEFAULTS["seed"],
            type="integer",
            minimum=0,
            title="Seed",
            description="The same seed gives the same model on a CPU.",
        ),
        "settings": Param(
            {},
            type="object",
            title="More settings",
            description="Other choices of the plan by name: options, margin, warmup, workers …",
        ),
        "grid": Param(
            {},
            type="object",
            title="Grid",
            description="Choice → list of values; one run per combination.",
        ),
    },
)
def train_model() -> None:
    @task(**PLANNING)
    def plan_runs(params: dict[str, Any]) -> list[dict[str, Any]]:
        from facecore.jobs.training import train

        return train.plan_from_form(params)

    @task(**TRAINING)
    def train_challenger(plan: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
        from facecore.jobs.training import train

        return train.train_challenger(run_context(), plan, evaluate_on=params["evaluate_on"])

    @task(**PLANNING, outlets=[CHALLENGERS], trigger_rule="all_done_min_one_success")
    def choose_challenger(
        results: list[dict[str, Any]], outlet_events: dict[Any, Any]
    ) -> dict[str, Any]:
        from facecore.jobs.training import train

        chosen = train.choose_challenger(list(results))
        outlet_events[CHALLENGERS].extra = {"versions": chosen["versions"], "run": chosen["run"]}
        return chosen

    choose_challenger(train_challenger.expand(plan=plan_runs()))


train_model()
