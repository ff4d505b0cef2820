"""Who may see and who may correct: Airflow's own permissions on the DAG whose results it is.

Every auth manager of Airflow knows DAGs, so nothing has to be set up: whoever may read the DAG
sees its page, whoever may edit it corrects there. In the simple auth manager that is the role
viewer and from the role user on; in FAB, Viewer, and from User on, or whom a role gives
`DAG:extract_faces`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
from airflow.api_fastapi.core_api.security import get_user
from airflow.configuration import conf
from airflow.models.dag import DagModel
from fastapi import Depends, HTTPException, Request

# Page → the DAG whose results it shows.
DAGS = {
    "overview": "ingest_images",
    "reports": "report_analytics",
    "people": "extract_faces",
    "quarantine": "ingest_images",
    "models": "reembed_faces",
}


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who is there, and which pages they may see and correct."""

    name: str
    sees: frozenset[str]
    corrects: frozenset[str]


def visitor(request: Request, user: Annotated[Any, Depends(get_user)]) -> Visitor:
    """Who makes this request; refused (401) without Airflow's login."""
    may = {
        method: frozenset(page for page, dag in DAGS.items() if _may(user, method, dag))
        for method in ("GET", "PUT")
    }
    found = Visitor(str(user.get_name()), may["GET"], may["GET"] & may["PUT"])
    request.state.visitor = found
    return found


class Sees:
    """A dependency: the visitor, who may see a page.

    Raises:
        HTTPException: 401 without a login, 403 without the permission.
    """

    def __init__(self, page: str) -> None:
        self._page = page

    def __call__(self, who: Annotated[Visitor, Depends(visitor)]) -> Visitor:
        if self._page not in who.sees:
            raise HTTPException(
                403,
                f"You may not see {self._page}: it needs the permission to "
                f"read the DAG {DAGS[self._page]}.",
            )
        return who


class Corrects(Sees):
    """A dependency: the visitor, who may also correct on a page. Raises as `Sees`."""

    def __call__(self, who: Annotated[Visitor, Depends(visitor)]) -> Visitor:
        super().__call__(who)
        if self._page not in who.corrects:
            raise HTTPException(
                403,
                f"You may look but not change anything here: it needs the "
                f"permission to edit the DAG {DAGS[self._page]}.",
            )
        return who


def _may(user: Any, method: str, dag_id: str) -> bool:
    team = None
    if conf.getboolean("core", "multi_team", fallback=False):
        team = DagModel.get_team_name(dag_id)
    details = DagDetails(id=dag_id, team_name=team)
    return bool(get_auth_manager().is_authorized_dag(method=method, details=details, user=user))
