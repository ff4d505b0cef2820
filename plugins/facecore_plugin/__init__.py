"""facecore inside the Airflow UI: its pages are served by the api-server, behind its login."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


async def pages(scope: Scope, receive: Receive, send: Send) -> None:
    """The pages, imported when somebody first opens one.

    Every process of Airflow loads its plugins. The scheduler forks the tasks: whatever it had
    imported of facecore, they would go on using, however old.
    """
    from anyio import to_thread

    app = await to_thread.run_sync(_application)
    await app(scope, receive, send)


def _application() -> ASGIApp:
    from facecore_plugin.app import app

    return app


class FacecorePlugin(AirflowPlugin):
    """Adds the pages to the navigation."""

    name = "facecore"
    fastapi_apps = [{"app": pages, "url_prefix": "/facecore", "name": "facecore"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Faces",
            "href": "/facecore/overview",
            "destination": "nav",
            "icon": "/facecore/static/icon.svg",
            "icon_dark_mode": "/facecore/static/icon-dark.svg",
            "url_route": "faces",
        },
        {
            "name": "Face reports",
            "href": "/facecore/reports",
            "destination": "nav",
            "category": "browse",
            "url_route": "face-reports",
        },
    ]
