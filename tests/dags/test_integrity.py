"""Every DAG file: loads fast and without errors, and says who, what, when and how often."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "dags").glob("*.py"))
MOST_SECONDS = 2.0
MOST_STATEMENTS = 5

_DESCRIBE = """
import json, sys, time
import airflow.sdk, airflow.dag_processing.dagbag
from airflow.dag_processing.dagbag import DagBag
began = time.process_time()
bag = DagBag(sys.argv[1])
seconds = time.process_time() - began
heavy = {"torch", "mlflow", "great_expectations", "pandas", "sklearn"}
print(json.dumps({
    "errors": bag.import_errors,
    "seconds": seconds,
    "heavy": sorted(heavy & set(sys.modules)),
    "dags": [{
        "id": d.dag_id, "tags": sorted(d.tags), "doc": d.doc_md or "", "catchup": d.catchup,
        "max_active_runs": d.max_active_runs,
        "timeout": d.dagrun_timeout is not None,
        "params": {
            name: {**d.params.get_param(name).schema,
                   "description": d.params.get_param(name).description}
            for name in d.params
        },
        "tasks": [{
            "id": t.task_id, "owner": t.owner, "retries": t.retries,
            # A task that asks a person waits for them, not for a computation.
            "timeout": (t.execution_timeout or getattr(t, "response_timeout", None)) is not None,
            "pool": t.pool, "queue": t.queue,
            "policy": bool(getattr(t, "has_retry_policy", False)),
        } for t in d.tasks],
    } for d in bag.dags.values()],
}))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of processes that read DAG files."""
    home = tmp_path_factory.mktemp("airflow")
    return {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'dags'}:{ROOT / 'plugins'}",
    }


@pytest.fixture(scope="module")
def described(environment: dict[str, str]) -> dict[str, dict[str, Any]]:
    """File name → what Airflow reads from it, each in a process of its own."""
    found = {}
    for path in FILES:
        done = subprocess.run(
            [sys.executable, "-c", _DESCRIBE, str(path)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found[path.name] = json.loads(done.stdout.splitlines()[-1])
    return found


_WEEKLY = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.api.datamodels._generated import DagRun
from facecore.jobs.faces import cluster
import _shared.lineage
asked = []
cluster.cluster = lambda context, *, full: asked.append(full) or {}
bag = DagBag("dags/cluster_people.py")
function = bag.dags["cluster_people"].get_task("cluster").python_callable
function.__globals__["run_context"] = lambda: None
class Events(dict):
    def __missing__(self, key): return type("Event", (), {})()
for kind in ("scheduled", "asset_triggered", "manual"):
    run = DagRun.model_construct(run_type=DagRun.model_fields["run_type"].annotation(kind))
    for full in (False, True):
        function({"full": full}, run, Events())
print(json.dumps(asked))
"""


def test_the_weekly_run_of_the_clustering_is_a_full_pass(environment: dict[str, str]) -> None:
    """With the run as a task sees it: the SDK's model, whose types are another kind of enum."""
    done = subprocess.run(
        [sys.executable, "-c", _WEEKLY], cwd=ROOT, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [True, True, False, True, False, True]


_CLOCKS = """
import json
from airflow.dag_processing.dagbag import DagBag
bag = DagBag("dags")
names = ("forecast_activity", "report_analytics", "watch_drift", "cluster_people")
def zone(timetable):
    return str(getattr(timetable, "timetable", timetable).timezone)
print(json.dumps({name: zone(bag.dags[name].timetable) for name in names}))
"""


def test_what_looks_at_days_runs_by_their_timezone(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CLOCKS], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**environment, "FACECORE_REPORT__TIMEZONE": "Pacific/Auckland"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert set(json.loads(done.stdout.splitlines()[-1]).values()) == {"Pacific/Auckland"}


def names() -> list[str]:
    return [path.name for path in FILES]


@pytest.mark.parametrize("name", names())
def test_it_loads_without_errors_and_without_heavy_imports(
    described: dict[str, Any], name: str
) -> None:
    found = described[name]
    assert found["errors"] == {}
    assert [dag["id"] for dag in found["dags"]] == [name.removesuffix(".py")]
    # The scheduler parses these files all day: nothing of what tasks need is imported.
    assert found["heavy"] == []


@pytest.mark.parametrize("name", names())
def test_it_loads_in_less_than_two_seconds(described: dict[str, Any], name: str) -> None:
    # Processor time of this process, so that a busy machine does not decide.
    assert described[name]["seconds"] < MOST_SECONDS


@pytest.mark.parametrize("name", names())
def test_it_says_what_it_is(described: dict[str, Any], name: str) -> None:
    (dag,) = described[name]["dags"]
    assert "facecore" in dag["tags"]
    assert len(dag["doc"]) > 200
    assert dag["catchup"] is False
    assert dag["max_active_runs"] <= 2
    assert dag["timeout"]
    for title, schema in dag["params"].items():
        assert schema.get("title"), title
        assert schema.get("description"), title


@pytest.mark.parametrize("name", names())
def test_every_task_has_owner_retries_and_a_limit(described: dict[str, Any], name: str) -> None:
    for task in described[name]["dags"][0]["tasks"]:
        assert task["owner"] == "face-platform", task
        assert task["retries"] >= 2, task
        assert task["timeout"], task
        assert task["policy"], task


def test_device_work_has_a_pool_and_a_queue(described: dict[str, Any]) -> None:
    tasks = {t["id"]: t for t in described["extract_faces.py"]["dags"][0]["tasks"]}
    assert (tasks["shard.extract_shard"]["pool"], tasks["shard.extract_shard"]["queue"]) == (
        "gpu",
        "gpu",
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_tasks_are_declarations_of_a_few_lines(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.FunctionDef):
            continue
        decorators = {
            d.func.id if isinstance(d, ast.Call) and isinstance(d.func, ast.Name) else ""
            for d in node.decorator_list
        }
        if "task" in decorators:
            assert len(node.body) <= MOST_STATEMENTS, node.name
            first = node.body[0]
            assert isinstance(first, ast.ImportFrom), f"{node.name} imports its job first"
            assert str(first.module).startswith("facecore.jobs."), f"{node.name} imports a job"
