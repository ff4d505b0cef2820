"""Reports and Data Docs, read from the bucket `reports`, for people who are logged in."""

from __future__ import annotations

from mimetypes import guess_type
from typing import Annotated
from urllib.parse import quote

from airflow.api_fastapi.core_api.security import get_user
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from facecore.errors import FacecoreError, KeyRefused, ObjectMissing
from facecore.jobs.published import newest_reports, read_published

app = FastAPI(title="facecore", docs_url=None, redoc_url=None, openapi_url=None)

User = Annotated[object, Depends(get_user)]

# A report holds its own script and pictures; it may load nothing and tell nobody anything.
_HEADERS = {
    "Cache-Control": "private, no-store",
    "Content-Security-Policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; font-src data:; frame-ancestors 'self'; base-uri 'none'; "
    "form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@app.exception_handler(401)
async def to_login(request: Request, _: Exception) -> Response:
    """Send a person to Airflow's login and back here; a program gets the plain refusal."""
    if "text/html" not in request.headers.get("accept", ""):
        return Response("Log in first.", 401, media_type="text/plain")
    return RedirectResponse(f"/api/v2/auth/login?next={quote(str(request.url))}", 307)


@app.exception_handler(FacecoreError)
async def explain(_: Request, error: Exception) -> Response:
    """A store that fails is told in one sentence."""
    status = 404 if isinstance(error, ObjectMissing | KeyRefused) else 503
    return Response(str(error), status, media_type="text/plain")


@app.get("/reports", response_class=HTMLResponse)
def list_reports(_: User) -> HTMLResponse:
    """All published reports, newest first."""
    return HTMLResponse(newest_reports(), headers=_HEADERS)


@app.get("/reports/{key:path}")
def show(key: str, _: User) -> Response:
    """One published file: a report, its JSON, or a page of the Data Docs."""
    if not key:
        raise HTTPException(404)
    media_type = guess_type(key)[0] or "application/octet-stream"
    return Response(read_published(key), media_type=media_type, headers=_HEADERS)
