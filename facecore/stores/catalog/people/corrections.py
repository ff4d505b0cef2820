"""Changes that humans make to assignments, kept with what was there before.

Each function belongs to a decision that was added in the same transaction, and to people whose
rows the caller has locked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from facecore.stores.catalog.connection import Transaction

_CHANGE = (
    "INSERT INTO decision_change (decision_id, face_id, source, model_version_id, person_before, "
    "outcome_before, gallery_before, person_after, outcome_after) "
)


@dataclass(frozen=True, slots=True)
class PersonRow:
    """A person as the row stands."""

    id: int
    label: str
    kind: str
    status: str
    named: bool
    merged_into: int | None


def now(tx: Transaction, person_ids: Sequence[int]) -> dict[int, int]:
    """Person → who that is now, after every merge; ids that nobody has are left out."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT p.id, person_now(p.id) FROM person AS p WHERE p.id = ANY(%s)",
            [list(person_ids)],
        )
        return dict(cursor.fetchall())


def lock(tx: Transaction, person_ids: Sequence[int]) -> dict[int, PersonRow]:
    """Lock people, lowest id first, so that nobody else decides about them; by id."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT id, label, kind, status, named, merged_into FROM person WHERE id = ANY(%s) "
            "ORDER BY id FOR UPDATE",
            [sorted(set(person_ids))],
        )
        return {row[0]: PersonRow(*row) for row in cursor}


def who_has(tx: Transaction, label: str) -> int | None:
    """The active person who has this name, if there is one."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM person WHERE label = %s AND named AND status = 'active' "
            "AND merged_into IS NULL",
            [label],
        )
        row = cursor.fetchone()
    return None if row is None else int(row[0])


def set_person(tx: Transaction, person_id: int, *, label: str, named: bool, kind: str) -> None:
    """Give a person a name, or take it away, and say whether they are enrolled or discovered."""
    with tx.cursor() as cursor:
        cursor.execute(
            "UPDATE person SET label = %s, named = %s, kind = %s WHERE id = %s",
            [label, named, kind, person_id],
        )


def set_merged(tx: Transaction, person_ids: Sequence[int], into: int | None) -> None:
    """Say that people are another person from now on; None: themselves again."""
    with tx.cursor() as cursor:
        cursor.execute(
            "UPDATE person SET merged_into = %s WHERE id = ANY(%s)", [into, list(person_ids)]
        )


def discover(tx: Transaction, count: int) -> list[int]:
    """New people without names; their labels are placeholders made of their ids."""
    with tx.cursor() as cursor:
        cursor.execute(
            "WITH fresh AS (SELECT nextval(pg_get_serial_sequence('facecore.person', 'id')) AS id "
            "FROM generate_series(1, %s)) "
            "INSERT INTO person (id, label, kind, named) OVERRIDING SYSTEM VALUE "
            "SELECT id, 'Person ' || id, 'discovered', false FROM fresh ORDER BY id RETURNING id",
            [count],
        )
        return sorted(person_id for (person_id,) in cursor)


def belonging(tx: Transaction, person_id: int, face_ids: Sequence[int]) -> set[int]:
    """Those of these faces that are this person's now, surely or not."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT face_id FROM current_assignment WHERE person_id = %s AND face_id = ANY(%s)",
            [person_id, list(face_ids)],
        )
        return {face_id for (face_id,) in cursor}


def has_others(tx: Transaction, person_id: int, face_ids: Sequence[int]) -> bool:
    """Whether a person has faces now besides these."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM current_assignment WHERE person_id = %s "
            "AND face_id <> ALL(%s))",
            [person_id, list(face_ids)],
        )
        return cursor.fetchone() == (True,)


def enrolled_since(tx: Transaction, person_id: int, decision_id: int) -> bool:
    """Whether a person has gallery faces besides those that a decision brought them."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM assignment AS a WHERE a.person_id = %s AND a.gallery "
            "AND NOT EXISTS (SELECT FROM decision_change AS c WHERE c.decision_id = %s "
            "AND c.face_id = a.face_id AND c.source = 'human'))",
            [person_id, decision_id],
        )
        return cursor.fetchone() == (True,)


def give_rest(tx: Transaction, person_id: int, to: int) -> None:
    """Whatever was said of a person since becomes another's; not kept for an undo."""
    with tx.cursor() as cursor:
        _as_human(
            cursor,
            "UPDATE assignment SET person_id = %(to)s WHERE person_id = %(person)s",
            {"person": person_id, "to": to},
        )


def move_all(tx: Transaction, decision_id: int, person_ids: Sequence[int], to: int) -> int:
    """Every assignment of these people, by any source and model version, becomes another's."""
    values = {"decision": decision_id, "people": list(person_ids), "to": to}
    with tx.cursor() as cursor:
        cursor.execute(
            f"{_CHANGE} SELECT %(decision)s, face_id, source, model_version_id, person_id, "
            "outcome, gallery, %(to)s, outcome FROM assignment WHERE person_id = ANY(%(people)s)",
            values,
        )
        return _as_human(
            cursor,
            "UPDATE assignment SET person_id = %(to)s WHERE person_id = ANY(%(people)s)",
            values,
        )


def confirm_as(tx: Transaction, decision_id: int, person_id: int, face_ids: Sequence[int]) -> None:
    """A human says that these faces are this person; they leave the gallery."""
    values = {"decision": decision_id, "person": person_id, "faces": sorted(set(face_ids))}
    with tx.cursor() as cursor:
        cursor.execute(
            f"{_CHANGE} SELECT %(decision)s, wanted.id, 'human', NULL, a.person_id, a.outcome, "
            "coalesce(a.gallery, false), %(person)s, 'accept' "
            "FROM unnest(%(faces)s::bigint[]) AS wanted (id) "
            "LEFT JOIN assignment AS a ON a.face_id = wanted.id AND a.source = 'human'",
            values,
        )
        _as_human(
            cursor,
            "INSERT INTO assignment (face_id, person_id, outcome, source) "
            "SELECT id, %(person)s, 'accept', 'human' "
            "FROM unnest(%(faces)s::bigint[]) AS wanted (id) "
            "ON CONFLICT (face_id) WHERE source = 'human' DO UPDATE SET "
            "person_id = excluded.person_id, outcome = 'accept', gallery = false",
            values,
        )


def rule_out(tx: Transaction, decision_id: int, face_id: int, person_id: int) -> None:
    """Nothing says any more that a face is a person: machines' words become unknown, also those
    of the face as other detectors found it; a human's earlier word is taken back."""
    values = {"decision": decision_id, "person": person_id, "face": face_id}
    # Humans' words of the counterparts follow when their detector comes into use.
    where = (
        "person_id = %(person)s AND (face_id = %(face)s OR source <> 'human' AND face_id IN ("
        "SELECT counterpart_id FROM face_counterpart WHERE face_id = %(face)s))"
    )
    with tx.cursor() as cursor:
        cursor.execute(
            f"{_CHANGE} SELECT %(decision)s, face_id, source, model_version_id, person_id, "
            "outcome, gallery, NULL, CASE WHEN source <> 'human' THEN 'unknown' END "
            f"FROM assignment WHERE {where}",
            values,
        )
        _as_human(cursor, f"DELETE FROM assignment WHERE {where} AND source = 'human'", values)
        cursor.execute(
            f"UPDATE assignment SET person_id = NULL, outcome = 'unknown' WHERE {where}", values
        )


def restore(tx: Transaction, decision_id: int) -> None:
    """What a decision changed is as before, where nothing has changed it since.

    The undo, and the people, must be written before: machines' words are checked against what
    stands. A human's word is restored on the face as the detector in use found it.
    """
    values = {"decision": decision_id}
    with tx.cursor() as cursor:
        cursor.execute(
            "CREATE TEMPORARY TABLE restored ON COMMIT DROP AS "
            "SELECT c.*, CASE WHEN c.source = 'human' THEN coalesce(("
            "  SELECT n.id FROM face_counterpart AS p JOIN active_face AS n "
            "  ON n.id = p.counterpart_id WHERE p.face_id = c.face_id "
            "  AND NOT EXISTS (SELECT FROM active_face AS same WHERE same.id = c.face_id) "
            "  ORDER BY p.iou DESC, n.id LIMIT 1), c.face_id) ELSE c.face_id END AS target_id "
            "FROM decision_change AS c WHERE c.decision_id = %(decision)s",
            values,
        )
        _as_human(
            cursor,
            "DELETE FROM assignment AS a USING restored AS c WHERE c.outcome_before IS NULL "
            f"AND {_SAME_ROW} AND {_AS_DECIDED}",
            values,
        )
        _as_human(
            cursor,
            "UPDATE assignment AS a SET person_id = c.person_before, "
            "outcome = c.outcome_before, gallery = c.gallery_before FROM restored AS c "
            f"WHERE c.outcome_before IS NOT NULL AND {_SAME_ROW} AND {_AS_DECIDED}",
            values,
        )
        # A human's word that was taken back.
        _as_human(
            cursor,
            "INSERT INTO assignment (face_id, person_id, outcome, source, gallery) "
            "SELECT c.target_id, c.person_before, c.outcome_before, 'human', c.gallery_before "
            "FROM restored AS c WHERE c.source = 'human' AND c.outcome_after IS NULL "
            "ON CONFLICT (face_id) WHERE source = 'human' DO NOTHING",
            values,
        )
        cursor.execute("DROP TABLE restored")


_SAME_ROW = (
    "a.face_id = c.target_id AND a.source = c.source "
    "AND (a.source = 'human' OR a.model_version_id = c.model_version_id)"
)
_AS_DECIDED = (
    "c.outcome_after IS NOT NULL AND (a.person_id, a.outcome) "
    "IS NOT DISTINCT FROM (c.person_after, c.outcome_after)"
)


def _as_human(cursor: Any, statement: str, values: dict[str, Any]) -> int:
    """Run a statement that may change humans' words; returns how many rows it changed."""
    cursor.execute("SET LOCAL facecore.acting = 'human'")
    cursor.execute(statement, values)
    changed = int(cursor.rowcount)
    cursor.execute("SET LOCAL facecore.acting = ''")
    return changed
