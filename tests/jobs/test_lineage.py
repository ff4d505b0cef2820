"""Runs say who did what, and how it ended, even when nobody could say so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from facecore.errors import UsageError
from facecore.jobs.lineage import RunContext, code_version, recorded
from facecore.jobs.stores import Stores
from facecore.stores.catalog import runs

CONTEXT = RunContext("dag", "run", "task", map_index=3)


def test_a_run_is_recorded_with_counts_and_models(stores: Stores) -> None:
    with recorded(stores.catalog, CONTEXT, "stage", {"p": 1}) as run:
        run.counts = {"images": 2}
        run.models = {"embed": "m/1"}
    with stores.catalog.transaction() as tx:
        row = runs.get(tx, CONTEXT.run_id)
    assert (row.state, row.counts, row.models, row.params) == (
        "done", {"images": 2}, {"embed": "m/1"}, {"p": 1},
    )  # fmt: skip
    assert row.code_version == code_version()
    assert row.finished_at is not None


def test_a_failure_is_recorded_and_passed_on(stores: Stores) -> None:
    def fail() -> None:
        with recorded(stores.catalog, CONTEXT, "stage") as run:
            run.counts = {"seen": 1}
            raise UsageError("wrong")

    with pytest.raises(UsageError, match="wrong"):
        fail()
    with stores.catalog.transaction() as tx:
        row = runs.get(tx, CONTEXT.run_id)
    assert (row.state, row.counts, row.error) == ("failed", {"seen": 1}, "UsageError: wrong")


def test_a_try_that_was_killed_is_closed_by_the_next(stores: Stores) -> None:
    killed = recorded(stores.catalog, CONTEXT, "stage")
    killed.__enter__()  # and never left, as when the process is killed
    second = replace(CONTEXT, try_number=2)
    with recorded(stores.catalog, second, "stage"):
        pass
    with stores.catalog.transaction() as tx:
        first, last = runs.get(tx, CONTEXT.run_id), runs.get(tx, second.run_id)
    assert (first.state, last.state) == ("failed", "done")
    assert "without a word" in (first.error or "")


def test_another_map_index_or_task_is_another_run() -> None:
    ids = {
        CONTEXT.run_id,
        replace(CONTEXT, map_index=4).run_id,
        replace(CONTEXT, task_id="other").run_id,
        replace(CONTEXT, try_number=2).run_id,
    }
    assert len(ids) == 4
