"""The way of a promotion, one at a time; what is covered; whose word holds."""

from __future__ import annotations

import pytest

from facecore.errors import ChangeRefused, NotFound
from facecore.stores.catalog.faces import faces
from facecore.stores.catalog.images import images
from facecore.stores.catalog.models import active, alias_decisions, counterparts, models, promotions
from facecore.stores.catalog.people import people
from facecore.stores.catalog.work import coverage
from facecore.types import Outcome

WAY = ("filling", "filled", "indexed", "compared", "active")


def request(tx, make, version: int = 2) -> promotions.Promotion:
    make.detector(tx), make.embedder(tx)
    pair = active.current(tx)
    target = make.embedder(tx, version)
    return promotions.request(
        tx, pair, pair.detector.id, target, origin="command", actor="ada", reason="better"
    )


def test_it_goes_its_way_and_no_other(tx, make):
    promotion = request(tx, make)
    assert (promotion.state, promotion.actor, promotion.is_open) == ("planned", "ada", True)
    assert not promotion.new_detector
    for state in WAY:
        promotions.advance(tx, promotion.id, state)
    assert promotions.find_active(tx).id == promotion.id
    assert promotions.find_open(tx) is None
    promotions.advance(tx, promotion.id, "rolled_back")
    back = promotions.get(tx, promotion.id)
    assert back.target == promotion.source
    with pytest.raises(NotFound):
        promotions.get(tx, 999)


@pytest.mark.parametrize("state", ["filled", "compared", "active", "rolled_back", "superseded"])
def test_steps_cannot_be_left_out(catalog, make, state):
    with catalog.transaction() as tx:
        promotion = request(tx, make)
    with pytest.raises(ChangeRefused, match="cannot become"), catalog.transaction() as tx:
        promotions.advance(tx, promotion.id, state)


def test_one_is_open_at_a_time(catalog, make):
    with catalog.transaction() as tx:
        first = request(tx, make)
        assert request(tx, make).id == first.id
        with pytest.raises(ChangeRefused, match="under way"):
            request(tx, make, 3)
        promotions.advance(tx, first.id, "abandoned")
        second = request(tx, make, 3)
        assert [p.id for p in promotions.newest(tx)] == [second.id, first.id]
    with pytest.raises(ChangeRefused) as caught, catalog.transaction() as tx:
        tx.cursor().execute(
            "INSERT INTO promotion (from_embedder_id, from_detector_id, to_embedder_id, "
            "to_detector_id, origin, actor) SELECT from_embedder_id, from_detector_id, "
            "to_embedder_id, to_detector_id, origin, actor FROM promotion LIMIT 1"
        )
    assert caught.value.rule == "promotion_one_open"


def test_what_is_not_covered_is_planned_once(tx, make):
    promotion = request(tx, make)
    ids = make.images(tx, "a", "b", "c", "d", "e", accepted=True)
    images.mark_extracted(tx, ids[:4])
    coverage.cover(tx, promotion.target, ids[:1])
    assert coverage.missing(tx, promotion, 10) == ids[1:4]
    assert coverage.count_missing(tx, promotion) == 3
    planned = coverage.plan(tx, promotion, 2)
    assert len(planned) == 2
    assert coverage.plan(tx, promotion, 2) == planned
    images.mark_extracted(tx, ids)
    assert len(coverage.plan(tx, promotion, 2)) == 3
    coverage.cover(tx, promotion.target, ids)
    coverage.cover(tx, promotion.target, ids)
    assert coverage.missing(tx, promotion, 10) == []
    assert coverage.covered(tx, promotion.to_embedder_id, ids) == set(ids)


def test_machines_of_two_versions_speak_side_by_side(tx, make):
    promotion = request(tx, make)
    ada, _ = make.enrolled(tx, "Ada", make.vectors(1))
    (face_id,) = make.faces(tx, "probe", 1)
    old, new = promotion.from_embedder_id, promotion.to_embedder_id
    row = people.AssignmentRow
    people.write_assignments(tx, [row(face_id, ada, Outcome.ACCEPT, "enrolled", 0.9, old)])
    people.write_assignments(tx, [row(face_id, None, Outcome.UNKNOWN, "enrolled", 0.1, new)])
    assert people.current(tx, [face_id])[face_id].label == "Ada"
    active.switch(tx, promotion.to_detector_id, new)
    assert people.current(tx, [face_id])[face_id].outcome is Outcome.UNKNOWN
    active.switch(tx, promotion.from_detector_id, old)
    assert people.current(tx, [face_id])[face_id].label == "Ada"


def test_faces_are_paired_one_to_one_and_words_follow(tx, make):
    first, second = make.detector(tx), make.detector(tx, 2)
    (image_id,) = make.images(tx, "two people")
    boxes = {first: [[0, 0, 10, 10], [20, 0, 30, 10]], second: [[21, 0, 31, 10], [1, 0, 11, 10]]}
    ids = {
        detector: faces.insert_faces(
            tx,
            [make.face_row(image_id, detector, n, box=box) for n, box in enumerate(found)],
        )
        for detector, found in boxes.items()
    }
    assert counterparts.match(tx, [image_id], first, second) == 2
    ada = people.enrol(tx, "Ada")
    people.confirm(tx, ada, [ids[first][0]], gallery=True)
    assert counterparts.carry_human_words(tx, first, second, overwrite=True) == 1
    assert counterparts.carry_human_words(tx, first, second, overwrite=True) == 0
    models.set_active(tx, second)
    said = people.current(tx, ids[second])
    assert {i: a.label for i, a in said.items()} == {ids[second][1]: "Ada"}
    assert counterparts.in_use(tx, ids[first]) == ids[second][::-1]
    assert counterparts.without(tx, [image_id], first, second, humans_only=False) == []


def test_decisions_on_aliases_wait_for_the_registry(tx):
    alias_decisions.decide(tx, "face-embedder", "champion", 2)
    (waiting,) = alias_decisions.unwritten(tx)
    alias_decisions.decide(tx, "face-embedder", "champion", 3)
    alias_decisions.mark_written(tx, waiting)  # of a decision that was taken back
    assert [d.version for d in alias_decisions.unwritten(tx)] == [3]
    alias_decisions.mark_written(tx, alias_decisions.unwritten(tx)[0])
    assert alias_decisions.unwritten(tx) == []
    assert alias_decisions.find(tx, "face-embedder", "champion").written
    assert alias_decisions.find(tx, "face-embedder", "previous") is None
