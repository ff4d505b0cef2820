"""Train a challenger: plan, train, judge beside the model in use, register.

A run has a name and a folder. The same name again continues what was interrupted: training
after its last epoch, evaluation and registration from their beginning.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from facecore.errors import UsageError
from facecore.jobs.lineage import RunContext, code_version, recorded
from facecore.jobs.models.champions import champions
from facecore.jobs.stores import Stores
from facecore.jobs.training import training_data
from facecore.lifecycle.training.plan import TrainingPlan, expand_grid, make_plan

if TYPE_CHECKING:
    from facecore.lifecycle.datasets.snapshot import Snapshot

logger = logging.getLogger(__name__)

CHALLENGER = "challenger"


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run came to, in numbers and names.

    Attributes:
        run: its name; `run_id` is MLflow's.
        metric, value: of the validation split, which picked the epoch; `higher_is_better`.
        versions: registered, "name/version": the model, and for a detector the embedder
            version that pairs it.
        test, champion: measured on the test split, of this model and of the one in use.
    """

    run: str
    run_id: str
    model: str
    goal: str
    dataset: str
    metric: str
    value: float
    higher_is_better: bool
    epochs: int
    best_epoch: int
    versions: tuple[str, ...]
    test: dict[str, float]
    champion: dict[str, float]


def plan_runs(
    choices: Mapping[str, Any],
    grid: Mapping[str, Sequence[Any]] | None = None,
    *,
    evaluate_on: str = "",
    stores: Stores | None = None,
) -> list[dict[str, Any]]:
    """One plan, as JSON, per combination of the grid; everything is checked before any starts.

    The data set is pinned to the version it has now, so that all runs, and their later tries,
    learn from the same pictures.

    Raises:
        NotFound, UsageError: a name that does not exist, a value that cannot work, or data
            that cannot train or judge the model; what would do is listed.
    """
    stores = stores or Stores()
    plans = [_checked(stores, plan, evaluate_on) for plan in expand_grid(choices, grid or {})]
    return [plan.model_dump(mode="json") for plan in plans]


def plan_from_form(
    form: Mapping[str, Any], *, stores: Stores | None = None
) -> list[dict[str, Any]]:
    """`plan_runs` of a form: choices by name, `settings` with more of them, `grid`,
    `evaluate_on`.
    """
    choices = dict(form)
    grid = choices.pop("grid", None) or {}
    evaluate_on = choices.pop("evaluate_on", "") or ""
    choices |= choices.pop("settings", None) or {}
    return plan_runs(choices, grid, evaluate_on=evaluate_on, stores=stores)


def run_name(context: RunContext, plan: TrainingPlan) -> str:
    """Name of the run of this task or command: the same for each of its tries."""
    identity = (context.dag_id, context.dag_run_id, context.task_id, str(context.map_index))
    key = hashlib.sha256("\0".join(identity).encode()).hexdigest()[:10]
    return f"{plan.model}-{re.sub(r'[^a-z0-9]+', '-', plan.goal)}-{key}"


def train_challenger(
    context: RunContext,
    plan: Mapping[str, Any],
    *,
    evaluate_on: str = "",
    resume: str = "",
    progress: bool = False,
    stores: Stores | None = None,
) -> dict[str, Any]:
    """One run: train, judge on the test split, register as a new version.

    Args:
        plan: a `TrainingPlan` as JSON; `plan_runs` makes them.
        evaluate_on: data set whose test split judges; the one of the plan by default.
        resume: name or MLflow id of a run to go on with; its own plan is used.
        progress: show a bar on stderr.

    Raises:
        NotFound, UsageError: see `plan_runs`.
        TrainingDiverged: a loss became NaN or infinite.
        WeightsError: the run's checkpoint is damaged or was altered.
        SnapshotDamaged: an object of the data set is missing or altered.
    """
    from facecore.lifecycle.training.run_folder import find_run

    stores = stores or Stores()
    folder = training_data.runs_folder(stores)
    if resume:
        found, record = find_run(folder, resume)
        chosen_plan, name = record.plan, found.path.name
    else:
        chosen_plan = make_plan(plan)
        name = run_name(context, chosen_plan)
    chosen_plan = _checked(stores, chosen_plan, evaluate_on)
    with recorded(
        stores.catalog, context, "train", {"run": name, **chosen_plan.model_dump(mode="json")}
    ) as run:
        trained = _train(stores, chosen_plan, name, evaluate_on, progress)
        run.counts.update(epochs=trained.epochs, versions=list(trained.versions))
        run.models.update(train=trained.versions[0])
    return asdict(trained)


def choose_challenger(
    results: Sequence[Mapping[str, Any]], *, stores: Stores | None = None
) -> dict[str, Any]:
    """Give the alias `challenger` to the best result by its validation metric.

    The test split does not choose: then it could not judge any more.

    Returns:
        The winner's result, with the number of runs.

    Raises:
        UsageError: there is no result.
    """
    stores = stores or Stores()
    known = [dict(result) for result in results if result]
    if not known:
        raise UsageError("no run came to an end, so there is no challenger.")
    comparable = [one for one in known if one["metric"] == known[0]["metric"]]
    best = max(
        comparable, key=lambda one: one["value"] if one["higher_is_better"] else -one["value"]
    )
    for version in best["versions"]:
        name, _, number = version.rpartition("/")
        stores.registry.set_alias(name, CHALLENGER, int(number))
    logger.info("challenger: %s", ", ".join(best["versions"]))
    return {**best, "runs": len(known)}


def _checked(stores: Stores, plan: TrainingPlan, evaluate_on: str) -> TrainingPlan:
    """The plan, possible, and with its data set pinned."""
    from facecore.lifecycle.training import requirements

    spec = requirements.check_plan(plan)
    kind = requirements.kind_for(spec.task)
    snapshot = training_data.open_for(stores, plan.dataset, kind)
    judge_on = _judge_on(stores, snapshot, evaluate_on, kind)
    if spec.task in ("embed", "match"):
        training_data.require_judgeable(judge_on)
    elif not len(judge_on.frame("test")):
        raise UsageError(f"{judge_on.reference} has no {kind} in its test split.")
    return plan.model_copy(update={"dataset": snapshot.reference})


def _judge_on(stores: Stores, snapshot: Snapshot, evaluate_on: str, kind: str) -> Snapshot:
    return training_data.open_for(stores, evaluate_on, kind) if evaluate_on else snapshot


def _train(
    stores: Stores, plan: TrainingPlan, name: str, evaluate_on: str, progress: bool
) -> Trained:
    from facecore.jobs.training.challengers import register_challenger
    from facecore.lifecycle.training.requirements import check_plan, kind_for, needs_teacher
    from facecore.lifecycle.training.run import train
    from facecore.lifecycle.training.tracking import MlflowTracker, add_to_run

    chosen = champions(stores)
    workdir = training_data.runs_folder(stores) / name
    task = check_plan(plan).task
    snapshot = training_data.open_for(stores, plan.dataset, kind_for(task))
    teacher = None
    if needs_teacher(plan):
        taught = training_data.teaching_pair(stores, workdir, chosen)
        teacher = training_data.teacher_of(stores, taught, plan.precision)
        if task == "match":
            chosen = taught  # these vectors it compares, and no other's
    tracker = MlflowTracker(stores.settings.mlflow, snapshot)
    trained = train(
        plan,
        snapshot,
        workdir=workdir,
        teacher=teacher,
        tracker=tracker,
        tags={"code": code_version(), "run": name},
        progress=progress,
    )
    judge_on = _judge_on(stores, snapshot, evaluate_on, snapshot.kind)
    versions, judged = register_challenger(stores, chosen, trained, judge_on)
    names = tuple(f"{info.name}/{info.version}" for info in versions)
    assert trained.run_id is not None  # noqa: S101 (it was tracked)
    add_to_run(
        stores.settings.mlflow,
        trained.run_id,
        metrics={
            **{f"test/{key}": value for key, value in judged.metrics.items()},
            **{f"champion/{key}": value for key, value in judged.champion_metrics.items()},
        },
        documents={f"evaluation/{key}": value for key, value in judged.documents.items()},
    )
    return Trained(
        run=name,
        run_id=trained.run_id,
        model=plan.model,
        goal=plan.goal,
        dataset=trained.dataset,
        metric=trained.metric,
        value=trained.metric_value,
        higher_is_better=trained.higher_is_better,
        epochs=plan.epochs,
        best_epoch=trained.best_epoch,
        versions=names,
        test=judged.metrics,
        champion=judged.champion_metrics,
    )
