"""Clustering on a real catalogue: passes, people that stay, humans who win."""

from __future__ import annotations

import threading
from uuid import uuid4

import numpy as np
import pytest

from facecore.errors import CatalogBusy, NotFound
from facecore.jobs.faces import cluster as jobs
from facecore.jobs.lineage import RunContext
from facecore.jobs.people import people as decide
from facecore.jobs.stores import Stores
from facecore.stores.catalog import Catalog, runs
from facecore.stores.catalog.people import clusters, decisions, people
from facecore.types import Outcome

WHO = {"actor": "ada", "reason": "I know them"}


def run(world, *, full=False):
    context = RunContext("test", uuid4().hex, "cluster")
    return jobs.cluster(context, full=full, stores=world.stores)


def groups(world, *names_and_faces):
    """The one person of each list of faces; fails where there are several, or none."""
    found = []
    for face_ids in names_and_faces:
        people_found = set(world.whose(face_ids).values())
        assert len(people_found) == 1, people_found
        found.append(people_found.pop())
    return found


def test_without_faces_there_is_nothing_to_do(world):
    nothing = {"faces": 0, "changed": 0, "people": 0, "full": 0}
    assert run(world) == nothing
    assert run(world, full=True) == nothing | {"full": 1}


def test_one_face_alone_is_nobody(world):
    (face,) = world.add(world.near("x", 1))
    assert run(world)["people"] == 0
    assert world.outcomes([face]) == ["cluster unknown"]
    assert run(world) == {"faces": 0, "changed": 0, "people": 0, "full": 0}  # looked at already
    assert run(world, full=True)["changed"] == 0


def test_everybody_seen_once_is_nobody(world):
    faces = world.add(np.concatenate([world.near(f"p{i}", 1) for i in range(300)]))
    assert run(world, full=True)["people"] == 0
    assert set(world.outcomes(faces)) == {"cluster unknown"}


def test_one_person_on_every_picture(world):
    faces = world.add(world.near("x", 400))
    assert run(world, full=True)["people"] == 1
    (person,) = groups(world, faces)
    assert world.person(person) == (f"Person {person}", "discovered", False, None)
    assert run(world, full=True) == {"faces": 400, "changed": 0, "people": 0, "full": 1}


def test_new_faces_join_or_open_and_settled_ones_stay(world):
    x, y = world.add(world.near("x", 6)), world.add(world.near("y", 5))
    world.add(np.concatenate([world.near(f"s{i}", 1) for i in range(30)]))
    run(world, full=True)
    first, second = groups(world, x, y)
    single = world.add(world.near("z", 1))
    more = world.add(world.near("x", 2))
    assert run(world) == {"faces": 3, "changed": 3, "people": 0, "full": 0}
    assert groups(world, x + more, y) == [first, second]
    assert world.outcomes(single) == ["cluster unknown"]
    # The second face of somebody seen once before makes a person of both.
    again = world.add(world.near("z", 1))
    assert run(world)["people"] == 1
    (third,) = groups(world, single + again)
    assert third not in (first, second, None)
    assert groups(world, x + more, y) == [first, second]
    assert run(world, full=True)["changed"] == 0


def test_poor_crops_found_nobody_but_may_join(world):
    poor = world.add(world.near("x", 4), quality=0.1)
    world.add(np.concatenate([world.near(f"s{i}", 1) for i in range(20)]))
    assert run(world, full=True)["people"] == 0
    assert set(world.outcomes(poor)) == {"cluster unknown"}
    assert run(world)["people"] == 0
    good = world.add(world.near("x", 3))
    assert run(world)["people"] == 1
    (person,) = groups(world, good)
    late = world.add(world.near("x", 1), quality=0.1)
    run(world)
    assert groups(world, good + late) == [person]
    run(world, full=True)
    assert groups(world, good + late + poor) == [person]


def test_a_face_between_two_people_waits_for_a_human(world):
    x, y = world.add(world.near("x", 5)), world.add(world.near("y", 5))
    run(world, full=True)
    first, second = groups(world, x, y)
    between = world.add(world.between("x", "y"))
    for full in (False, True):
        run(world, full=full)
        assert world.outcomes(between) == ["cluster review"]
        assert world.whose(between)[between[0]] in (first, second)
        assert groups(world, x, y) == [first, second]


def test_known_faces_are_left_alone_and_strangers_near_them_wait(world):
    ada = world.enrol("Ada", 3)
    matched = world.add(world.near("Ada", 4))
    world.say(matched, ada, source="enrolled")
    waiting = world.add(world.near("Ada", 1))
    world.say(waiting, ada, source="enrolled", outcome=Outcome.REVIEW)
    missed = world.add(world.near("Ada", 2))
    world.say(missed, None, source="enrolled", outcome=Outcome.UNKNOWN)
    for full in (True, False, True):
        assert run(world, full=full)["people"] == 0
        assert set(world.outcomes(matched)) == {"enrolled accept"}
        assert world.outcomes(waiting) == ["enrolled review"]
        assert groups(world, missed) == [ada]
        assert set(world.outcomes(missed)) == {"cluster review"}


def test_strangers_whom_the_gallery_took_for_somebody_once_stay_together(world):
    ada = world.enrol("Ada", 2)
    faces = world.add(world.near("x", 10))
    world.say(faces[:1], ada, source="enrolled")  # a false match
    run(world, full=True)
    (person,) = groups(world, faces[1:])
    assert person != ada
    assert world.whose(faces[:1]) == {faces[0]: ada}


def test_names_survive_and_new_faces_join_them(world):
    x, y = world.add(world.near("x", 5)), world.add(world.near("y", 4))
    run(world, full=True)
    first, second = groups(world, x, y)
    decide.name_person(first, "Grace", **WHO, stores=world.stores)
    more = world.add(world.near("x", 3))
    run(world)
    assert groups(world, x + more, y) == [first, second]
    assert set(world.outcomes(more)) == {"cluster accept"}
    run(world, full=True)
    assert groups(world, x + more, y) == [first, second]
    assert world.person(first)[0] == "Grace"


def test_merged_people_stay_one_though_they_do_not_look_alike(world):
    x, y = world.add(world.near("x", 5)), world.add(world.near("y", 4))
    run(world, full=True)
    first, second = groups(world, x, y)
    merged = decide.merge_people(second, [first], **WHO, stores=world.stores)
    more = world.add(np.concatenate([world.near("x", 2), world.near("y", 2)]))
    run(world)
    for full in (True, True):
        assert groups(world, x + y + more) == [second]
        run(world, full=full)
    decide.undo(merged, **WHO, stores=world.stores)
    run(world, full=True)
    assert groups(world, x, y) == [first, second]


def test_split_people_stay_two_though_they_look_alike(world):
    x = world.add(world.near("x", 8))
    run(world, full=True)
    (person,) = groups(world, x)
    created = decide.split_person(person, x[:3], **WHO, stores=world.stores)
    for full in (False, True, True):
        run(world, full=full)
        assert groups(world, x[:3], x[3:]) == [created, person]
    late = world.add(world.near("x", 2))  # as near to one as to the other
    run(world)
    assert set(world.outcomes(late)) == {"cluster review"}
    run(world, full=True)
    assert groups(world, x[:3], x[3:]) == [created, person]
    assert set(world.outcomes(late)) == {"cluster review"}


def test_not_this_person_survives_every_pass(world):
    x = world.add(world.near("x", 8))
    run(world, full=True)
    (person,) = groups(world, x)
    for face in x[:2]:
        decide.not_this_person(face, person, **WHO, stores=world.stores)
    assert set(world.whose(x[:2]).values()) == {None}
    run(world)
    run(world, full=True)
    assert groups(world, x[2:]) == [person]
    assert set(world.outcomes(x[2:])) == {"cluster accept"}
    # Both are not that person, and look alike: they are somebody else, the same one every time.
    (other,) = groups(world, x[:2])
    assert other not in (person, None)
    assert run(world, full=True)["changed"] == 0
    newest = decisions_of(world)
    for decision in newest:
        decide.undo(decision.id, **WHO, stores=world.stores)
    run(world, full=True)
    assert groups(world, x) == [person]


def decisions_of(world):
    return decide.decisions(stores=world.stores)


def test_a_full_pass_keeps_the_id_of_most_faces(world):
    x = world.add(world.near("x", 9))
    one, other = world.discovered("x", 4)[0], world.discovered("x", 7)[0]
    world.say(x[:2], one)
    run(world, full=True)
    assert groups(world, x) == [other]
    assert len(set(world.whose(x).values())) == 1


def test_named_people_are_never_dissolved(world):
    one, one_faces = world.discovered("x", 3)
    other, other_faces = world.discovered("x", 12)
    decide.name_person(one, "Twin", **WHO, stores=world.stores)
    run(world, full=True)
    assert groups(world, one_faces) == [one]  # the only name in this group: all are theirs
    assert groups(world, other_faces) == [one]
    two, two_faces = world.discovered("x", 3)
    decide.name_person(two, "Other twin", **WHO, stores=world.stores)
    run(world, full=True)
    assert groups(world, one_faces, two_faces) == [one, two]
    assert other not in world.whose(one_faces + two_faces + other_faces).values()


def test_enrolling_somebody_who_was_found_makes_them_known(world):
    x = world.add(world.near("x", 5))
    run(world, full=True)
    (person,) = groups(world, x)
    decide.name_person(person, "x", **WHO, stores=world.stores)
    assert world.enrol("x", 2) == person
    world.say(x, person, source="enrolled")
    assert run(world, full=True)["people"] == 0
    assert set(world.outcomes(x)) == {"enrolled accept"}


def test_a_human_who_decides_during_a_full_pass_wins(world, monkeypatch):
    x, y = world.add(world.near("x", 6)), world.add(world.near("y", 6))
    one, _ = world.discovered("x", 1)
    world.say(x[:1], one)
    monkeypatch.setattr(jobs, "WRITTEN_AT_ONCE", 2)
    heads = []

    def decided(tx):
        heads.append(real(tx))
        if len(heads) == 2:  # between resolving and the first writing
            name = threading.Thread(
                target=lambda: decide.name_person(one, "Grace", **WHO, stores=world.stores)
            )
            name.start()
            name.join(20)
            return real(tx)
        return heads[-1]

    real = decisions.head
    monkeypatch.setattr(decisions, "head", decided)
    run(world, full=True)
    assert len(heads) > 3  # it started again
    assert groups(world, x) == [one]
    assert world.person(one)[0] == "Grace"
    groups(world, y)


def test_a_killed_pass_is_repeated_with_the_same_people(world, monkeypatch):
    x, y = world.add(world.near("x", 6)), world.add(world.near("y", 6))
    monkeypatch.setattr(jobs, "WRITTEN_AT_ONCE", 5)
    written = []
    real = people.write_assignments

    def killed(tx, rows):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(real(tx, rows))
        return written[-1]

    monkeypatch.setattr(people, "write_assignments", killed)
    with pytest.raises(KeyboardInterrupt):
        run(world, full=True)
    monkeypatch.setattr(people, "write_assignments", real)
    before = {person for person in world.whose(x + y).values() if person}
    run(world, full=True)
    first, second = groups(world, x, y)
    assert before <= {first, second}


def test_only_one_pass_at_a_time(world):
    world.add(world.near("x", 3))
    impatient = Stores(world.stores.settings)
    impatient.__dict__["catalog"] = Catalog(world.stores.settings.database, lock_s=1)
    with world.stores.catalog.transaction() as tx:
        clusters.alone(tx)
        with pytest.raises(CatalogBusy):
            jobs.cluster(RunContext("test", "second", "cluster"), stores=impatient)
    assert run(world)["people"] == 1


def test_passes_are_recorded_and_need_a_model(world):
    world.add(world.near("x", 3))
    context = RunContext("test", "lineage", "cluster")
    jobs.cluster(context, stores=world.stores)
    with world.stores.catalog.transaction() as tx:
        row = runs.get(tx, context.run_id)
        assert row.counts["people"] == 1
        assert row.models == {"embed": "face-embedder/1"}
        tx.cursor().execute("UPDATE model_version SET state = 'retired'")
    with pytest.raises(NotFound):
        run(world)
