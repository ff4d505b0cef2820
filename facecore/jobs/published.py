"""Published reports, for the pages inside Airflow."""

from __future__ import annotations

from functools import lru_cache

import jinja2

from facecore.jobs.stores import Stores
from facecore.stores.catalog import reports

_NEWEST = 200


@lru_cache(maxsize=1)
def _stores() -> Stores:
    return Stores()


def newest_reports(stores: Stores | None = None) -> str:
    """A page that lists the newest 200 reports."""
    stores = stores or _stores()
    with stores.catalog.transaction() as tx:
        found = reports.newest(tx, limit=_NEWEST)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("facecore.jobs"), autoescape=True, trim_blocks=True
    )
    return environment.get_template("reports.html.j2").render(reports=found)


def read_published(key: str, stores: Stores | None = None) -> bytes:
    """The bytes of a published file.

    Raises:
        ObjectMissing: there is no such file.
        KeyRefused: the key points elsewhere.
    """
    return (stores or _stores()).objects.get("reports", key)
