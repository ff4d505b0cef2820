#!/bin/sh
# Once per start, after the databases exist: schemas, first accounts, pool, buckets, models.
# Every step may run again.
set -eu

here=$(dirname "$0")

echo "init: Airflow's database" >&2
airflow db migrate

echo "init: Airflow's administrator" >&2
# Creates the account once; a password that was changed later stays.
airflow users create --role Admin --username "$AIRFLOW_ADMIN_USERNAME" \
    --firstname facecore --lastname administrator \
    --email "$AIRFLOW_ADMIN_EMAIL" --password "$AIRFLOW_ADMIN_PASSWORD"

echo "init: pool gpu" >&2
airflow pools get gpu >/dev/null 2>&1 ||
    airflow pools set gpu "$GPU_POOL_SLOTS" "device work: one slot per device"

echo "init: facecore's MLflow account" >&2
python "$here/mlflow_account.py"

echo "init: facecore's schema, buckets and default models" >&2
facecore setup

echo "init: done" >&2
