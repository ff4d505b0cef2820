#!/bin/sh
# MLflow's tracking server with accounts (basic-auth), artifacts proxied into S3. Everything comes
# from the environment; the file that MLflow insists on for the accounts' database is written to
# memory, readable by this user only.
set -eu

umask 077
MLFLOW_AUTH_CONFIG_PATH=/tmp/basic_auth.ini
export MLFLOW_AUTH_CONFIG_PATH
# `%` begins an interpolation in an ini file.
accounts=$(printf '%s' "$MLFLOW_BACKEND_STORE_URI" | sed 's/%/%%/g')
cat >"$MLFLOW_AUTH_CONFIG_PATH" <<INI
[mlflow]
default_permission = READ
database_uri = $accounts
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
INI

# Job execution would start seven more processes that outlive the server.
MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION

exec mlflow server --app-name basic-auth --serve-artifacts \
    --host 0.0.0.0 --port "${MLFLOW_PORT:-5000}" --workers "${MLFLOW_WORKERS:-2}"
