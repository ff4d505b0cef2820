"""What came with a request: ids within limits; forms in memory, and only from our own pages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Annotated

import anyio
from fastapi import HTTPException, Path, Query, Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser

from facecore_plugin import csrf
from facecore_plugin.access import Corrects, Sees, Visitor

MOST = 2**63 - 1  # of PostgreSQL's ids
Id = Annotated[int, Path(ge=1, le=MOST)]
After = Annotated[int | None, Query(ge=1, le=MOST)]

_FIELDS_BYTES = 256 * 1024
_SECONDS = 60


class Form:
    """The fields of a form, and who sent it."""

    def __init__(self, who: Visitor, data: FormData) -> None:
        self.who = who
        self._data = data

    def text(self, name: str) -> str:
        """A field; empty where it was left out."""
        value = self._data.get(name, "")
        return value.strip() if isinstance(value, str) else ""

    def number(self, name: str) -> int:
        """A field that is an id. Raises `HTTPException` 400."""
        return _number(self.text(name), name)

    def numbers(self, name: str) -> list[int]:
        """A field that occurs any number of times. Raises `HTTPException` 400."""
        return [_number(str(value), name) for value in self._data.getlist(name)]

    async def file(self, name: str) -> bytes:
        """The bytes of an uploaded file; empty where none was chosen."""
        value = self._data.get(name)
        return await value.read() if isinstance(value, UploadFile) else b""


class _InMemory(MultiPartParser):
    """Starlette's parser puts larger files on the disk; the body's limit keeps memory bounded."""

    spool_max_size = 0  # never


async def read(request: Request, who: Visitor, max_bytes: int = _FIELDS_BYTES) -> Form:
    """Read and check a form.

    Raises:
        HTTPException: 400 malformed, 403 from elsewhere, 408 too slow, 413 too large.
    """
    csrf.require_own_site(request)
    parser: FormParser | MultiPartParser
    body = _limited(request, max_bytes)
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        parser = _InMemory(request.headers, body, max_files=1, max_fields=20)
    else:
        parser = FormParser(request.headers, body)
    try:
        with anyio.fail_after(_SECONDS):
            form = Form(who, await parser.parse())
    except TimeoutError:
        raise HTTPException(408, f"The form took more than {_SECONDS} s to arrive.") from None
    except (MultiPartException, KeyError, UnicodeDecodeError):
        raise HTTPException(400, "The form cannot be read.") from None
    csrf.require_token(request, who.name, form.text(csrf.FIELD))
    return form


def form_of(allowed: Sees | Corrects) -> Callable[..., Awaitable[Form]]:
    """A dependency: a form that somebody sent who may."""
    from fastapi import Depends

    async def read_form(request: Request, who: Visitor = Depends(allowed)) -> Form:  # noqa: B008
        return await read(request, who)

    return read_form


async def _limited(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    seen = 0
    async for piece in request.stream():
        seen += len(piece)
        if seen > max_bytes:
            raise HTTPException(413, f"More than {max_bytes:,} bytes were sent.")
        yield piece


def _number(text: str, name: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise HTTPException(400, f"{name} is not a number.")
    return int(text)
