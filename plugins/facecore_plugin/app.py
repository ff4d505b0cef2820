"""The application that Airflow mounts at /facecore: one router per page, one way to refuse."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException

from facecore.errors import (
    ChangeRefused,
    FacecoreError,
    ImageRejected,
    KeyRefused,
    LabelInUse,
    NotFound,
    ObjectMissing,
    UsageError,
)
from facecore_plugin.models import router as models
from facecore_plugin.overview import router as overview
from facecore_plugin.pages import FILE_HEADERS, problem, wants_html
from facecore_plugin.people import router as people
from facecore_plugin.person import router as person
from facecore_plugin.quarantine import router as quarantine
from facecore_plugin.reports import router as reports
from facecore_plugin.static import router as static

app = FastAPI(title="facecore", docs_url=None, redoc_url=None, openapi_url=None)
for page in (overview, people, person, quarantine, reports, models, static):
    app.include_router(page)


@app.get("/", include_in_schema=False)
def home(request: Request) -> Response:
    """The pages begin with the overview, which asks who is there."""
    # Not `url_for`: the router it would ask is Airflow's.
    return RedirectResponse(f"{request.scope.get('root_path', '')}/overview", 307)


@app.exception_handler(HTTPException)
async def refuse(request: Request, error: HTTPException) -> Response:
    """A person who is not logged in is sent to Airflow's login and back here; whoever may not
    do something is told so; a program gets a plain sentence."""
    status = HTTPStatus(error.status_code)
    if not wants_html(request):
        sentence = "Log in first." if status is HTTPStatus.UNAUTHORIZED else str(error.detail)
        return Response(sentence, status, FILE_HEADERS, media_type="text/plain")
    if status is HTTPStatus.UNAUTHORIZED:
        root = request.scope.get("app_root_path", "")
        # A form's address shows nothing: start over on the page it belongs to.
        back = request.url.path if request.method == "GET" else request.scope["root_path"] + "/"
        return RedirectResponse(f"{root}/api/v2/auth/login?next={quote(back)}", 303)
    return problem(request, status, str(error.detail), error.headers)


@app.exception_handler(FacecoreError)
async def explain(request: Request, error: FacecoreError) -> Response:
    """What went wrong in one sentence, and the remedy."""
    match error:
        case NotFound() | ObjectMissing() | KeyRefused():
            status = HTTPStatus.NOT_FOUND
        case LabelInUse() | ChangeRefused():
            status = HTTPStatus.CONFLICT
        case UsageError() | ImageRejected():
            status = HTTPStatus.BAD_REQUEST
        case _:
            status = HTTPStatus.SERVICE_UNAVAILABLE
    if not wants_html(request):
        return Response(str(error), status, FILE_HEADERS, media_type="text/plain")
    return problem(request, status, str(error), None)
