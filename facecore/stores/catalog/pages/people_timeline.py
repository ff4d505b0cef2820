"""When and where a person was seen lately, in a time that does not grow with their pictures."""

from __future__ import annotations

from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.pages.people_pages import SightingEntry

NEWEST_FACES = 5000


def recent(tx: Transaction, person_id: int) -> tuple[list[SightingEntry], bool]:
    """Sightings of the pictures with the `NEWEST_FACES` faces found last, latest first, and
    whether these are all faces.

    A picture that shows the person twice is one sighting.
    """
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM (SELECT FROM current_assignment AS c "
            "  WHERE c.person_id = %s AND c.outcome = 'accept' LIMIT %s) AS limited",
            [person_id, NEWEST_FACES + 1],
        )
        (faces,) = cursor.fetchone() or (0,)
        cursor.execute(
            "SELECT s.id, coalesce(s.captured_at, s.created_at) AS at, s.source, s.image_id, "
            "min(newest.face_id) FROM (SELECT c.face_id FROM current_assignment AS c "
            "  WHERE c.person_id = %s AND c.outcome = 'accept' "
            "  ORDER BY c.face_id DESC LIMIT %s) AS newest "
            "JOIN face ON face.id = newest.face_id "
            "JOIN sighting AS s ON s.image_id = face.image_id "
            "GROUP BY s.id ORDER BY 2 DESC, s.id DESC",
            [person_id, NEWEST_FACES],
        )
        return [SightingEntry(*row) for row in cursor], faces <= NEWEST_FACES
