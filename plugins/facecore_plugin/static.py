"""Style, script and icons of the pages: small files of ours, for whoever is logged in."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from mimetypes import guess_type
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response

from facecore_plugin.access import Visitor, visitor
from facecore_plugin.pages import FILE_HEADERS

router = APIRouter()

_FOLDER = Path(__file__).parent / "static"
FILES = ("style.css", "script.js", "icon.svg", "icon-dark.svg", "no-picture.svg")


@router.get("/static/{name}")
def file(name: str, request: Request, _: Annotated[Visitor, Depends(visitor)]) -> Response:
    """One of the files; a browser asks each time whether it has changed."""
    if name not in FILES:
        raise HTTPException(404, f"There is no file {name}.")
    data, mark = _read(name)
    headers = {"Cache-Control": "private, no-cache", "ETag": mark}
    headers["X-Content-Type-Options"] = "nosniff"
    if request.headers.get("if-none-match") == mark:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=guess_type(name)[0], headers=headers)


def no_picture() -> Response:
    """Instead of a picture that cannot be shown; browsers call a refused one an error."""
    return Response(_read("no-picture.svg")[0], media_type="image/svg+xml", headers=FILE_HEADERS)


@lru_cache
def _read(name: str) -> tuple[bytes, str]:
    data = (_FOLDER / name).read_bytes()
    return data, f'"{hashlib.sha256(data).hexdigest()[:32]}"'
