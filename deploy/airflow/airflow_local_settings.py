"""Read by every Airflow process of the image at its start.

**Preloading.** A Celery worker imports what tasks need once; its task processes are forked from
it. Otherwise each task spends about twenty seconds importing torch, MLflow and Great Expectations.
Nothing here may initialise CUDA: a forked process could not use it afterwards.

**Device tasks in pods.** Where KubernetesExecutor is configured beside CeleryExecutor, tasks of
the queue `gpu` go to it: a GPU node exists only while one runs. The DAGs know nothing of it.
"""

from __future__ import annotations

import sys
from typing import Any

from airflow.configuration import conf

DEVICE_QUEUE = "gpu"
POD_EXECUTOR = "KubernetesExecutor"


def task_policy(task: Any) -> None:
    """Airflow's hook for every task of every DAG that is parsed."""
    executors = [name.strip() for name in conf.get("core", "executor").split(",")]
    if task.queue == DEVICE_QUEUE and POD_EXECUTOR in executors[1:]:
        # A mapped task keeps its arguments for later, and has no setter for this one.
        arguments = task.partial_kwargs if task.is_mapped else task.__dict__
        arguments["executor"] = POD_EXECUTOR


if sys.argv[1:3] == ["celery", "worker"]:  # `airflow celery worker …`
    import great_expectations
    import minio
    import mlflow
    import pandas
    import psycopg2
    import torch
    import torchvision

    PRELOADED = (great_expectations, minio, mlflow, pandas, psycopg2, torch, torchvision)
