"""Runs are recorded once and can start over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from facecore.errors import ChangeRefused, NotFound
from facecore.stores.catalog import runs

ROW = runs.RunRow(
    "r1", "ingest_images", "manual__1", "store", 1, "ingest", "0.1.0", params={"prefix": "a/"}
)


def test_a_run_starts_and_ends(tx):
    runs.start(tx, replace(ROW, models={"face-detector": "1"}))
    assert (runs.get(tx, "r1").state, runs.get(tx, "r1").finished_at) == ("running", None)
    runs.finish(tx, "r1", "done", counts={"images": 3}, models={"face-embedder": "2"})
    run = runs.get(tx, "r1")
    assert (run.state, run.counts, run.params) == ("done", {"images": 3}, {"prefix": "a/"})
    assert run.models == {"face-detector": "1", "face-embedder": "2"}
    assert run.finished_at >= run.started_at


def test_the_same_run_again_starts_over(tx):
    runs.start(tx, ROW)
    runs.finish(tx, "r1", "failed", error="no\0 luck")
    assert runs.get(tx, "r1").error == "no\ufffd luck"
    runs.start(tx, ROW)
    run = runs.get(tx, "r1")
    assert (run.state, run.error, run.counts, run.finished_at) == ("running", None, {}, None)


def test_a_run_that_never_started_cannot_end(tx):
    with pytest.raises(NotFound):
        runs.finish(tx, "nope", "done")
    with pytest.raises(NotFound):
        runs.get(tx, "nope")


def test_the_newest_runs_come_first(catalog):
    for name in ("r1", "r2", "r3"):
        with catalog.transaction() as tx:
            runs.start(tx, replace(ROW, id=name))
    with catalog.transaction() as tx:
        assert [run.id for run in runs.latest(tx, 2)] == ["r3", "r2"]


def test_results_point_to_runs_that_exist(catalog, make):
    with pytest.raises(ChangeRefused), catalog.transaction() as tx:
        make.images(tx, "a", run_id="nope")
