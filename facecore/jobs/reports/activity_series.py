"""Activity out of the catalogue: hourly counts per source and visits per person."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from facecore.jobs.stores import Stores
from facecore.stores.catalog.reports import activity_series
from facecore.types import HourlyCounts, Visits

#: Half a year: what lies further back says little about the hours ahead.
WEEKS = 26


def read_counts(
    stores: Stores, origin: datetime, timezone: str, *, weeks: int = WEEKS, sources: int = 50
) -> list[HourlyCounts]:
    """Faces per hour of each source, from the day it was first seen up to `origin`.

    An hour without a picture is 0. The hours that a wall clock skips or shows twice are NaN.

    Args:
        origin: local and naive, a midnight.
        sources: the busiest ones.
    """
    zone = ZoneInfo(timezone)
    end, start = origin.replace(tzinfo=zone), (origin - timedelta(weeks=weeks)).replace(tzinfo=zone)
    with stores.catalog.transaction() as tx:
        rows = activity_series.hours(tx, start, end, timezone, sources=sources)
    by_source: dict[str, dict[datetime, int]] = {}
    for row in rows:
        by_source.setdefault(row.source, {})[row.at] = row.faces
    found = []
    for source, faces in by_source.items():
        first = min(faces).replace(hour=0)
        length = int((origin - first).total_seconds() // 3600)
        counts = np.zeros(max(0, length))
        for at, number in faces.items():
            place = int((at - first).total_seconds() // 3600)
            if place < length:
                counts[place] = number
        for place in range(length):
            if not _plain(first + timedelta(hours=place), zone):
                counts[place] = np.nan
        found.append(HourlyCounts(source, first, counts))
    return found


def read_visits(
    stores: Stores, end: datetime, timezone: str, *, weeks: int = WEEKS, people: int = 500
) -> list[Visits]:
    """When each of the people who came most often came, up to `end` (local, naive)."""
    zone = ZoneInfo(timezone)
    start = (end - timedelta(weeks=weeks)).replace(tzinfo=zone)
    began: dict[int, list[datetime]] = {}
    with stores.catalog.transaction() as tx:
        for person, at in activity_series.arrivals(
            tx, start, end.replace(tzinfo=zone), timezone, people=people
        ):
            times = began.setdefault(person, [])
            if not times or at > times[-1]:  # an hour that comes twice would go back
                times.append(at)
    return [Visits(f"person-{person}", tuple(times)) for person, times in sorted(began.items())]


def _plain(at: datetime, zone: ZoneInfo) -> bool:
    """Whether a wall clock shows this hour once."""
    early, late = (at.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    return early == late
