"""One person: faces, sightings, who looks alike, and what humans decide about them."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, Response

from facecore.errors import LabelInUse
from facecore.jobs.people import people as jobs
from facecore.jobs.people import people_view
from facecore.types import Outcome
from facecore_plugin.access import Corrects, Sees, Visitor
from facecore_plugin.forms import MOST, Form, Id, form_of
from facecore_plugin.pages import back_to, render
from facecore_plugin.work import in_thread

router = APIRouter()

Editor = Annotated[Form, Depends(form_of(Corrects("people")))]


@router.get("/people/{person_id}", response_class=HTMLResponse)
async def person_page(
    request: Request,
    person_id: Id,
    _: Annotated[Visitor, Depends(Sees("people"))],
    show: Literal["all", "accept", "review"] = "all",
    after: Annotated[int, Query(ge=0, le=MOST)] = 0,
) -> Response:
    """Who they are, as of now."""
    outcome = None if show == "all" else Outcome(show)
    view = await in_thread(people_view.person_view, person_id, outcome=outcome, after=after)
    return render(
        request, "person.html.j2", page="people",
        view=view, person=view.person, asked=person_id, show=show, after=after,
    )  # fmt: skip


@router.post("/people/{person_id}/name")
async def name(request: Request, person_id: Id, form: Editor) -> Response:
    """Name or rename; where the name is somebody else's, offer to merge."""
    try:
        await in_thread(
            jobs.name_person,
            person_id,
            form.text("name"),
            actor=form.who.name,
            reason=form.text("reason"),
        )
    except LabelInUse as taken:
        return render(
            request, "person_taken.html.j2", page="people", status=409,
            person_id=person_id, taken=taken,
        )  # fmt: skip
    return back_to(request, f"/people/{person_id}", "named")


@router.post("/people/{person_id}/merge")
async def merge(request: Request, person_id: Id, form: Editor) -> Response:
    """Say that somebody else is this person, who keeps their name."""
    await in_thread(
        jobs.merge_people,
        person_id,
        [form.number("other")],
        actor=form.who.name,
        reason=form.text("reason"),
    )
    return back_to(request, f"/people/{person_id}", "merged")


@router.post("/people/{person_id}/split")
async def split(request: Request, person_id: Id, form: Editor) -> Response:
    """Say that the selected faces are somebody else, one person; shows them."""
    created = await in_thread(
        jobs.split_person,
        person_id,
        form.numbers("face"),
        actor=form.who.name,
        reason=form.text("reason"),
    )
    return back_to(request, f"/people/{created}", "split")


@router.post("/people/{person_id}/not")
async def not_this_person(request: Request, person_id: Id, form: Editor) -> Response:
    """Say that a face is not this person."""
    await in_thread(
        jobs.not_this_person,
        form.number("not"),
        person_id,
        actor=form.who.name,
        reason=form.text("reason"),
    )
    return back_to(request, f"/people/{person_id}", "not")


@router.post("/people/{person_id}/undo")
async def undo(request: Request, person_id: Id, form: Editor) -> Response:
    """Take a decision about this person back."""
    decision = form.number("decision")
    await in_thread(jobs.undo, decision, actor=form.who.name, reason=form.text("reason"))
    return back_to(request, f"/people/{person_id}", "undone", decision)
