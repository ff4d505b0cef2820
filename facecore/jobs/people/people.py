"""What humans decide about people: name, merge, split, "not this person", undo.

Each is one transaction: people are locked in the order of their ids, the decision is added to
the log, assignments and links follow, and the audit log gets an entry. Machines never overwrite
what is decided here; every pass of the clustering starts from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from facecore.errors import ChangeRefused, LabelInUse, NotFound, UsageError
from facecore.jobs.stores import Stores
from facecore.stores.catalog import audit
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.faces import faces
from facecore.stores.catalog.models import active
from facecore.stores.catalog.people import constraints, corrections, people
from facecore.stores.catalog.people import decisions as log
from facecore.stores.catalog.people.corrections import PersonRow
from facecore.stores.catalog.people.decisions import Decision, Role

# A merge moves every assignment of a person in one transaction; more people at once is a mistake.
MOST_PEOPLE = 100
MOST_FACES = 10_000


def name_person(
    person_id: int, label: str, *, actor: str, reason: str, stores: Stores | None = None
) -> int:
    """Name a discovered person, or rename any; returns the decision's number.

    Raises:
        LabelInUse: another person has this name; its `person_id` can be merged with.
        UsageError: the name is empty or too long, or is the person's already.
        NotFound: there is no such person.
    """
    label = people.normalised(label)
    if not 1 <= len(label) <= people.LABEL_CHARACTERS:
        raise UsageError(f"a person's name has 1 to {people.LABEL_CHARACTERS} characters.")
    with _deciding(stores, actor, [person_id]) as (tx, rows):
        (person,) = rows
        owner = corrections.who_has(tx, label)
        if owner is not None and owner != person.id:
            raise LabelInUse(label, owner)
        if owner == person.id:
            raise UsageError(f"person {person.id} is called {label!r} already.")
        details = {"label": person.label, "named": person.named, "to": label}
        decision = log.add(
            tx, "name", {person.id: "subject"}, actor=actor, reason=reason, details=details
        )
        corrections.set_person(tx, person.id, label=label, named=True, kind=person.kind)
        _audit(tx, actor, "name", person.id, reason, decision)
    return decision


def merge_people(
    keep_id: int,
    other_ids: Sequence[int],
    *,
    actor: str,
    reason: str,
    stores: Stores | None = None,
) -> int:
    """Say that people are one: faces of the others belong to `keep_id`; returns the decision.

    Ids of the others stay and lead to `keep_id`. The name stays that of `keep_id`; where that
    has none, the first name among the others is taken. One of them enrolled, all are.

    Raises:
        UsageError: nobody else is named, or too many are.
        NotFound: there is no such person.
    """
    if not 1 <= len(set(other_ids)) <= MOST_PEOPLE:
        raise UsageError(f"1 to {MOST_PEOPLE} people can be merged into another at once.")
    with _deciding(stores, actor, [keep_id, *other_ids]) as (tx, (keep, *others)):
        absorbed = {p.id: p for p in others if p.id != keep.id}
        if not absorbed:
            raise UsageError(f"person {keep.id} is the same person already.")
        roles: dict[int, Role] = {keep.id: "subject", **dict.fromkeys(absorbed, "absorbed")}
        label, kind = keep.label, keep.kind
        if not keep.named:
            label = next((p.label for p in absorbed.values() if p.named), label)
        if any(p.kind == "enrolled" for p in absorbed.values()):
            kind = "enrolled"
        details = {}
        if (label, kind) != (keep.label, keep.kind):
            details = {"label": keep.label, "named": keep.named, "kind": keep.kind, "to": label}
        decision = log.add(tx, "merge", roles, actor=actor, reason=reason, details=details)
        constraints.revoke_between(tx, decision, list(roles))
        corrections.set_merged(tx, list(absorbed), keep.id)
        if details:
            named = keep.named or label != keep.label
            corrections.set_person(tx, keep.id, label=label, named=named, kind=kind)
        moved = corrections.move_all(tx, decision, list(absorbed), keep.id)
        said = {"absorbed": sorted(absorbed), "assignments": moved}
        _audit(tx, actor, "merge", keep.id, reason, decision, said)
    return decision


def split_person(
    person_id: int,
    face_ids: Sequence[int],
    *,
    actor: str,
    reason: str,
    stores: Stores | None = None,
) -> int:
    """Say that some of a person's faces are somebody else, one person; returns the new person.

    These faces are must-linked with each other, cannot be the old person, and the faces that
    stay cannot be the new one.

    Raises:
        UsageError: a face is not this person's, or all of them are to go.
        NotFound: there is no such person.
    """
    wanted = sorted(set(face_ids))
    if not 1 <= len(wanted) <= MOST_FACES:
        raise UsageError(f"1 to {MOST_FACES:,} faces can be split from a person at once.")
    with _deciding(stores, actor, [person_id]) as (tx, (person,)):
        strangers = set(wanted) - corrections.belonging(tx, person.id, wanted)
        if strangers:
            named = ", ".join(str(face) for face in sorted(strangers)[:5])
            raise UsageError(
                f"{len(strangers)} of the faces are not person {person.id}'s now: {named}.",
                remedy="Load the person's faces again.",
            )
        if not corrections.has_others(tx, person.id, wanted):
            raise UsageError(
                f"these are all faces of person {person.id}.",
                remedy="Rename the person, or leave out the faces that stay.",
            )
        (created,) = corrections.discover(tx, 1)
        roles: dict[int, Role] = {person.id: "subject", created: "created"}
        decision = log.add(tx, "split", roles, actor=actor, reason=reason)
        constraints.must_link(tx, decision, wanted)
        constraints.cannot_link(tx, decision, wanted, person.id)
        constraints.cannot_link_rest(tx, decision, person.id, wanted, created)
        corrections.confirm_as(tx, decision, created, wanted)
        said = {"created": created, "faces": wanted[:100], "count": len(wanted)}
        _audit(tx, actor, "split", person.id, reason, decision, said)
    return created


def not_this_person(
    face_id: int, person_id: int, *, actor: str, reason: str, stores: Stores | None = None
) -> int:
    """Say that a face is not a person, whatever machines or humans said; returns the decision.

    Raises:
        UsageError: it was said before.
        NotFound: there is no such face or person.
    """
    with _deciding(stores, actor, [person_id]) as (tx, (person,)):
        faces.get(tx, face_id)
        if person.id in constraints.forbidden(tx, [face_id]).get(face_id, set()):
            raise UsageError(f"face {face_id} is known not to be person {person.id}.")
        decision = log.add(tx, "not", {person.id: "subject"}, actor=actor, reason=reason)
        constraints.cannot_link(tx, decision, [face_id], person.id)
        corrections.rule_out(tx, decision, face_id, person.id)
        _audit(tx, actor, "not", person.id, reason, decision, {"face": face_id})
    return decision


def undo(decision_id: int, *, actor: str, reason: str, stores: Stores | None = None) -> int:
    """Take a decision back; returns the number of the undo.

    What machines said since stays; the next pass of the clustering starts from what stands then.

    Raises:
        ChangeRefused: a later decision depends on it, it was undone, or it is an undo itself.
        LabelInUse: the name that would come back is another person's by now.
        NotFound: there is no such decision.
    """
    stores = stores or Stores()
    with stores.catalog.transaction() as tx:
        wanted = log.get(tx, decision_id)
    with _deciding(stores, actor, list(wanted.people), resolve=False) as (tx, rows):
        decision = log.get(tx, decision_id)
        _require_undoable(tx, decision)
        person = next(row for row in rows if row.id == decision.subject)
        number = log.add(
            tx, "undo", decision.people, actor=actor, reason=reason, undoes=decision.id
        )
        absorbed = decision.with_role("absorbed")
        _require_free(tx, [row for row in rows if row.id in absorbed], decision)
        if "label" in decision.details:
            _restore_name(tx, person, decision)
        corrections.set_merged(tx, absorbed, None)
        corrections.restore(tx, decision.id)
        if decision.kind == "split":
            (created,) = decision.with_role("created")
            corrections.set_merged(tx, [created], person.merged_into or person.id)
            corrections.give_rest(tx, created, person.id)
        said = {"undone": decision.id, "kind": decision.kind}
        _audit(tx, actor, "undo", person.id, reason, number, said)
    return number


def decisions(
    person_id: int | None = None,
    limit: int = 50,
    before: int | None = None,
    *,
    stores: Stores | None = None,
) -> list[Decision]:
    """Decisions, newest first: about one person (and whoever was merged into them) or all.

    Args:
        before: the last decision's number of the page before.
    """
    stores = stores or Stores()
    with stores.catalog.transaction() as tx:
        return log.newest(tx, person_id=person_id, limit=limit, before=before)


@contextmanager
def _deciding(
    stores: Stores | None, actor: str, person_ids: Sequence[int], *, resolve: bool = True
) -> Iterator[tuple[Transaction, list[PersonRow]]]:
    """A transaction in which nobody else decides about these people; their rows, in order.

    Args:
        resolve: whether somebody who was merged stands for the person they are now.
    """
    if not actor.strip():
        raise UsageError("a decision needs somebody who makes it.")
    with (stores or Stores()).catalog.transaction() as tx:
        active.hold_any(tx)
        locked: dict[int, PersonRow] = {}
        wanted: list[int] = []
        while not wanted or any(locked[i].merged_into is not None for i in wanted if resolve):
            # Merged while this waited for the lock: the chain goes on.
            meant = corrections.now(tx, person_ids)
            for person_id in person_ids:
                if person_id not in meant:
                    raise NotFound("person", str(person_id))
            wanted = [meant[i] if resolve else i for i in person_ids]
            locked |= corrections.lock(tx, wanted)
        for person_id in wanted:
            if locked[person_id].status != "active":
                raise NotFound("person", str(person_id), remedy="They were erased.")
        yield tx, [locked[i] for i in wanted]


def _require_undoable(tx: Transaction, decision: Decision) -> None:
    what = f"decision {decision.id}"
    if decision.kind == "undo":
        raise ChangeRefused(
            f"{what} is an undo; it cannot be undone.",
            rule="decision_undo",
            remedy="Decide again what it undid.",
        )
    if decision.undone_by is not None:
        raise ChangeRefused(
            f"{what} was undone by decision {decision.undone_by}.", rule="decision_undone"
        )
    later = log.later_that_depend(tx, decision)
    if later:
        listed = ", ".join(str(number) for number in later[:10])
        raise ChangeRefused(
            f"{what} cannot be undone: later decisions depend on it ({listed}).",
            rule="decision_depends",
            remedy="Undo those first, the newest one first.",
        )


def _require_free(tx: Transaction, rows: Sequence[PersonRow], decision: Decision) -> None:
    """No name that comes back with these people may belong to somebody else by now."""
    taken_from = decision.subject if "label" in decision.details else None
    for row in rows:
        owner = corrections.who_has(tx, row.label) if row.named else None
        if owner is not None and owner != taken_from:
            raise LabelInUse(row.label, owner)


def _restore_name(tx: Transaction, person: PersonRow, decision: Decision) -> None:
    before = decision.details
    kind = before.get("kind", person.kind)
    enrolled_since = kind != "enrolled" and corrections.enrolled_since(tx, person.id, decision.id)
    if not before["named"] and (kind == "enrolled" or enrolled_since):
        raise ChangeRefused(
            f"person {person.id} was enrolled since and must have a name.",
            rule="person_enrolled_is_named",
            remedy="Give the person another name instead.",
        )
    owner = corrections.who_has(tx, before["label"]) if before["named"] else None
    if owner is not None and owner != person.id:
        raise LabelInUse(before["label"], owner)
    corrections.set_person(
        tx,
        person.id,
        label=before["label"],
        named=before["named"],
        kind="enrolled" if enrolled_since else kind,
    )


def _audit(
    tx: Transaction,
    actor: str,
    what: str,
    person_id: int,
    reason: str,
    decision: int,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Names are left out: the audit log outlives the person's erasure."""
    said = {"decision": decision, **(details or {})}
    audit.record(tx, actor, f"person.{what}", f"person/{person_id}", reason, said)
