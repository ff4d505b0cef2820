"""What the demo does once faces are found, so that every page has something to show.

An autoencoder learns from the crops, is reviewed and scores them; activity is forecast; drift is
looked for. What is there already, and of which nothing new was delivered, is left as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from facecore.jobs.demo.demo_runs import Runs
from facecore.jobs.lineage import command_context
from facecore.jobs.models import analysis_models
from facecore.jobs.platform.local_platform import Say
from facecore.jobs.stores import Stores
from facecore.jobs.training.dataset import DatasetBuilder
from facecore.jobs.training.train import CHALLENGER
from facecore.lifecycle.datasets.splits import SplitPlan
from facecore.lifecycle.review import APPROVE
from facecore.local.airflow_client import AirflowClient, DagRun
from facecore.stores.catalog.faces import anomalies
from facecore.stores.catalog.models import active
from facecore.stores.catalog.pages.summary import summarise
from facecore.stores.catalog.people import clusters
from facecore.stores.catalog.reports import drift, forecasts

DAGS = frozenset(
    {
        "cluster_people",
        "forecast_activity",
        "review_model",
        "score_anomalies",
        "train_model",
        "watch_drift",
    }
)
_SNAPSHOT = "demo-crops"
_DRIFT_DAYS = 7
# Fewer are not enough to learn from and to judge by.
_LEAST_FACES = 150
# From so many people on, an autoencoder is judged on people it never saw; of a handful, a person
# left out would be a third of all.
_MANY_PEOPLE = 20
# About a minute on two cores, however many crops there are; with half as many epochs a processor
# without bfloat16 did not pass the gates. A real one gets more.
_TRAINING = {
    "model": "autoencoder",
    "goals": "reconstruct",
    "dataset": _SNAPSHOT,
    "epochs": 24,
    "batch_size": 16,
    "settings": {"batches_per_epoch": 13},
}
_REASON = "make demo: the first version passed its gates; a program approves it, not a person"


@dataclass
class Analyses:
    """What they came to.

    Attributes:
        words: title → sentence, for people.
        complete: whether an autoencoder is in use and everything is scored.
    """

    words: dict[str, str] = field(default_factory=dict)
    complete: bool = True


def settle_people(runs: Runs, stores: Stores) -> None:
    """Wait until clustering has looked at every face."""

    def waiting() -> int:
        with stores.catalog.transaction() as tx:
            return clusters.count_unexamined(tx, active.current(tx).embedder.id)

    runs.settle("cluster_people", waiting, "faces")


def analyse(
    runs: Runs, reviewer: AirflowClient, stores: Stores, last: date, *, fresh: bool, say: Say
) -> Analyses:
    """Do all of it through Airflow.

    Args:
        reviewer: who answers what `review_model` asks.
        last: day of the newest images.
        fresh: whether something new was delivered.
    """
    found = Analyses()
    with stores.catalog.transaction() as tx:
        forecast = fresh or forecasts.newest(tx) is None
        checked = drift.newest(tx)
    beside: list[DagRun] = []
    if forecast:
        beside.append(runs.start("forecast_activity", {}))
    if fresh or checked is None:
        first = last - timedelta(days=_DRIFT_DAYS - 1)
        beside.append(runs.start("watch_drift", {"start": str(first), "end": str(last)}))
    _autoencoder(runs, reviewer, stores, found, say)
    for run in beside:
        # That drift was found is a result: the run fails so that somebody looks at it.
        (runs.end if run.dag_id == "watch_drift" else runs.finish)(run)
    _forecast(stores, found)
    _drift(stores, found)
    return found


def _autoencoder(
    runs: Runs, reviewer: AirflowClient, stores: Stores, found: Analyses, say: Say
) -> None:
    title = "autoencoder"
    if analysis_models.in_use(stores, "reconstruct") is not None:
        runs.settle("score_anomalies", lambda: _unscored(stores), "packs of crops")
    elif not _learn(runs, stores, found, title, say) or not _review(runs, reviewer, stores, found):
        return
    else:
        runs.run("score_anomalies", {})
    used = analysis_models.in_use(stores, "reconstruct")
    assert used is not None  # noqa: S101 (nothing takes it out of use)
    with stores.catalog.transaction() as tx:
        ranks = anomalies.histogram(tx)
        unusual = anomalies.count_unusual(tx, stores.settings.analysis.unusual_rank)
        faces = summarise(tx).faces
    found.complete &= sum(ranks) == faces
    found.words[title] = (
        f"{used.name}/{used.version} in use; {sum(ranks):,} of {faces:,} faces scored, "
        f"{unusual:,} unusual"
    )


def _learn(runs: Runs, stores: Stores, found: Analyses, title: str, say: Say) -> bool:
    """A challenger, unless there is one; False: there is too little to learn from."""
    if _challenger(stores) is not None:
        return True
    with stores.catalog.transaction() as tx:
        known = summarise(tx)
    if known.faces < _LEAST_FACES:
        found.words[title] = (
            f"left out: it needs {_LEAST_FACES} faces to learn from, there are {known.faces}"
        )
        return False
    DatasetBuilder(command_context("demo.dataset"), _SNAPSHOT, stores=stores).catalog(
        which="all",
        plan=SplitPlan(val=0.2, test=0.2),
        split_by="person" if sum(known.people.values()) >= _MANY_PEOPLE else "picture",
    )
    say("analyse", f"an autoencoder learns from {known.faces:,} crops what is ordinary")
    runs.run("train_model", _TRAINING)
    return True


def _review(runs: Runs, reviewer: AirflowClient, stores: Stores, found: Analyses) -> bool:
    """Judge the challenger and approve it; False: its gates did not let it pass."""
    name, version = analysis_models.registered_name(stores, "reconstruct"), _challenger(stores)
    params: dict[str, Any] = {"model": name, "version": version, "dataset": _SNAPSHOT}
    run = runs.start("review_model", params)
    if runs.answer(run, "ask", APPROVE, _REASON, by=reviewer):
        runs.finish(run)
        return True
    found.complete = False
    found.words["autoencoder"] = (
        f"{name}/{version} did not pass its review; why is in the evidence on page Models"
    )
    return False


def _challenger(stores: Stores) -> int | None:
    name = analysis_models.registered_name(stores, "reconstruct")
    if not stores.registry.versions(name):
        return None
    return stores.registry.aliases(name).get(CHALLENGER)


def _unscored(stores: Stores) -> int:
    used = analysis_models.in_use(stores, "reconstruct")
    if used is None:
        return 0
    with stores.catalog.transaction() as tx:
        return len(anomalies.packs_to_score(tx, used.id, 1))


def _forecast(stores: Stores, found: Analyses) -> None:
    with stores.catalog.transaction() as tx:
        newest = forecasts.newest(tx)
    if newest is None:
        found.words["forecast"] = "none"
        return
    choice = newest.evidence["choice"]
    sources = sorted({source for source, _, _ in newest.hours})
    left_out = "".join(f"; {s} left out: {why}" for s, why in sorted(choice["left_out"].items())
                       if s not in sources)  # fmt: skip
    found.words["forecast"] = (
        f"from {newest.origin:%Y-%m-%d} for {len(sources)} sources by {newest.method} "
        f"({choice['reason'].rstrip('.')}){left_out}"
    )


def _drift(stores: Stores, found: Analyses) -> None:
    with stores.catalog.transaction() as tx:
        newest = drift.newest(tx)
    if newest is None:
        found.words["drift"] = "none was looked for"
        return
    week = f"the week from {newest.period_start:%Y-%m-%d} beside the days before"
    drifted = len(newest.measurements) if newest.drifted else 0
    found.words["drift"] = (
        f"{week}: nothing drifted"
        if not drifted
        else f"{week}: {drifted:,} measures are over their limits, see the alerts on the overview"
    )
