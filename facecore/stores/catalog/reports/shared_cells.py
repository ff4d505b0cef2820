"""Counts for reports that leave the house: each with at least how many people it is about.

Reads what `activity.read_activity` and `presence.read_presence` prepared in the same transaction.
The number of people is a lower bound: different people who were recognised (or grouped), or the
most faces on one picture, whichever is more; faces that nobody is named on could all be one
person's. A picture that was not searched yet could show one.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.reports.activity import ActivityQuery


def read_shared_cells(tx: Transaction, query: ActivityQuery) -> dict[str, pd.DataFrame]:
    """Count cells and their people.

    Returns:
        Frame name → frame; a column that a cell is not broken down by is None, and `level` says
        which it is broken down by.

        - `face_cells`: level (all, bin, outcome, source, weekday, weekday-hour), bin,
          outcome, place (1 … of the named sources, 0: all others), weekday, hour, value, people
        - `image_cells`: level (all, bin, source), bin, place, value, people
        - `source_places`: place, source
    """
    values: dict[str, Any] = {"unit": query.bin_unit, "top_sources": query.top_sources}
    with tx.cursor() as cursor:
        return {name: _frame(cursor, sql, values) for name, sql in _QUERIES.items()}


def _frame(cursor: Any, sql: str, values: dict[str, Any]) -> pd.DataFrame:
    cursor.execute(sql, values)
    columns = [column.name for column in cursor.description]
    return pd.DataFrame(cursor.fetchall(), columns=columns, dtype=object)


_PLACES = """
    SELECT source, CASE WHEN place <= %(top_sources)s THEN place ELSE 0 END AS place FROM (
        SELECT source, row_number() OVER (ORDER BY count(*) DESC, source) AS place
        FROM report_sighting GROUP BY source
    ) AS ranked"""

_QUERIES = {
    "source_places": f"SELECT place, source FROM ({_PLACES}) AS p WHERE place > 0 ORDER BY place",
    "face_cells": f"""
        WITH place AS ({_PLACES}),
        base AS (
            SELECT date_trunc(%(unit)s, f.local_at) AS bin,
                   coalesce(f.outcome, 'not_compared') AS outcome, place.place,
                   extract(isodow FROM f.local_at)::int AS weekday,
                   extract(hour FROM f.local_at)::int AS hour, seen.person_id,
                   count(*) OVER (PARTITION BY f.image_id) AS on_image,
                   count(*) OVER (PARTITION BY f.image_id, coalesce(f.outcome, 'not_compared'))
                       AS alike_on_image
            FROM report_face AS f JOIN place USING (source)
            LEFT JOIN report_seen AS seen USING (face_id)
        )
        SELECT CASE GROUPING(bin, outcome, place, weekday, hour)
                    WHEN 31 THEN 'all' WHEN 15 THEN 'bin' WHEN 23 THEN 'outcome'
                    WHEN 27 THEN 'source' WHEN 29 THEN 'weekday'
                    ELSE 'weekday-hour' END AS level,
               bin, outcome, place, weekday, hour, count(*) AS value,
               greatest(count(DISTINCT person_id),
                        CASE WHEN GROUPING(outcome) = 0 THEN max(alike_on_image)
                             ELSE max(on_image) END) AS people
        FROM base
        GROUP BY GROUPING SETS
            ((), (bin), (outcome), (place), (weekday), (weekday, hour))
        ORDER BY 1, 2, 3, 4, 5, 6""",
    "image_cells": f"""
        WITH place AS ({_PLACES}),
        shown AS (SELECT image_id, count(*) AS faces FROM report_face GROUP BY image_id),
        base AS (
            SELECT s.image_id, date_trunc(%(unit)s, s.local_at) AS bin, place.place,
                   seen.person_id,
                   CASE WHEN image.status IN ('stored', 'accepted') THEN 1
                        ELSE coalesce(shown.faces, 0) END AS on_image
            FROM report_sighting AS s JOIN place USING (source)
            JOIN image ON image.id = s.image_id
            LEFT JOIN shown ON shown.image_id = s.image_id
            LEFT JOIN report_seen AS seen ON seen.image_id = s.image_id
            WHERE s.is_first
        )
        SELECT CASE GROUPING(bin, place) WHEN 3 THEN 'all' WHEN 1 THEN 'bin' ELSE 'source' END
                   AS level,
               bin, place, count(DISTINCT image_id) AS value,
               greatest(count(DISTINCT person_id), max(on_image)) AS people
        FROM base GROUP BY GROUPING SETS ((), (bin), (place)) ORDER BY 1, 2, 3""",
}
