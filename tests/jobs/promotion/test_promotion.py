"""A version comes into use beside the one before it, with nothing lost, and goes back."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest

from facecore.errors import ChangeRefused, NotFound
from facecore.jobs.faces import cluster
from facecore.jobs.lineage import RunContext
from facecore.jobs.people import people
from facecore.jobs.promotion import promotion, reembed
from facecore.jobs.stores import Stores
from facecore.stores.catalog import audit
from facecore.stores.catalog.models import promotions
from facecore.stores.catalog.pages.summary import summarise
from facecore.stores.catalog.people import corrections
from facecore.stores.catalog.people import people as catalog
from facecore.types import Outcome

InUse = Callable[[], tuple[int, int]]


def test_a_version_comes_into_use_and_goes_back(
    stores: Stores, steps, challengers, in_use: InUse
) -> None:
    before = steps.named()
    assert {label for label, _, _ in before.values()} >= {"Barack Obama", None}

    promotion_id = steps.want(challengers.rotated)
    assert steps.aliases()[0] == challengers.rotated.version
    assert steps.start() == promotion_id
    comparison = steps.until_compared(promotion_id)
    assert comparison["changed"] == 0
    assert comparison["top1_agreement"] == 1.0
    assert steps.named() == before
    assert in_use() == (1, 1)

    steps.switch(promotion_id)
    assert in_use() == (1, challengers.rotated.version)
    assert steps.aliases() == (challengers.rotated.version, 1)
    assert steps.named() == before
    with stores.catalog.transaction() as tx:
        state = summarise(tx)
        assert state.faces == state.embeddings
        assert promotions.find_active(tx).id == promotion_id
        newest = audit.newest(
            tx, subject=f"{challengers.rotated.name}/{challengers.rotated.version}"
        )
        assert [e.action for e in newest] == ["promotion.active", "promotion.planned"]
        assert (newest[0].actor, newest[0].reason) == ("ada", "better")

    assert steps.rollback() == promotion_id
    assert in_use() == (1, 1)
    assert steps.aliases() == (1, challengers.rotated.version)
    assert steps.named() == before
    assert steps.start() is None
    assert steps.rollback() == promotion_id  # the same task once more goes back no further
    with pytest.raises(NotFound, match="roll back"):
        steps.again().rollback()


def test_doing_everything_twice_changes_nothing(
    stores: Stores, steps, challengers, in_use: InUse
) -> None:
    before = steps.named()
    promotion_id = steps.want(challengers.rotated)
    assert steps.want(challengers.rotated) == promotion_id
    for _ in range(2):
        shard_ids = steps.fill(promotion_id)
    assert len(shard_ids) > 1
    for _ in range(2):
        steps.index_and_stage(promotion_id, shard_ids)
    first, second = steps.compare(promotion_id), steps.compare(promotion_id)
    assert first == second
    for _ in range(2):
        steps.switch(promotion_id)
        assert steps.start() is None
    steps.until_compared(promotion_id)  # a cleared DAG run
    assert steps.named() == before
    assert in_use() == (1, challengers.rotated.version)
    with stores.catalog.transaction() as tx:
        assert [p.state for p in promotions.newest(tx)] == ["active"]
        assert len([e for e in audit.newest(tx) if e.action == "promotion.active"]) == 1


def test_steps_out_of_order_are_refused(stores: Stores, steps, challengers, in_use: InUse) -> None:
    promotion_id = steps.want(challengers.rotated)
    with pytest.raises(ChangeRefused, match="planned"):
        steps.switch(promotion_id)
    shard_ids = reembed.plan(steps.context("plan"), promotion_id, stores)
    with pytest.raises(ChangeRefused, match="not filled"):
        reembed.build_index(steps.context("index"), promotion_id, stores)
    for shard_id in shard_ids:
        reembed.fill_shard(steps.context("fill"), promotion_id, shard_id, stores)
    with pytest.raises(ChangeRefused, match="its index"):
        steps.compare(promotion_id)
    assert in_use() == (1, 1)


def test_one_promotion_at_a_time(stores: Stores, steps, challengers) -> None:
    first = steps.want(challengers.rotated)
    with pytest.raises(ChangeRefused, match=f"promotion {first}"):
        steps.want(challengers.again)
    assert steps.aliases()[0] == challengers.rotated.version
    assert promotion.abandon(actor="ada", reason="mistake", stores=stores) == first
    assert steps.aliases()[0] == 1
    assert steps.want(challengers.again) > first


def test_two_promotions_then_two_rollbacks(
    stores: Stores, steps, challengers, in_use: InUse
) -> None:
    before = steps.named()
    steps.whole(challengers.rotated)
    steps.whole(challengers.again)
    assert in_use() == (1, challengers.again.version)
    assert steps.named() == before
    steps.again().rollback()
    assert in_use() == (1, challengers.rotated.version)
    steps.again().rollback()
    assert in_use() == (1, 1)
    assert steps.named() == before


def test_a_found_person_keeps_id_and_name_through_a_promotion(
    stores: Stores, steps, challengers
) -> None:
    nobody = next(face for face, (label, _, _) in steps.named().items() if label is None)
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute("SELECT id FROM model_version WHERE task = 'embed' AND state = 'active'")
        (model,) = cursor.fetchone()
        (person,) = corrections.discover(tx, 1)
        row = catalog.AssignmentRow(nobody, person, Outcome.ACCEPT, "cluster", 0.6, model)
        catalog.write_assignments(tx, [row])
    people.name_person(person, "Grace Hopper", actor="ada", reason="I know her", stores=stores)
    before = steps.named()
    assert before[nobody] == ("Grace Hopper", "accept", "cluster")
    steps.whole(challengers.rotated)
    assert steps.named() == before
    # The pass after the switch starts from what was carried.
    context = RunContext("test", uuid4().hex, "cluster")
    cluster.cluster(context, full=True, stores=stores)
    assert steps.named()[nobody] == ("Grace Hopper", "accept", "cluster")
    steps.rollback()
    assert steps.named()[nobody] == ("Grace Hopper", "accept", "cluster")
