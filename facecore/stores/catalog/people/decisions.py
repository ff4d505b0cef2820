"""What humans decided about people: the log, and which decisions stand.

A decision is only added to the log. An undo is a decision that names the one it undoes; whatever
was not undone stands, and machines work around it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from facecore.errors import NotFound
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.json_values import as_json, as_text

Kind = Literal["name", "merge", "split", "not", "undo"]
Role = Literal["subject", "absorbed", "created"]


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision.

    Attributes:
        people: person id → role: subject (it is about them), absorbed (merged into the subject)
            or created (split from the subject).
        faces: how many assignments it changed.
        undoes: the decision that this one undid.
        undone_by: the decision that undid this one; None: it stands.
        details: what it needs to be undone, for example the label before.
    """

    id: int
    kind: Kind
    actor: str
    reason: str
    at: datetime
    people: dict[int, Role]
    faces: int
    undoes: int | None
    undone_by: int | None
    details: dict[str, Any]

    @property
    def subject(self) -> int:
        """The person that it is about."""
        return next(i for i, role in self.people.items() if role == "subject")

    def with_role(self, role: Role) -> list[int]:
        """The people that have a role in it, by id."""
        return sorted(i for i, known in self.people.items() if known == role)


_SELECT = """
    SELECT d.id, d.kind, d.actor, d.reason, d.at,
           (SELECT jsonb_object_agg(p.person_id, p.role) FROM decision_person AS p
            WHERE p.decision_id = d.id),
           (SELECT count(*) FROM decision_change AS c WHERE c.decision_id = d.id),
           d.undoes, (SELECT u.id FROM decision AS u WHERE u.undoes = d.id), d.details
    FROM decision AS d """


def add(
    tx: Transaction,
    kind: Kind,
    people: Mapping[int, Role],
    *,
    actor: str,
    reason: str,
    details: Mapping[str, Any] | None = None,
    undoes: int | None = None,
) -> int:
    """Add a decision about people, whose rows the caller has locked; returns its number."""
    with tx.cursor() as cursor:
        cursor.execute(
            "INSERT INTO decision (kind, actor, reason, undoes, details) "
            "VALUES (%s, %s, %s, %s, %s) RETURNING id",
            [kind, as_text(actor), as_text(reason), undoes, as_json(details or {})],
        )
        (decision_id,) = cursor.fetchone() or (0,)
        cursor.execute(
            "INSERT INTO decision_person (decision_id, person_id, role) "
            "SELECT %s, * FROM unnest(%s::bigint[], %s::text[])",
            [decision_id, list(people), list(people.values())],
        )
    return int(decision_id)


def get(tx: Transaction, decision_id: int) -> Decision:
    """One decision. Raises `NotFound`."""
    with tx.cursor() as cursor:
        cursor.execute(f"{_SELECT} WHERE d.id = %s", [decision_id])
        row = cursor.fetchone()
    if row is None:
        raise NotFound("decision", str(decision_id))
    return _decision(row)


def newest(
    tx: Transaction,
    *,
    person_id: int | None = None,
    limit: int = 50,
    before: int | None = None,
) -> list[Decision]:
    """Decisions, newest first.

    Args:
        person_id: only those that person, or someone who was merged into them, has a role in.
        before: only those with a lower number: the last one of the page before.
    """
    conditions = ["(%(before)s::bigint IS NULL OR d.id < %(before)s)"]
    if person_id is not None:
        conditions.append(
            "d.id IN (SELECT p.decision_id FROM decision_person AS p WHERE p.person_id IN ("
            "WITH RECURSIVE one (id) AS (SELECT %(person)s::bigint UNION "
            "SELECT m.id FROM one JOIN person AS m ON m.merged_into = one.id) "
            "SELECT id FROM one))"
        )
    with tx.cursor() as cursor:
        cursor.execute(
            f"{_SELECT} WHERE {' AND '.join(conditions)} ORDER BY d.id DESC LIMIT %(limit)s",
            {"before": before, "person": person_id, "limit": limit},
        )
        return [_decision(row) for row in cursor]


def head(tx: Transaction) -> int:
    """The newest decision's number, 0 without any: tells whether something was decided since."""
    with tx.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(id), 0) FROM decision")
        return int((cursor.fetchone() or (0,))[0])


def later_that_depend(tx: Transaction, decision: Decision) -> list[int]:
    """Standing decisions that were made on top of this one, oldest first.

    They are: what was decided about people whom it created or absorbed; merges that absorbed
    somebody it is about; names given to somebody whom it named; and whatever changed the same
    assignments again.
    """
    named = decision.subject if decision.kind == "name" or "label" in decision.details else None
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT d.id FROM decision AS d WHERE d.id > %(id)s AND d.kind <> 'undo' "
            "AND NOT EXISTS (SELECT FROM decision AS u WHERE u.undoes = d.id) AND ("
            "  EXISTS (SELECT FROM decision_person AS p WHERE p.decision_id = d.id AND ("
            "    p.person_id = ANY(%(gone)s) "
            "    OR p.person_id = ANY(%(everybody)s) AND p.role = 'absorbed' "
            "    OR p.person_id = %(named)s AND p.role = 'subject' "
            "       AND (d.kind = 'name' OR d.details ? 'label'))) "
            "  OR EXISTS (SELECT FROM decision_change AS a JOIN decision_change AS b "
            "    ON b.face_id = a.face_id AND b.source = a.source "
            "    AND b.model_version_id IS NOT DISTINCT FROM a.model_version_id "
            "    WHERE a.decision_id = d.id AND b.decision_id = %(id)s)) ORDER BY d.id",
            {
                "id": decision.id,
                "gone": decision.with_role("created") + decision.with_role("absorbed"),
                "everybody": list(decision.people),
                "named": named,
            },
        )
        return [later for (later,) in cursor]


def decided_about(tx: Transaction, person_ids: Sequence[int]) -> set[int]:
    """Those of these people whom a human named, or made a standing decision about.

    Machines neither dissolve them nor make one of two of them.
    """
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT person.id FROM person WHERE person.id = ANY(%s) AND (person.named OR EXISTS ("
            "SELECT FROM decision_person AS p JOIN decision AS d ON d.id = p.decision_id "
            "WHERE p.person_id = person.id AND d.kind <> 'undo' "
            "AND NOT EXISTS (SELECT FROM decision AS u WHERE u.undoes = d.id)))",
            [list(person_ids)],
        )
        return {person_id for (person_id,) in cursor}


def _decision(row: tuple[Any, ...]) -> Decision:
    number, kind, actor, reason, at, people, faces, undoes, undone_by, details = row
    roles: dict[int, Role] = {int(i): role for i, role in (people or {}).items()}
    return Decision(number, kind, actor, reason, at, roles, int(faces), undoes, undone_by, details)
