"""The overview: state of the pipeline, counts, throughput, last runs, alerts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response

from facecore.jobs.platform import overview as jobs
from facecore_plugin.access import Corrects, Sees, Visitor
from facecore_plugin.forms import Form, Id, form_of
from facecore_plugin.pages import back_to, render
from facecore_plugin.work import in_thread

router = APIRouter()


@router.get("/overview", response_class=HTMLResponse)
async def overview_page(
    request: Request, _: Annotated[Visitor, Depends(Sees("overview"))]
) -> Response:
    """The state of now."""
    state = await in_thread(jobs.overview)
    return render(request, "overview.html.j2", page="overview", state=state)


@router.post("/overview/alerts/{alert_id}")
async def acknowledge(
    request: Request, alert_id: Id, form: Annotated[Form, Depends(form_of(Corrects("overview")))]
) -> Response:
    """Say that somebody has dealt with an alert."""
    reason = form.text("reason")
    await in_thread(jobs.acknowledge, alert_id, actor=form.who.name, reason=reason)
    return back_to(request, "/overview", "acknowledged")
