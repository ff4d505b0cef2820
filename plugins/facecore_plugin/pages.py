"""How every page is rendered: one template environment, the same headers, what the layout needs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import jinja2
from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from facecore_plugin import csrf
from facecore_plugin.access import Visitor

_PRIVATE = {
    "Cache-Control": "private, no-store",
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: with it browsers hide the origin of forms, which is checked.
    "Referrer-Policy": "same-origin",
}
# Nothing is loaded from anywhere else, nothing inline runs, forms come back here, and nobody but
# Airflow's own UI frames a page.
HEADERS = {
    **_PRIVATE,
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; "
    "script-src 'self'; frame-src 'self'; form-action 'self'; frame-ancestors 'self'; "
    "base-uri 'none'",
    "X-Frame-Options": "SAMEORIGIN",
}
FILE_HEADERS = {
    **_PRIVATE,
    "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'self'",
}

# Title, page as in `access.DAGS`, path.
TABS = (
    ("Overview", "overview", "/overview"),
    ("People", "people", "/people"),
    ("Quarantine", "quarantine", "/quarantine"),
    ("Reports", "reports", "/reports"),
    ("Models", "models", "/models"),
)

# What a page says after something was done there; the address carries only the key and a number.
DONE = {
    "released": "Released: {n}. extract_faces takes them.",
    "discarded": "Discarded: {n}. Their bytes are gone; rows and reasons stay.",
    "acknowledged": "The alert is dealt with. Seen again, it is raised anew.",
    "named": "The name is given.",
    "merged": "Both are one person now.",
    "split": "The selected faces are a person of their own now: this one.",
    "not": "Noted: that face is not this person.",
    "undone": "Decision {n} is undone.",
}


def render(
    request: Request,
    template: str,
    *,
    page: str,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: Any,
) -> HTMLResponse:
    """A page of ours.

    Args:
        page: whose tab is current; its forms are shown to whom `access` lets correct there.
    """
    who: Visitor | None = getattr(request.state, "visitor", None)
    session = csrf.session_of(request)
    text = (
        _templates()
        .get_template(template)
        .render(
            root=request.scope.get("root_path", ""),
            airflow=request.scope.get("app_root_path", ""),
            page=page,
            tabs=[tab for tab in TABS if who is not None and tab[1] in who.sees],
            who=who,
            corrects=who is not None and page in who.corrects,
            token="" if who is None else csrf.token_for(session, who.name),
            done=_done(request),
            **values,
        )
    )
    answer = HTMLResponse(text, status, {**HEADERS, **(headers or {})})
    csrf.remember(request, answer, session)
    return answer


def problem(
    request: Request, status: HTTPStatus, sentence: str, headers: Mapping[str, str] | None
) -> Response:
    """A page that says what went wrong, and the way back."""
    return render(
        request,
        "problem.html.j2",
        page=(request.url.path.removeprefix(request.scope["root_path"]) + "/").split("/")[1],
        status=status,
        headers=headers,
        title=status.phrase,
        sentence=sentence,
    )


def back_to(request: Request, path: str, done: str, number: int | None = None) -> Response:
    """After a form: to a page that says what was done."""
    mark = f"{'&' if '?' in path else '?'}done={done}" + ("" if number is None else f"&n={number}")
    root = request.scope.get("root_path", "")
    return RedirectResponse(f"{root}{path}{mark}", 303, headers=_PRIVATE)


def wants_html(request: Request) -> bool:
    """Whether a browser asks for a page, not a program or a page's picture."""
    return "text/html" in request.headers.get("accept", "")


def _done(request: Request) -> str:
    sentence = DONE.get(request.query_params.get("done", ""), "")
    number = request.query_params.get("n", "")
    return sentence.format(n=number) if number.isdecimal() or "{n}" not in sentence else ""


_environment: list[jinja2.Environment] = []


def _templates() -> jinja2.Environment:
    if not _environment:
        made = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
        made.filters |= {"moment": _moment, "ago": _ago, "count": _count, "number": _number}
        _environment.append(made)
    return _environment[0]


def _moment(at: datetime | None) -> str:
    return "–" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _ago(at: datetime | None) -> str:
    """How long ago, in one unit."""
    if at is None:
        return "never"
    seconds = (datetime.now(UTC) - at).total_seconds()
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return "just now"


def _count(counted: Any) -> str:
    """A `Count`: a number, marked where it is an estimate."""
    return f"{counted.value:,}" if counted.exact else f"≈ {counted.value:,}"


def _number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
