"""Forms come from our own pages: the browser's session and the form must carry the same secret.

Airflow's login is a cookie, which browsers also send with a form of another site. So each
browser has a random cookie that no other site can read or set for it (`SameSite=Strict`), and
each form a token made of it, of the user's name and of the api-server's secret. On top, the
browser's word about where a form comes from (`Origin`, `Sec-Fetch-Site`) must be this site.
"""

from __future__ import annotations

import hmac
import re
import secrets
from urllib.parse import urlsplit

from airflow.api_fastapi.app import get_cookie_path
from airflow.configuration import conf
from fastapi import HTTPException, Request
from starlette.responses import Response

COOKIE = "facecore_session"
FIELD = "token"
_SESSION = re.compile(r"[\w-]{43}")


def session_of(request: Request) -> str:
    """The browser's session; a new one if it has none."""
    sent = request.cookies.get(COOKIE, "")
    return sent if _SESSION.fullmatch(sent) else secrets.token_urlsafe(32)


def remember(request: Request, answer: Response, session: str) -> None:
    """Let the browser keep its session until it is closed."""
    if request.cookies.get(COOKIE) != session:
        answer.set_cookie(
            COOKIE,
            session,
            path=get_cookie_path(),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )


def token_for(session: str, user: str) -> str:
    """What a form of this browser and user must carry."""
    secret = conf.get("api", "secret_key")
    return hmac.new(secret.encode(), f"facecore\0{session}\0{user}".encode(), "sha256").hexdigest()


def require_own_site(request: Request) -> None:
    """Refuse what a browser says comes from elsewhere.

    Raises:
        HTTPException: 403.
    """
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    own = {request.headers.get("host", ""), urlsplit(conf.get("api", "base_url") or "").netloc}
    here = origin is None or urlsplit(origin).netloc in own - {""}
    told = origin is not None or site is not None
    if not (here and told and site in (None, "same-origin")):
        raise HTTPException(403, "This form does not come from these pages. Open the page again.")


def require_token(request: Request, user: str, sent: str) -> None:
    """Refuse a form without the token of its browser and user.

    Raises:
        HTTPException: 403.
    """
    session = request.cookies.get(COOKIE, "")
    if not session or not hmac.compare_digest(token_for(session, user).encode(), sent.encode()):
        raise HTTPException(403, "This form is out of date. Open the page again and repeat it.")
