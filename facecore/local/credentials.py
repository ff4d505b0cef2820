"""Names and passwords of the embedded platform: generated once, kept with mode 0600."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from facecore.errors import PlatformError
from facecore.local.layout import PRIVATE, write_private

AIRFLOW_ROLES = {"admin": "admin", "reviewer": "op", "viewer": "viewer"}


def _key() -> str:
    return secrets.token_urlsafe(48)


def _password() -> str:
    return secrets.token_urlsafe(18)


def _fernet() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


_GENERATORS: dict[str, Callable[[], str]] = {
    "postgres": _password,
    "postgres_airflow": _password,
    "postgres_mlflow": _password,
    "postgres_facecore": _password,
    "s3_access": lambda: secrets.token_hex(10).upper(),
    "s3_secret": _password,
    "s3_signing": _key,
    "mlflow": _password,
    "airflow_fernet": _fernet,
    "airflow_jwt": _key,
    "airflow_api": _key,
    "supervisor": _password,
    **{f"airflow_{user}": _password for user in AIRFLOW_ROLES},
}


class Credentials:
    """Secrets by name. `repr` shows the names only."""

    def __init__(self, values: dict[str, str]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __repr__(self) -> str:
        return f"Credentials({', '.join(sorted(self._values))})"

    def secrets(self) -> list[str]:
        """Every value that must not appear in a log or a process list."""
        return [value for name, value in self._values.items() if name != "s3_access"]

    @classmethod
    def load(cls, path: Path) -> Credentials:
        """Read `path`, generating what is missing; closes the file to others when it was open.

        Raises:
            PlatformError: the file is damaged.
        """
        values: dict[str, str] = {}
        if path.exists():
            try:
                values = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise PlatformError(
                    "platform",
                    f"{path} is damaged: {error}.",
                    remedy="Restore it from a backup; without it the stored data cannot be opened.",
                ) from None
            path.chmod(PRIVATE)
        missing = {name: make() for name, make in _GENERATORS.items() if name not in values}
        if missing:
            values.update(missing)
            write_private(path, json.dumps(values, indent=2) + "\n")
        return cls(values)
