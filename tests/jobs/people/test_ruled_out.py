"""Identification goes by what a human ruled out."""

from __future__ import annotations

from facecore.jobs.faces.identify import identify_everything
from facecore.jobs.lineage import command_context
from facecore.jobs.people import people as decide
from facecore.stores.catalog.people import constraints, people
from facecore.stores.catalog.work import shards

WHO = {"actor": "ada", "reason": "I know them"}


def test_a_face_that_is_not_somebody_is_compared_with_everybody_else(world):
    ada, twin = world.enrol("Ada", 3), world.enrol("Twin", 1)
    (face,) = world.add(world.near("Ada", 1, 0.3))
    with world.stores.catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute("UPDATE shard SET state = 'done' WHERE state <> 'done'")
        assert shards.finished(tx, "extract")
    identify_everything(command_context("identify"), world.stores)
    assert world.whose([face]) == {face: ada}
    decide.not_this_person(face, ada, **WHO, stores=world.stores)
    identify_everything(command_context("identify"), world.stores)
    assert world.whose([face]) == {face: None}
    assert world.outcomes([face]) == ["enrolled unknown"]
    # Somebody else who looks like that is found.
    world.centres["Twin"] = world.centres["Ada"]
    more = world.add(world.near("Twin", 1, 0.3), source="enrolment")
    with world.stores.catalog.transaction() as tx:
        people.confirm(tx, twin, more, gallery=True)
    identify_everything(command_context("identify"), world.stores)
    assert world.whose([face]) == {face: twin}


def test_an_enrolment_is_a_later_word_than_not_this_person(world):
    ada = world.enrol("Ada", 3)
    faces = world.add(world.near("Ada", 2, 0.3))
    world.say(faces, ada, source="enrolled")
    earlier = [decide.not_this_person(face, ada, **WHO, stores=world.stores) for face in faces]
    with world.stores.catalog.transaction() as tx:
        people.confirm(tx, ada, faces[:1], gallery=True)
        assert constraints.forbidden(tx, faces) == {faces[1]: {ada}}
    assert world.whose(faces) == {faces[0]: ada, faces[1]: None}
    later = decide.not_this_person(faces[0], ada, **WHO, stores=world.stores)
    assert world.whose(faces) == {faces[0]: None, faces[1]: None}
    decide.undo(later, **WHO, stores=world.stores)
    decide.undo(earlier[0], **WHO, stores=world.stores)
    assert world.outcomes(faces[:1]) == ["human accept"]
    with world.stores.catalog.transaction() as tx:
        assert constraints.forbidden(tx, faces) == {faces[1]: {ada}}
