"""Calls to MLflow: bounded waiting, credentials that do not linger, errors of ours.

MLflow's client reads time-outs, retries and credentials from the process environment only, and
retries for minutes by default. They are set for the duration of a session and put back; a lock
keeps sessions of one process apart, because the environment is shared by all its threads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from facecore.config import LOOPBACK, MlflowSettings, no_proxy
from facecore.errors import CredentialsRejected, FacecoreError, NotFound, RegistryUnavailable

# A refused connection is reported after about 3 s, a silent server after about 65 s.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
_LOCK = threading.RLock()


@contextmanager
def mlflow_session(settings: MlflowSettings, *, missing: str = "") -> Iterator[Any]:
    """An `MlflowClient` for the settings.

    Args:
        missing: what to name when MLflow answers that something does not exist.

    Raises:
        RegistryUnavailable: MLflow cannot be reached or answered with a server error.
        CredentialsRejected: MLflow refused the name or password, or forbids the action.
        NotFound: what was asked for does not exist.
    """
    uri, username, password = _address(settings)
    environment = dict(_ENVIRONMENT)
    if urlsplit(uri).hostname in LOOPBACK:
        environment["no_proxy"] = no_proxy()
    if username:
        environment["MLFLOW_TRACKING_USERNAME"] = username
        environment["MLFLOW_TRACKING_PASSWORD"] = password
    with _LOCK:
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        try:
            from mlflow import MlflowClient

            yield MlflowClient(uri, registry_uri=uri)
        except FacecoreError:
            raise
        except Exception as error:
            translated = _translate(error, uri, missing)
            if translated is None:
                raise
            raise translated from error
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def experiment_id(client: Any, name: str) -> str:
    """The id of an experiment, which is created unless it exists."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name))
    except MlflowException as error:  # another process was first
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return str(client.get_experiment_by_name(name).experiment_id)


def _translate(error: Exception, uri: str, missing: str) -> FacecoreError | None:
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    if isinstance(error, RequestException):
        status = error.response.status_code if error.response is not None else 0
        code = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}.get(status, "")
    elif isinstance(error, MlflowException):
        code = str(error.error_code)
    else:
        return None
    if code in {"UNAUTHENTICATED", "PERMISSION_DENIED"}:
        return CredentialsRejected(
            "MLflow",
            f"MLflow at {uri} refused the request ({code.lower().replace('_', ' ')}).",
            remedy="Check FACECORE_MLFLOW__USERNAME and FACECORE_MLFLOW__PASSWORD.",
        )
    # MLflow reports an unknown alias as an invalid parameter.
    if missing and code in {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE"}:
        return NotFound("registered model", missing)
    if isinstance(error, RequestException) or code in {
        "INTERNAL_ERROR",
        "TEMPORARILY_UNAVAILABLE",
        "REQUEST_LIMIT_EXCEEDED",
        "DEADLINE_EXCEEDED",
        "IO_ERROR",
    }:
        return RegistryUnavailable(
            f"MLflow at {uri} cannot be used: {_first_line(error)}.",
            remedy="Is it running? `facecore status` tells.",
        )
    return None


def _address(settings: MlflowSettings) -> tuple[str, str, str]:
    """URI, name and password; a URI with credentials in it would end up in messages and logs."""
    parts = urlsplit(settings.tracking_uri)
    uri = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    if settings.username:
        return uri, settings.username, settings.password.get_secret_value()
    return uri, unquote(parts.username or ""), unquote(parts.password or "")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:300]
