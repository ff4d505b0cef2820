#!/usr/bin/env bash
# What the Helm chart's log groomer runs: task logs older than AIRFLOW__LOG_RETENTION_DAYS (15)
# are removed, every AIRFLOW__LOG_CLEANUP_FREQUENCY_MINUTES (15).
set -euo pipefail
trap exit INT TERM
logs=${AIRFLOW_HOME:-/opt/airflow}/logs
while true; do
    # Another one may be at it: what it removed meanwhile is no failure.
    find "$logs" -type f -name '*.log' -mtime "+${AIRFLOW__LOG_RETENTION_DAYS:-15}" -delete || true
    # A folder of the last hour may be about to get its first log.
    find "$logs" -mindepth 1 -type d -empty -mmin +60 -delete || true
    sleep "$((${AIRFLOW__LOG_CLEANUP_FREQUENCY_MINUTES:-15} * 60))" &
    wait $!
done
