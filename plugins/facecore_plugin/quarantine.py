"""The quarantine: what the gate refused and why, to be released or discarded."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, Response

from facecore.errors import ImageRejected
from facecore.jobs.images import quarantine_review as jobs
from facecore.stages.reasons import describe
from facecore_plugin.access import Corrects, Sees, Visitor
from facecore_plugin.asset_events import ACCEPTED_IMAGES, announce
from facecore_plugin.forms import After, Form, Id, form_of
from facecore_plugin.pages import FILE_HEADERS, back_to, render
from facecore_plugin.static import no_picture
from facecore_plugin.work import Desk, in_thread

router = APIRouter()

Reader = Annotated[Visitor, Depends(Sees("quarantine"))]

_ACTIONS = {"release": jobs.release, "discard": jobs.discard}
_DONE = {"release": "released", "discard": "discarded"}
# A preview decodes a picture from outside, which may be large; the browser asks for those in view.
_PREVIEWS = Desk("The preview", at_once=2, waiting=60)


@router.get("/quarantine", response_class=HTMLResponse)
async def quarantine_page(
    request: Request,
    _: Reader,
    code: Annotated[str | None, Query(max_length=60, pattern=r"^[\w-]*$")] = None,
    before: After = None,
) -> Response:
    """Quarantined images, newest first, of one reason or of all."""
    found = await in_thread(jobs.listing, code=code, before=before)
    return render(
        request, "quarantine.html.j2", page="quarantine",
        found=found, code=code, before=before, describe=describe, unreadable=jobs.UNREADABLE,
    )  # fmt: skip


@router.get("/quarantine/{image_id}.jpg")
async def preview(image_id: Id, _: Reader) -> Response:
    """A quarantined picture, small; a drawing in its place where it cannot be decoded."""
    async with _PREVIEWS.place():
        try:
            data = await _PREVIEWS.do(jobs.preview, image_id)
        except ImageRejected:
            data = None
    if data is None:
        return no_picture()
    return Response(data, media_type="image/jpeg", headers=FILE_HEADERS)


@router.post("/quarantine")
async def decide(
    request: Request, form: Annotated[Form, Depends(form_of(Corrects("quarantine")))]
) -> Response:
    """Release or discard the selected images."""
    action = form.text("action")
    if action not in _ACTIONS:
        raise HTTPException(400, "Choose release or discard.")
    outcome = await in_thread(
        _ACTIONS[action], form.numbers("image"), actor=form.who.name, reason=form.text("reason")
    )
    if action == "release" and outcome.done:
        # Also after a repetition: whoever was interrupted here presses the button again.
        await in_thread(announce, ACCEPTED_IMAGES, {"accepted": len(outcome.done)})
    if outcome.refused:
        return render(
            request, "quarantine_refused.html.j2", page="quarantine", status=409,
            action=action, outcome=outcome,
        )  # fmt: skip
    return back_to(request, "/quarantine", _DONE[action], len(outcome.done))
