"""Faces per source and hour, and visits per person: what forecasts are made from.

Hours are those of a wall clock. Gallery pictures are not activity. An image counts once, at its
first sighting.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.images.images import ENROLMENT

_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class HourRow:
    """A source's faces in one hour; hours without a picture have no row.

    Attributes:
        at: the hour, local and naive.
    """

    source: str
    at: datetime
    faces: int


def hours(
    tx: Transaction, start: datetime, end: datetime, timezone: str, *, sources: int = 50
) -> list[HourRow]:
    """Faces of each hour that had a picture, of the busiest sources, by source and hour.

    Args:
        start, end: the period `[start, end)`, with UTC offsets.
    """
    with tx.cursor() as cursor:
        cursor.execute(
            "WITH seen AS ("
            "  SELECT DISTINCT ON (image_id) image_id, source, captured_at FROM sighting "
            "  WHERE captured_at >= %(start)s AND captured_at < %(end)s AND source <> %(not)s "
            "  ORDER BY image_id, captured_at, id), "
            "counted AS ("
            "  SELECT seen.source, date_trunc('hour', captured_at AT TIME ZONE %(zone)s) AS hour, "
            "         (SELECT count(*) FROM active_face AS face "
            "          WHERE face.image_id = seen.image_id) AS faces "
            "  FROM seen), "
            "busiest AS ("
            "  SELECT source FROM counted GROUP BY source "
            "  ORDER BY sum(faces) DESC, source LIMIT %(sources)s) "
            "SELECT source, hour, sum(faces)::bigint FROM counted JOIN busiest USING (source) "
            "GROUP BY source, hour ORDER BY source, hour",
            {"start": start, "end": end, "zone": timezone, "not": ENROLMENT, "sources": sources},
        )
        return [HourRow(source, at, int(faces)) for source, at, faces in cursor.fetchall()]


def extent(tx: Transaction) -> tuple[datetime, datetime] | None:
    """First and last moment at which anything was seen, with UTC offsets; None: never."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT min(captured_at), max(captured_at) FROM sighting "
            "WHERE source <> %s AND captured_at IS NOT NULL",
            [ENROLMENT],
        )
        first, last = cursor.fetchone() or (None, None)
    return None if first is None else (first, last)


def sightings_after(tx: Transaction, moment: datetime) -> dict[str, int]:
    """Source → sightings whose clock says a later moment than `moment`."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT source, count(*) FROM sighting WHERE captured_at >= %s AND source <> %s "
            "GROUP BY source ORDER BY source",
            [moment, ENROLMENT],
        )
        return {source: int(number) for source, number in cursor.fetchall()}


def arrivals(
    tx: Transaction,
    start: datetime,
    end: datetime,
    timezone: str,
    *,
    gap_h: float = 4.0,
    people: int = 500,
) -> Iterator[tuple[int, datetime]]:
    """(person, begin of a visit), by person and time: the first sighting after an absence.

    Only accepted faces of the people who came most often.

    Args:
        gap_h: who was away for so many hours visits anew.
    """
    with tx.cursor(name="arrivals") as cursor:
        cursor.itersize = _ROWS_AT_ONCE
        cursor.execute(
            "WITH seen AS MATERIALIZED ("
            "  SELECT a.person_id, s.captured_at AS at FROM current_assignment AS a "
            "  JOIN face ON face.id = a.face_id JOIN sighting AS s ON s.image_id = face.image_id "
            "  JOIN person ON person.id = a.person_id AND person.status = 'active' "
            "  WHERE a.outcome = 'accept' AND s.source <> %(not)s "
            "  AND s.captured_at >= %(start)s AND s.captured_at < %(end)s), "
            "began AS ("
            "  SELECT person_id, at, lag(at) OVER (PARTITION BY person_id ORDER BY at) AS before "
            "  FROM seen), "
            "visit AS (SELECT person_id, at FROM began WHERE before IS NULL "
            "          OR at - before >= make_interval(secs => %(gap)s * 3600)), "
            "often AS (SELECT person_id FROM visit GROUP BY person_id "
            "          ORDER BY count(*) DESC, person_id LIMIT %(people)s) "
            "SELECT person_id, at AT TIME ZONE %(zone)s FROM visit JOIN often USING (person_id) "
            "ORDER BY person_id, at",
            {
                "start": start,
                "end": end,
                "zone": timezone,
                "not": ENROLMENT,
                "gap": gap_h,
                "people": people,
            },
        )
        for person_id, at in cursor:
            yield int(person_id), at
