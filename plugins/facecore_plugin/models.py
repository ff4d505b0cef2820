"""Models: in use and challenging, with evidence, thresholds and the state of re-embedding."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response

from facecore.jobs.models import model_overview as jobs
from facecore_plugin.access import Sees, Visitor
from facecore_plugin.pages import render
from facecore_plugin.work import Desk

router = APIRouter()

# The registry is asked over the network, with bounded tries that may take seconds.
_REGISTRY = Desk("The model registry", at_once=2, waiting=8)


@router.get("/models", response_class=HTMLResponse)
async def models_page(request: Request, _: Annotated[Visitor, Depends(Sees("models"))]) -> Response:
    """All versions, promotions and the re-embedding under way."""
    async with _REGISTRY.place():
        found = await _REGISTRY.do(jobs.models)
    return render(request, "models.html.j2", page="models", found=found)
