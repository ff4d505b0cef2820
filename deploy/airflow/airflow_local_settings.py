"""Import what tasks need once per Celery worker; its task processes are forked from it.

Otherwise each task spends about twenty seconds importing torch, MLflow and Great Expectations.
Nothing here may initialise CUDA: a forked process could not use it afterwards.
"""

from __future__ import annotations

import sys

if sys.argv[1:3] == ["celery", "worker"]:  # `airflow celery worker …`
    import great_expectations
    import minio
    import mlflow
    import pandas
    import psycopg2
    import torch
    import torchvision

    PRELOADED = (great_expectations, minio, mlflow, pandas, psycopg2, torch, torchvision)
