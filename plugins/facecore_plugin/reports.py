"""Reports and Data Docs: the list, and each document inside the pages' frame."""

from __future__ import annotations

from mimetypes import guess_type
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, Response

from facecore.jobs.reports import published
from facecore_plugin.access import Sees, Visitor
from facecore_plugin.forms import After
from facecore_plugin.pages import FILE_HEADERS, render
from facecore_plugin.work import in_thread

router = APIRouter()

Reader = Annotated[Visitor, Depends(Sees("reports"))]

_LOADS_NOTHING = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:; "
    "frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)
# A report brings its own script, which gets an origin of its own: it can draw, not act for the
# reader. Data Docs have none, and link to each other with the reader's login.
_REPORT = (
    f"{_LOADS_NOTHING}; script-src 'unsafe-inline'; sandbox allow-scripts allow-downloads "
    "allow-modals allow-popups"
)
_DATA_DOCS = "data-docs/"


@router.get("/reports", response_class=HTMLResponse)
async def list_reports(
    request: Request,
    _: Reader,
    kind: Annotated[str | None, Query(max_length=100, pattern=r"^[\w-]*$")] = None,
    before: After = None,
) -> Response:
    """Published reports, newest first, and the newest validation results."""
    found = await in_thread(published.newest, kind=kind, before=before)
    return render(request, "reports.html.j2", page="reports", found=found, kind=kind, before=before)


@router.get("/reports/view/{key:path}", response_class=HTMLResponse)
async def view(request: Request, key: str, _: Reader) -> Response:
    """One document with the pages' navigation around it."""
    return render(request, "report.html.j2", page="reports", key=key)


@router.get("/reports/{key:path}")
async def show(request: Request, key: str, _: Reader) -> Response:
    """One published file: a report, its JSON, or a page of the Data Docs."""
    if not key:
        raise HTTPException(404, "There is no such report.")
    policy = _LOADS_NOTHING if key.startswith(_DATA_DOCS) else _REPORT
    return Response(
        await in_thread(published.read_published, key),
        media_type=guess_type(key)[0] or "application/octet-stream",
        headers={**FILE_HEADERS, "Content-Security-Policy": policy},
    )
