"""Identification goes by what a human ruled out."""

from __future__ import annotations

from facecore.jobs.faces.identify import identify_everything
from facecore.jobs.lineage import command_context
from facecore.jobs.people import people as decide
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
    from facecore.stores.catalog.people import people

    with world.stores.catalog.transaction() as tx:
        people.confirm(tx, twin, more, gallery=True)
    identify_everything(command_context("identify"), world.stores)
    assert world.whose([face]) == {face: twin}
