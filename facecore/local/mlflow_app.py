"""MLflow's server behind a password: `uvicorn facecore.local.mlflow_app:app`.

MLflow itself asks nobody for a name. Its own basic-auth plug-in does, but hashes the password
again on every request (tens of milliseconds each) and keeps a user database that nothing here
needs. This wraps the whole application, so no route can be forgotten.

Environment: `FACECORE_MLFLOW_USER`, `FACECORE_MLFLOW_PASSWORD`, and MLflow's own.
"""

from __future__ import annotations

import base64
import hmac
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from mlflow.server.constants import ARTIFACT_ROOT_ENV_VAR, BACKEND_STORE_URI_ENV_VAR
from mlflow.server.fastapi_app import app as mlflow_app
from mlflow.server.handlers import initialize_backend_stores

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_OPEN = frozenset({"/health", "/version"})  # say nothing about anyone's data


class BasicAuth:
    """ASGI middleware: one user, HTTP Basic."""

    def __init__(self, app: App, user: str, password: str) -> None:
        self._app = app
        self._expected = b"Basic " + base64.b64encode(f"{user}:{password}".encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._allowed(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [
                (b"www-authenticate", b'Basic realm="MLflow", charset="UTF-8"'),
                (b"content-type", b"text/plain"),
            ]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": b"credentials required\n"})

    def _allowed(self, scope: Scope) -> bool:
        if scope["type"] == "http" and scope["path"] in _OPEN:
            return True
        given = dict(scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(given, self._expected)


# Creates or upgrades the tables before the first request, as `mlflow server` does.
initialize_backend_stores(
    os.environ[BACKEND_STORE_URI_ENV_VAR],
    default_artifact_root=os.environ[ARTIFACT_ROOT_ENV_VAR],
)
app = BasicAuth(
    mlflow_app, os.environ["FACECORE_MLFLOW_USER"], os.environ["FACECORE_MLFLOW_PASSWORD"]
)
