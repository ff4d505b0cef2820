"""People: all of them, found by the start of a name, or by an uploaded face."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, Response

from facecore.errors import NotFound, ObjectMissing
from facecore.jobs.images import thumbnails
from facecore.jobs.lineage import RunContext
from facecore.jobs.people import people_view as jobs
from facecore_plugin import forms
from facecore_plugin.access import Sees, Visitor
from facecore_plugin.forms import After, Form, Id, form_of
from facecore_plugin.pages import FILE_HEADERS, render
from facecore_plugin.static import no_picture
from facecore_plugin.work import Desk, in_thread

router = APIRouter()

_SEES = Sees("people")
Reader = Annotated[Visitor, Depends(_SEES)]

# Each search runs two networks over a picture of any size within the limits.
_SEARCH = Desk("The search by face", at_once=1, waiting=3)
_FORM_BYTES = 64 * 1024  # besides the picture


@router.get("/people", response_class=HTMLResponse)
async def people_page(
    request: Request,
    _: Reader,
    show: Literal["all", "named", "unnamed"] = "all",
    after: After = None,
) -> Response:
    """Everybody, in the order of their names."""
    named = {"all": None, "named": True, "unnamed": False}[show]
    found = await in_thread(jobs.browse, named=named, after=after)
    return render(
        request, "people.html.j2", page="people",
        found=found, show=show, after=after, query=None, pictures=None,
    )  # fmt: skip


@router.post("/people/by-name", response_class=HTMLResponse)
async def by_name(request: Request, form: Annotated[Form, Depends(form_of(_SEES))]) -> Response:
    """People whose name starts so. A form, not an address: logs and histories keep addresses."""
    query, after = form.text("name"), form.text("after")
    found = await in_thread(
        jobs.find_by_name,
        query,
        actor=form.who.name,
        after=form.number("after") if after else None,
    )
    return render(
        request, "people.html.j2", page="people",
        found=found, show="all", after=after, query=query, pictures=None,
    )  # fmt: skip


@router.post("/people/by-face", response_class=HTMLResponse)
async def by_face(request: Request, who: Reader) -> Response:
    """Who is on an uploaded picture. It is kept in memory, for as long as it takes."""
    async with _SEARCH.place():
        limit = await in_thread(jobs.most_bytes)
        form = await forms.read(request, who, limit + _FORM_BYTES)
        data = await form.file("picture")
        if not data:
            raise HTTPException(400, "Choose a picture first.")
        run = RunContext("pages", f"pages__{datetime.now(UTC).isoformat()}", "search")
        pictures = await _SEARCH.do(jobs.find_by_face, run, data, actor=who.name)
    return render(
        request, "people.html.j2", page="people",
        found=None, show="all", after=None, query=None, pictures=pictures,
    )  # fmt: skip


@router.get("/faces/{face_id}.jpg")
async def face(face_id: Id, _: Reader) -> Response:
    """The crop of a face; a drawing in its place where it is gone."""
    try:
        data = await in_thread(thumbnails.face, face_id)
    except (NotFound, ObjectMissing):
        return no_picture()
    return Response(data, media_type="image/jpeg", headers=FILE_HEADERS)
