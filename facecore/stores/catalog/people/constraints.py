"""Must-link (two faces are one person) and cannot-link (a face is not a person).

Links belong to a decision: they hold while it stands and no later one, nor an enrolment, revoked
them. They are kept for the face that the human saw; of another detector version's face at the
same place they say the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from facecore.stores.catalog.connection import Transaction

# A link's face as the detector in use found it.
_IN_USE = """
    SELECT l.face_id AS said_of, f.id AS face_id FROM live_link AS l
    JOIN active_face AS f ON f.id = l.face_id
    UNION
    SELECT l.face_id, f.id FROM live_link AS l
    JOIN face_counterpart AS c ON c.face_id = l.face_id
    JOIN active_face AS f ON f.id = c.counterpart_id
"""


def must_link(tx: Transaction, decision_id: int, face_ids: Sequence[int]) -> None:
    """These faces are one person: each is linked with the first."""
    first, *rest = sorted(set(face_ids))
    with tx.cursor() as cursor:
        cursor.execute(
            "INSERT INTO link (kind, face_id, other_face_id, decision_id) "
            "SELECT 'must', %s, id, %s FROM unnest(%s::bigint[]) AS other (id)",
            [first, decision_id, rest],
        )


def cannot_link(tx: Transaction, decision_id: int, face_ids: Sequence[int], person_id: int) -> None:
    """None of these faces is this person."""
    with tx.cursor() as cursor:
        cursor.execute(
            "INSERT INTO link (kind, face_id, person_id, decision_id) "
            "SELECT 'cannot', id, %s, %s FROM unnest(%s::bigint[]) AS face (id)",
            [person_id, decision_id, sorted(set(face_ids))],
        )


def cannot_link_rest(
    tx: Transaction, decision_id: int, of_person: int, face_ids: Sequence[int], person_id: int
) -> None:
    """No face that is `of_person`'s now, except these, is `person_id`."""
    with tx.cursor() as cursor:
        cursor.execute(
            "INSERT INTO link (kind, face_id, person_id, decision_id) "
            "SELECT 'cannot', face_id, %s, %s FROM current_assignment "
            "WHERE person_id = %s AND face_id <> ALL(%s) ORDER BY face_id",
            [person_id, decision_id, of_person, list(face_ids)],
        )


def revoke_between(tx: Transaction, decision_id: int, person_ids: Sequence[int]) -> int:
    """A later decision says that these people are one: what keeps their faces apart ends.

    Faces are theirs that anything says are, under any detector; and those of a split between
    them, even where clustering found since that one is nobody.
    """
    with tx.cursor() as cursor:
        cursor.execute(
            "UPDATE link SET revoked_by = %(decision)s WHERE id IN ("
            "SELECT l.id FROM live_link AS l JOIN decision AS d ON d.id = l.decision_id "
            "WHERE l.kind = 'cannot' AND person_now(l.person_id) = ANY(%(people)s) AND ("
            "  d.kind = 'split' AND NOT EXISTS (SELECT FROM decision_person AS p "
            "    WHERE p.decision_id = d.id AND person_now(p.person_id) <> ALL(%(people)s)) "
            "  OR EXISTS (SELECT FROM (SELECT l.face_id UNION ALL SELECT c.counterpart_id "
            "    FROM face_counterpart AS c WHERE c.face_id = l.face_id) AS same "
            "    JOIN assignment AS a USING (face_id) WHERE a.person_id = ANY(%(people)s))))",
            {"decision": decision_id, "people": list(person_ids)},
        )
        return int(cursor.rowcount)


def revoke_of(tx: Transaction, face_ids: Sequence[int], person_id: int) -> None:
    """A human says after all that these faces, under any detector, are this person.

    That is no decision that could be undone. So the links name their own as what revoked them,
    and hold never again, whether it stands or not.
    """
    with tx.cursor() as cursor:
        cursor.execute(
            "UPDATE link SET revoked_by = decision_id WHERE id IN ("
            "SELECT l.id FROM live_link AS l WHERE l.kind = 'cannot' "
            "AND person_now(l.person_id) = person_now(%(person)s) AND l.face_id IN ("
            "SELECT unnest(%(faces)s::bigint[]) UNION SELECT counterpart_id "
            "FROM face_counterpart WHERE face_id = ANY(%(faces)s)))",
            {"faces": list(face_ids), "person": person_id},
        )


def forbidden(tx: Transaction, face_ids: Sequence[int]) -> dict[int, set[int]]:
    """Face → people it is not, of these faces; faces nobody spoke of are left out."""
    found: dict[int, set[int]] = defaultdict(set)
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT wanted.id, person_now(l.person_id) FROM unnest(%(faces)s::bigint[]) "
            "AS wanted (id) JOIN live_link AS l ON l.face_id = wanted.id AND l.kind = 'cannot' "
            "UNION "
            "SELECT c.face_id, person_now(l.person_id) FROM face_counterpart AS c "
            "JOIN live_link AS l ON l.face_id = c.counterpart_id AND l.kind = 'cannot' "
            "WHERE c.face_id = ANY(%(faces)s)",
            {"faces": list(face_ids)},
        )
        for face_id, person_id in cursor:
            found[face_id].add(person_id)
    return dict(found)


def all_forbidden(tx: Transaction) -> list[tuple[int, int]]:
    """(face in use, person it is not), of everything that stands."""
    with tx.cursor() as cursor:
        cursor.execute(
            f"SELECT DISTINCT used.face_id, person_now(l.person_id) FROM ({_IN_USE}) AS used "
            "JOIN live_link AS l ON l.face_id = used.said_of AND l.kind = 'cannot' ORDER BY 1, 2"
        )
        return cursor.fetchall()


def all_required(tx: Transaction) -> list[tuple[int, int]]:
    """Pairs of faces in use that are one person, of everything that stands."""
    with tx.cursor() as cursor:
        cursor.execute(
            f"WITH used AS ({_IN_USE} UNION SELECT l.other_face_id, f.id FROM live_link AS l "
            "JOIN active_face AS f ON f.id = l.other_face_id UNION "
            "SELECT l.other_face_id, f.id FROM live_link AS l "
            "JOIN face_counterpart AS c ON c.face_id = l.other_face_id "
            "JOIN active_face AS f ON f.id = c.counterpart_id) "
            "SELECT DISTINCT a.face_id, b.face_id FROM live_link AS l "
            "JOIN used AS a ON a.said_of = l.face_id "
            "JOIN used AS b ON b.said_of = l.other_face_id WHERE l.kind = 'must' ORDER BY 1, 2"
        )
        return cursor.fetchall()
