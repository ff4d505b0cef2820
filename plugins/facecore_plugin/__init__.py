"""facecore inside the Airflow UI: its pages are served by the api-server, behind its login."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from facecore_plugin.app import app


class FacecorePlugin(AirflowPlugin):
    """Adds the pages to the navigation."""

    name = "facecore"
    fastapi_apps = [{"app": app, "url_prefix": "/facecore", "name": "facecore"}]  # noqa: RUF012
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
