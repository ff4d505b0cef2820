"""facecore inside the Airflow UI: its pages are served by the api-server, behind its login."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from facecore_plugin.pages import app


class FacecorePlugin(AirflowPlugin):
    """Adds the reports to the navigation."""

    name = "facecore"
    fastapi_apps = [{"app": app, "url_prefix": "/facecore", "name": "facecore"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Face reports",
            "href": "/facecore/reports",
            "destination": "nav",
            "category": "browse",
            "url_route": "face-reports",
        }
    ]
