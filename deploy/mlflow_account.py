"""facecore's own MLflow account: may read everything, manages what it creates, is no admin.

Created once with the administrator's credentials; on later starts its password becomes the one of
the environment. Reads FACECORE_MLFLOW__TRACKING_URI, FACECORE_MLFLOW__USERNAME,
FACECORE_MLFLOW__PASSWORD, MLFLOW_ADMIN_USERNAME, MLFLOW_ADMIN_PASSWORD.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import httpx


def main(environment: Mapping[str, str]) -> int:
    """Create the account or set its password; 1, with the reason on stderr, when refused."""
    username = environment["FACECORE_MLFLOW__USERNAME"]
    account = {"username": username, "password": environment["FACECORE_MLFLOW__PASSWORD"]}
    admin = (environment["MLFLOW_ADMIN_USERNAME"], environment["MLFLOW_ADMIN_PASSWORD"])
    uri = environment["FACECORE_MLFLOW__TRACKING_URI"].rstrip("/")
    with httpx.Client(base_url=f"{uri}/api/2.0/mlflow/users", auth=admin, timeout=30) as users:
        known = users.get("/get", params={"username": username})
        if known.status_code == httpx.codes.NOT_FOUND:
            answer = users.post("/create", json=account)
        elif known.is_success:
            answer = users.patch("/update-password", json=account)
        else:
            answer = known
    if not answer.is_success:
        print(f"mlflow-account: {answer.status_code}: {answer.text[:200]}", file=sys.stderr)
        return 1
    print(f"mlflow-account: {username} is ready.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
