"""Human decisions: what they change, that machines obey them, and that they can be taken back."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from facecore.errors import ChangeRefused, LabelInUse, NotFound, UsageError
from facecore.jobs.people import people as jobs
from facecore.stores.catalog import audit
from facecore.stores.catalog.people import constraints, corrections, people
from facecore.types import Outcome

WHO = {"actor": "ada", "reason": "I know them"}


def _decisions(world, **arguments):
    return jobs.decisions(stores=world.stores, **arguments)


def test_a_discovered_person_gets_a_name_and_loses_it_again(world):
    person, _ = world.discovered("x", 3)
    assert world.person(person) == (f"Person {person}", "discovered", False, None)
    decision = jobs.name_person(person, "  Grace   Hopper ", **WHO, stores=world.stores)
    assert world.person(person) == ("Grace Hopper", "discovered", True, None)
    renamed = jobs.name_person(person, "Admiral", **WHO, stores=world.stores)
    with pytest.raises(ChangeRefused, match=rf"depend on it \({renamed}\)"):
        jobs.undo(decision, **WHO, stores=world.stores)
    jobs.undo(renamed, **WHO, stores=world.stores)
    assert world.person(person)[0] == "Grace Hopper"
    jobs.undo(decision, **WHO, stores=world.stores)
    assert world.person(person) == (f"Person {person}", "discovered", False, None)


def test_names_are_checked(world):
    person, _ = world.discovered("x", 2)
    ada = world.enrol("Ada")
    name = partial(jobs.name_person, person, **WHO, stores=world.stores)
    for bad in ("", "  ", "x" * 201):
        with pytest.raises(UsageError, match="1 to 200"):
            name(bad)
    with pytest.raises(LabelInUse, match="Merge the two") as caught:
        name("Ada")
    assert caught.value.person_id == ada
    name("Bob")
    with pytest.raises(UsageError, match="already"):
        name("Bob")
    with pytest.raises(NotFound):
        jobs.name_person(999_999, "Eve", **WHO, stores=world.stores)
    with pytest.raises(UsageError, match="somebody who makes it"):
        jobs.name_person(person, "Eve", actor=" ", reason="", stores=world.stores)


def test_enrolling_a_named_person_is_the_same_person(world):
    person, face_ids = world.discovered("Ada", 3)
    decision = jobs.name_person(person, "Ada", **WHO, stores=world.stores)
    assert world.enrol("Ada") == person
    assert world.person(person)[:3] == ("Ada", "enrolled", True)
    assert set(world.whose(face_ids).values()) == {person}
    with pytest.raises(ChangeRefused, match="enrolled since"):
        jobs.undo(decision, **WHO, stores=world.stores)


def test_merged_people_are_one_and_can_be_parted(world):
    one, one_faces = world.discovered("x", 3)
    two, two_faces = world.discovered("x", 2)
    three, three_faces = world.discovered("x", 2)
    jobs.name_person(two, "Bob", **WHO, stores=world.stores)
    decision = jobs.merge_people(one, [two, three, two], **WHO, stores=world.stores)
    every = one_faces + two_faces + three_faces
    assert set(world.whose(every).values()) == {one}
    assert world.person(one) == ("Bob", "discovered", True, None)  # the name that there was
    assert world.person(two)[3] == one
    with world.stores.catalog.transaction() as tx:
        assert corrections.now(tx, [one, two, three]) == dict.fromkeys([one, two, three], one)
        assert [p.id for p in people.every(tx)] == [one]

    # What a machine computed before the merge and writes after it follows the merge.
    (late,) = world.add(world.near("x", 1))
    world.say([late], three)
    assert world.whose([late]) == {late: one}

    jobs.undo(decision, **WHO, stores=world.stores)
    assert set(world.whose(two_faces).values()) == {two}
    assert set(world.whose(three_faces).values()) == {three}
    assert set(world.whose([*one_faces, late]).values()) == {one}
    assert world.person(two) == ("Bob", "discovered", True, None)
    assert world.person(one) == (f"Person {one}", "discovered", False, None)


def test_merging_into_an_enrolled_person_or_one_into_another(world):
    ada = world.enrol("Ada", 2)
    stranger, faces = world.discovered("x", 3)
    first = jobs.merge_people(stranger, [ada], **WHO, stores=world.stores)
    assert world.person(stranger)[:3] == ("Ada", "enrolled", True)
    with world.stores.catalog.transaction() as tx:
        gallery = people.gallery(tx, world.embedder)
    assert set(gallery.person_ids.tolist()) == {stranger}
    assert set(gallery.labels) == {"Ada"}
    jobs.undo(first, **WHO, stores=world.stores)
    with world.stores.catalog.transaction() as tx:
        assert set(people.gallery(tx, world.embedder).person_ids.tolist()) == {ada}
    assert world.person(stranger)[:3] == (f"Person {stranger}", "discovered", False)
    assert set(world.whose(faces).values()) == {stranger}
    # An id of somebody who was merged stands for who they are now.
    jobs.merge_people(ada, [stranger], **WHO, stores=world.stores)
    jobs.name_person(stranger, "Ada Lovelace", **WHO, stores=world.stores)
    assert world.person(ada)[0] == "Ada Lovelace"
    with pytest.raises(UsageError, match="same person already"):
        jobs.merge_people(ada, [stranger], **WHO, stores=world.stores)
    with pytest.raises(UsageError, match="1 to 100"):
        jobs.merge_people(ada, [], **WHO, stores=world.stores)


def test_a_merge_on_top_must_be_undone_first(world):
    one, two, three = (world.discovered("x", 2)[0] for _ in range(3))
    lower = jobs.merge_people(one, [two], **WHO, stores=world.stores)
    upper = jobs.merge_people(three, [one], **WHO, stores=world.stores)
    with pytest.raises(ChangeRefused, match=f"{upper}"):
        jobs.undo(lower, **WHO, stores=world.stores)
    jobs.undo(upper, **WHO, stores=world.stores)
    jobs.undo(lower, **WHO, stores=world.stores)
    assert [world.person(p)[3] for p in (one, two, three)] == [None] * 3
    with pytest.raises(ChangeRefused, match="was undone"):
        jobs.undo(lower, **WHO, stores=world.stores)
    newest = _decisions(world, limit=1)[0]
    with pytest.raises(ChangeRefused, match="is an undo"):
        jobs.undo(newest.id, **WHO, stores=world.stores)


def test_a_name_taken_meanwhile_does_not_come_back_twice(world):
    one, two = (world.discovered("x", 2)[0] for _ in range(2))
    jobs.name_person(two, "Bob", **WHO, stores=world.stores)
    jobs.name_person(one, "Rob", **WHO, stores=world.stores)
    merged = jobs.merge_people(one, [two], **WHO, stores=world.stores)
    other, _ = world.discovered("y", 2)
    jobs.name_person(other, "Bob", **WHO, stores=world.stores)
    with pytest.raises(LabelInUse):
        jobs.undo(merged, **WHO, stores=world.stores)


def test_a_split_makes_a_person_whose_faces_stay_apart(world):
    person, face_ids = world.discovered("x", 6)
    away, stay = face_ids[:2], face_ids[2:]
    created = jobs.split_person(person, away, **WHO, stores=world.stores)
    assert set(world.whose(away).values()) == {created}
    assert set(world.whose(stay).values()) == {person}
    # No machine brings them together again, by any source.
    world.say(away, person)
    world.say(stay, created, source="enrolled")
    assert set(world.whose(away).values()) == {created}
    assert set(world.whose(stay).values()) == {person}
    with world.stores.catalog.transaction() as tx:
        assert constraints.forbidden(tx, face_ids) == {key: {person} for key in away} | (
            {key: {created} for key in stay}
        )
        assert constraints.all_required(tx) == [tuple(sorted(away))]
    (decision,) = _decisions(world, person_id=created)
    jobs.undo(decision.id, **WHO, stores=world.stores)
    assert world.person(created)[3] == person
    assert set(world.whose(stay).values()) == {person}
    with world.stores.catalog.transaction() as tx:
        assert constraints.forbidden(tx, face_ids) == {}
        assert constraints.all_required(tx) == []
    world.say(away, person)
    assert set(world.whose(away).values()) == {person}


def test_a_split_is_refused_where_it_makes_no_sense(world):
    person, face_ids = world.discovered("x", 3)
    _, others = world.discovered("y", 2)
    split = partial(jobs.split_person, person, **WHO, stores=world.stores)
    with pytest.raises(UsageError, match="all faces"):
        split(face_ids)
    with pytest.raises(UsageError, match="are not person"):
        split([face_ids[0], others[0]])
    with pytest.raises(UsageError, match="at once"):
        split([])


def test_a_split_is_not_undone_under_what_was_built_on_it(world):
    person, face_ids = world.discovered("x", 6)
    created = jobs.split_person(person, face_ids[:3], **WHO, stores=world.stores)
    (split,) = _decisions(world, person_id=created)
    jobs.name_person(created, "Bob", **WHO, stores=world.stores)
    with pytest.raises(ChangeRefused, match="depend"):
        jobs.undo(split.id, **WHO, stores=world.stores)
    # Naming the old person depends on nothing.
    named = jobs.name_person(person, "Rob", **WHO, stores=world.stores)
    jobs.split_person(person, face_ids[3:4], **WHO, stores=world.stores)
    jobs.undo(named, **WHO, stores=world.stores)


def test_a_merge_after_a_split_wins(world):
    person, face_ids = world.discovered("x", 4)
    created = jobs.split_person(person, face_ids[:2], **WHO, stores=world.stores)
    merged = jobs.merge_people(person, [created], **WHO, stores=world.stores)
    assert set(world.whose(face_ids).values()) == {person}
    with world.stores.catalog.transaction() as tx:
        assert constraints.forbidden(tx, face_ids) == {}
    world.say(face_ids, person)
    assert set(world.whose(face_ids).values()) == {person}
    jobs.undo(merged, **WHO, stores=world.stores)  # and with it the links are back
    with world.stores.catalog.transaction() as tx:
        assert set(constraints.forbidden(tx, face_ids)) == set(face_ids)
    assert set(world.whose(face_ids[:2]).values()) == {created}


def test_a_merge_after_a_split_wins_for_faces_that_are_nobodys_since(world):
    person, face_ids = world.discovered("x", 4)
    created = jobs.split_person(person, face_ids[:2], **WHO, stores=world.stores)
    world.say(face_ids[3:], None, outcome=Outcome.UNKNOWN)  # a pass between the two
    jobs.merge_people(person, [created], **WHO, stores=world.stores)
    world.say(face_ids, person)
    assert set(world.whose(face_ids).values()) == {person}


def test_not_this_person_overrules_machines_and_earlier_words(world):
    ada = world.enrol("Ada")
    probe, other = world.add(world.near("Ada", 2))
    world.say([probe, other], ada, source="enrolled")
    decision = jobs.not_this_person(probe, ada, **WHO, stores=world.stores)
    assert world.whose([probe, other]) == {probe: None, other: ada}
    world.say([probe], ada, source="enrolled")  # the next identification
    world.say([probe], ada)
    assert world.whose([probe]) == {probe: None}
    with pytest.raises(UsageError, match="is known not to be"):
        jobs.not_this_person(probe, ada, **WHO, stores=world.stores)
    jobs.undo(decision, **WHO, stores=world.stores)
    assert world.whose([probe]) == {probe: ada}
    with world.stores.catalog.transaction() as tx:
        people.confirm(tx, ada, [probe])
    decision = jobs.not_this_person(probe, ada, **WHO, stores=world.stores)
    assert world.whose([probe]) == {probe: None}
    jobs.undo(decision, **WHO, stores=world.stores)
    assert world.outcomes([probe]) == ["human accept"]
    with pytest.raises(NotFound):
        jobs.not_this_person(999_999, ada, **WHO, stores=world.stores)


def test_decisions_are_listed_newest_first_and_audited(world):
    one, face_ids = world.discovered("x", 4)
    two, _ = world.discovered("y", 2)
    name = jobs.name_person(one, "Ada", **WHO, stores=world.stores)
    jobs.not_this_person(face_ids[0], one, **WHO, stores=world.stores)
    merged = jobs.merge_people(two, [one], **WHO, stores=world.stores)
    undone = jobs.undo(merged, **WHO, stores=world.stores)
    listed = _decisions(world)
    assert [d.kind for d in listed] == ["undo", "merge", "not", "name"]
    assert listed[1].undone_by == undone
    assert listed[0].undoes == merged
    assert listed[1].people == {two: "subject", one: "absorbed"}
    assert listed[1].faces == 3
    assert [d.id for d in _decisions(world, limit=2)] == [undone, merged]
    assert [d.kind for d in _decisions(world, limit=2, before=merged)] == ["not", "name"]
    assert [d.id for d in _decisions(world, person_id=two)] == [undone, merged]
    with world.stores.catalog.transaction() as tx:
        entries = audit.newest(tx, subject=f"person/{one}")
        assert audit.verify(tx).first_fault is None
    assert [e.action for e in entries][:2] == ["person.not", "person.name"]
    assert entries[1].details == {"decision": name}
    assert "Ada" not in str([e.details for e in entries])


def test_the_log_cannot_be_changed(world):
    person, _ = world.discovered("x", 2)
    jobs.name_person(person, "Ada", **WHO, stores=world.stores)
    for statement in ("UPDATE decision SET actor = 'eve'", "DELETE FROM decision_person"):
        with pytest.raises(ChangeRefused), world.stores.catalog.transaction() as tx:
            tx.cursor().execute(statement)


def test_two_who_decide_at_once_wait_for_each_other(world):
    one, _ = world.discovered("x", 2)
    two, _ = world.discovered("y", 2)
    problems: list[Exception] = []

    def merge(keep: int, other: int) -> None:
        try:
            jobs.merge_people(keep, [other], **WHO, stores=world.stores)
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=merge, args=pair) for pair in [(one, two), (two, one)] * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # One of them was first; the others found that there is nothing left to merge.
    assert len(problems) == 5
    assert all(isinstance(p, UsageError) and "same person" in str(p) for p in problems), problems
    assert sorted(p is None for p in (world.person(one)[3], world.person(two)[3])) == [False, True]


def test_a_machine_that_writes_while_a_human_decides_waits(world):
    person, face_ids = world.discovered("x", 3)
    done = threading.Event()

    def write() -> None:
        world.say(face_ids, person, outcome=Outcome.REVIEW)
        done.set()

    with world.stores.catalog.transaction() as tx:
        corrections.lock(tx, [person])
        thread = threading.Thread(target=write)
        thread.start()
        assert not done.wait(0.3)
    thread.join(10)
    assert done.is_set()
    assert world.outcomes(face_ids) == ["cluster review"] * 3


@pytest.mark.parametrize("what", ["name", "merge", "split", "not"])
def test_an_erased_person_is_nobody(world, what):
    person, face_ids = world.discovered("x", 3)
    other, _ = world.discovered("y", 2)
    with world.stores.catalog.transaction() as tx:
        tx.cursor().execute("UPDATE person SET status = 'erased' WHERE id = %s", [person])
    call = {
        "name": lambda: jobs.name_person(person, "Ada", **WHO, stores=world.stores),
        "merge": lambda: jobs.merge_people(other, [person], **WHO, stores=world.stores),
        "split": lambda: jobs.split_person(person, face_ids[:1], **WHO, stores=world.stores),
        "not": lambda: jobs.not_this_person(face_ids[0], person, **WHO, stores=world.stores),
    }[what]
    with pytest.raises(NotFound, match="erased"):
        call()
