"""DAGs in a process of their own, against this session's services."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facecore.config import DatabaseSettings, MlflowSettings, S3Settings, Settings
from facecore.jobs.platform.setup import set_up
from facecore.jobs.stores import Stores
from facecore.local.platform import Platform

ROOT = Path(__file__).resolve().parents[2]

RunDags = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def dag_stores(
    platform: Platform,
    postgres: DatabaseSettings,
    s3: S3Settings,
    mlflow_server: MlflowSettings,
) -> Stores:
    """The stores that the DAGs of this session work on, set up."""
    stores = Stores(
        Settings(home=platform.layout.home, database=postgres, s3=s3, mlflow=mlflow_server)
    )
    set_up(stores)
    return stores


@pytest.fixture(scope="session")
def dag_environment(airflow_env: dict[str, str], dag_stores: Stores) -> dict[str, str]:
    """Environment for processes that load or run DAGs."""
    return {
        **os.environ,
        **airflow_env,
        "FACECORE_HOME": str(dag_stores.settings.home),
        # Airflow's own processes put both on the path.
        "PYTHONPATH": f"{ROOT / 'dags'}:{ROOT / 'plugins'}",
    }


@pytest.fixture
def run_dags(dag_environment: dict[str, str]) -> RunDags:
    """Run DAGs to their end, one after the other in one process, with `dag.test()`.

    Takes (DAG id, params) pairs; gives each run's state, its tasks' states and the whole log.
    """

    def run(*runs: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, "-c", _RUN, json.dumps(runs)],
            cwd=ROOT,
            env=dag_environment,
            capture_output=True,
            text=True,
            check=False,
        )
        log = done.stdout + done.stderr
        assert done.returncode == 0, log[-6000:]
        answers: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
        return [answer | {"log": log} for answer in answers]

    return run


_RUN = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag("dags")
assert not bag.import_errors, bag.import_errors
answers = []
for dag_id, conf in json.loads(sys.argv[1]):
    run = bag.get_dag(dag_id).test(run_conf=conf)
    states = {}
    for instance in run.get_task_instances():
        states.setdefault(instance.task_id, []).append(str(instance.state))
    answers.append({"state": str(run.state), "tasks": states})
print(json.dumps(answers))
"""
