"""MLflow: tracking server and model registry; tables in PostgreSQL, artifacts proxied to S3."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx
from pydantic import SecretStr

from facecore.config import MlflowSettings, S3Settings
from facecore.errors import PlatformError
from facecore.local.credentials import Credentials
from facecore.local.layout import Layout
from facecore.local.ports import LOOPBACK
from facecore.local.programs import Program

USER = "facecore"
BUCKET = "mlflow"


class MlflowPart:
    """The MLflow server: one process, one worker."""

    name = "mlflow"

    def __init__(
        self, layout: Layout, credentials: Credentials, port: int, database: str, s3: S3Settings
    ) -> None:
        self.layout = layout
        self._credentials = credentials
        self._port = port
        self._database = database
        self._s3 = s3
        self._folder = layout.run / "mlflow"

    def programs(self) -> list[Program]:
        repo = Path(__file__).parents[2]
        return [
            Program(
                name=self.name,
                argv=(
                    *(sys.executable, "-m", "uvicorn", "facecore.local.mlflow_app:app"),
                    *("--host", LOOPBACK, "--port", str(self._port), "--no-access-log"),
                    *("--timeout-graceful-shutdown", "5"),
                ),
                cwd=self._folder,
                order=30,
                env={
                    "PYTHONPATH": str(repo),
                    "FACECORE_MLFLOW_USER": USER,
                    "FACECORE_MLFLOW_PASSWORD": self._credentials["mlflow"],
                    # What `mlflow server` hands to its workers. Started without that command,
                    # the server is one process less, and its database password is not an argument.
                    "_MLFLOW_SERVER_FILE_STORE": self._database,
                    "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
                    "_MLFLOW_SERVER_ARTIFACT_DESTINATION": f"s3://{self._s3.bucket(BUCKET)}",
                    "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
                    "_MLFLOW_SGI_NAME": "uvicorn",
                    "MLFLOW_S3_ENDPOINT_URL": self._s3.endpoint,
                    "AWS_ACCESS_KEY_ID": self._s3.access_key,
                    "AWS_SECRET_ACCESS_KEY": self._s3.secret_key.get_secret_value(),
                    "AWS_DEFAULT_REGION": self._s3.region,
                    "AWS_EC2_METADATA_DISABLED": "true",
                    "MLFLOW_DISABLE_TELEMETRY": "true",
                    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
                    "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
                    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
                },
            )
        ]

    def prepare(self) -> None:
        """Make its working folder."""
        self._folder.mkdir(mode=0o700, exist_ok=True)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._port}"

    def settings(self) -> MlflowSettings:
        """How facecore connects."""
        password = SecretStr(self._credentials["mlflow"])
        return MlflowSettings(tracking_uri=self.url, username=USER, password=password)

    def check(self) -> str:
        """Ask for its version and search the registry. Raises `httpx` errors until it works."""
        login = (USER, self._credentials["mlflow"])
        with httpx.Client(base_url=self.url, timeout=10, trust_env=False, auth=login) as http:
            version = http.get("/version").raise_for_status().text
            search = "/api/2.0/mlflow/registered-models/search"
            found = http.get(search, params={"max_results": 100})
            if found.status_code == httpx.codes.UNAUTHORIZED:
                raise PlatformError(
                    self.name, f"something else answers at {self.url}, or it was started with "
                    "other credentials.",
                )  # fmt: skip
            models = found.raise_for_status().json().get("registered_models", [])
        return f"MLflow {version}, {len(models)} registered models"
