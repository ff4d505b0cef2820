"""Life goes on during a promotion: images arrive, people are enrolled, searches are answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from uuid import uuid4

import pytest

from facecore.errors import ModelsChanged
from facecore.jobs.faces import extract, identify
from facecore.jobs.lineage import RunContext
from facecore.jobs.models.champions import champions
from facecore.jobs.people.search import search
from facecore.jobs.promotion import promotion, switching
from facecore.jobs.stores import Stores
from facecore.jobs.training import evaluate
from facecore.jobs.training import train as training
from facecore.lifecycle.thresholds import Calibration
from facecore.lifecycle.training.keeping import RunKeeper
from facecore.stores.catalog.models import active, models, promotions
from facecore.stores.catalog.pages.summary import summarise
from facecore.stores.catalog.people import people
from facecore.stores.mlflow_session import mlflow_session

InUse = Callable[[], tuple[int, int]]
LATE = "obama_partial_face.jpg"


@contextmanager
def searching(stores: Stores, photo) -> Iterator[list[str | None]]:
    """Search for the person on a photo all the while; yields the names found so far."""
    found: list[str | None] = []
    failures: list[BaseException] = []
    ended = threading.Event()

    def look() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            context = RunContext("test", "search", "search", number)
            try:
                (face,) = search(context, photo, stores=stores)
                found.append(face.match.label)
            except BaseException as error:
                failures.append(error)
                return

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()
    assert not failures, failures
    assert found


@pytest.mark.parametrize("which", [pytest.param("rotated", marks=pytest.mark.slow), "paired"])
def test_searches_are_answered_all_the_while(
    stores: Stores, steps, challengers, in_use: InUse, which: str
) -> None:
    info = getattr(challengers, which)
    with searching(stores, steps.pictures["obama3.jpg"].path) as found:
        steps.whole(info)
        before = len(found)
        while len(found) < before + 3:
            pass
        steps.rollback()
        before = len(found)
        while len(found) < before + 3:
            pass
    assert set(found) == {"Barack Obama"}
    assert in_use() == (1, 1)


def test_an_image_that_arrives_during_the_fill_is_there_after_it(
    stores: Stores, steps, challengers
) -> None:
    promotion_id = steps.want(challengers.rotated)
    shard_ids = steps.fill(promotion_id)
    steps.arrive(LATE)
    steps.index_and_stage(promotion_id, shard_ids)
    steps.compare(promotion_id)
    before = steps.named()
    steps.switch(promotion_id)
    assert steps.named() == before
    with stores.catalog.transaction() as tx:
        state = summarise(tx)
    assert state.faces == state.embeddings


def test_the_last_images_are_filled_inside_the_switch(
    stores: Stores, steps, challengers, monkeypatch: pytest.MonkeyPatch
) -> None:
    promotion_id = steps.want(challengers.rotated)
    steps.until_compared(promotion_id)
    prepared = switching._prepare

    def then_one_arrives(*arguments) -> None:
        prepared(*arguments)
        if not arrived:
            arrived.append(steps.arrive(LATE))

    arrived: list[None] = []
    monkeypatch.setattr(switching, "_prepare", then_one_arrives)
    steps.switch(promotion_id)
    assert arrived
    with stores.catalog.transaction() as tx:
        state = summarise(tx)
    assert state.faces == state.embeddings
    picture = next(iter(_hash(steps, LATE)))
    assert steps.names_by_picture()[picture] == [("Barack Obama", "enrolled")]


def test_an_enrolment_during_the_fill_is_in_the_gallery_after_it(
    stores: Stores, steps, challengers, in_use: InUse
) -> None:
    promotion_id = steps.want(challengers.rotated)
    shard_ids = steps.fill(promotion_id)
    steps.enrol("Grace Hopper", "grace_hopper.jpg")  # a probe nobody knew until now
    steps.index_and_stage(promotion_id, shard_ids)
    steps.compare(promotion_id)
    steps.enrol("Obama, partly", LATE)  # and one after the comparison
    identify.identify_everything(RunContext("test", "again", "identify"), stores)
    before = steps.named()
    steps.switch(promotion_id)
    assert steps.named() == before
    with stores.catalog.transaction() as tx:
        pair = active.current(tx)
        assert people.gallery_size(tx, pair.embedder.id) == 5
    (face,) = search(
        RunContext("test", "s", "search"), steps.pictures["grace_hopper.jpg"].path, stores=stores
    )
    assert face.match.label == "Grace Hopper"
    assert in_use() == (1, challengers.rotated.version)


def test_what_a_human_said_during_the_fill_stands(stores: Stores, steps, challengers) -> None:
    promotion_id = steps.want(challengers.rotated)
    face_id = next(i for i, (label, _, s) in steps.named().items() if label and s == "enrolled")
    with stores.catalog.transaction() as tx:
        somebody = people.enrol(tx, "Somebody Else")
        people.confirm(tx, somebody, [face_id])
    steps.until_compared(promotion_id)
    steps.switch(promotion_id)
    assert steps.named()[face_id] == ("Somebody Else", "accept", "human")
    steps.rollback()
    assert steps.named()[face_id] == ("Somebody Else", "accept", "human")


def test_images_and_people_that_arrived_before_a_rollback_are_caught_up(
    stores: Stores, steps, challengers
) -> None:
    steps.whole(challengers.rotated)
    steps.enrol("Grace Hopper", "grace_hopper.jpg")
    identify.identify_everything(RunContext("test", "again", "identify"), stores)
    steps.arrive(LATE)
    before = steps.named()
    promotion_id = steps.rollback()
    assert steps.start() == promotion_id
    shard_ids = steps.fill(promotion_id)
    steps.index_and_stage(promotion_id, shard_ids)
    assert steps.compare(promotion_id)["changed"] == 0
    steps.switch(promotion_id)
    assert steps.named() == before
    with stores.catalog.transaction() as tx:
        state = summarise(tx)
        assert promotions.get(tx, promotion_id).state == "rolled_back"
    assert state.faces == state.embeddings
    assert steps.start() is None
    # The version that was left is filled again only with what it lacks.
    again = steps.want(challengers.rotated)
    steps.until_compared(again)
    steps.switch(again)
    assert steps.named() == before


@pytest.mark.parametrize("case", ["another one was under way", "the second one in a row"])
def test_a_rollback_that_was_interrupted_is_caught_up_whichever_promotion_is_the_newest(
    stores: Stores, steps, challengers, case: str
) -> None:
    steps.whole(challengers.rotated)
    if case == "another one was under way":
        steps.want(challengers.again)
        steps.arrive(LATE)
    else:
        steps.whole(challengers.again)
        steps.arrive(LATE)
        steps.again().rollback()
    before = steps.names_by_picture()
    promotion_id = steps.again().rollback()
    later = steps.again()
    assert later.start() == promotion_id
    later.do(promotion_id)
    (picture,) = _hash(steps, LATE)
    assert steps.names_by_picture() == {**before, picture: [("Barack Obama", "enrolled")]}
    with stores.catalog.transaction() as tx:
        state = summarise(tx)
    assert state.faces == state.embeddings
    assert later.start() is None


@pytest.mark.parametrize("ending", ["given up when filled", "given up", "rolled back"])
def test_a_version_that_was_filled_before_says_what_holds_by_now(
    stores: Stores, steps, challengers, ending: str
) -> None:
    first = steps.want(challengers.rotated)
    shard_ids = steps.fill(first)
    if ending != "given up when filled":
        steps.index_and_stage(first, shard_ids)
        steps.compare(first)
    if ending == "rolled back":
        steps.switch(first)
        steps.rollback()
    else:
        promotion.abandon(actor="ada", reason="later", stores=stores)
    known = steps.named()
    steps.enrol("Obama, partly", "obama3.jpg")
    identify.identify_everything(RunContext("test", "again", "identify"), stores)
    before = steps.named()
    assert {face: before[face] for face in known} != known
    again = steps.again()
    second = again.want(challengers.rotated)
    assert again.fill(second) == []
    assert again.until_compared(second)["changed"] == 0
    again.switch(second)
    assert steps.named() == before


def test_a_shard_computed_by_the_pair_that_left_is_computed_again(
    stores: Stores, steps, challengers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The switch falls between a worker's computation and its commit."""
    promotion_id = steps.want(challengers.rotated)
    steps.until_compared(promotion_id)
    require, calls = active.require, []

    def switched_meanwhile(tx, *ids) -> None:
        calls.append(ids)
        if len(calls) == 1:
            steps.switch(promotion_id)
        require(tx, *ids)

    monkeypatch.setattr(extract.active, "require", switched_meanwhile)
    steps.arrive(LATE)
    assert len(calls) == 2
    assert calls[0] != calls[1]
    with stores.catalog.transaction() as tx:
        state = summarise(tx)
        assert models.active(tx, "embed").version == challengers.rotated.version
    assert state.faces == state.embeddings


def test_thresholds_measured_during_a_switch_are_not_those_of_the_next_embedder(
    stores: Stores, steps, challengers, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    known = Calibration.from_json(champions(stores).embedder_row.calibration)

    def measured_slowly(extractor, *arguments, **more) -> Calibration:
        steps.whole(challengers.rotated)
        return replace(known, contract=extractor.contract.digest, dataset="our doors")

    monkeypatch.setattr(evaluate, "calibrate_folder", measured_slowly)

    def calibrate() -> Calibration:
        return evaluate.calibrate(
            tmp_path,
            "our doors",
            model="champion",
            out=None,
            on_progress=lambda done, total: None,
            stores=stores,
        )

    before = champions(stores).embedder_row
    with pytest.raises(ModelsChanged):
        calibrate()
    with stores.catalog.transaction() as tx:
        for version in (models.active(tx, "embed"), models.get(tx, before.id)):
            assert version.calibration["contract"] == version.contract
            assert version.calibration["dataset"] == known.dataset

    monkeypatch.setattr(steps, "whole", lambda info: None)  # again, and nobody switches
    made = calibrate()
    with stores.catalog.transaction() as tx:
        assert models.active(tx, "embed").calibration == made.to_json()


def test_a_training_that_is_tried_again_after_a_switch_keeps_its_teacher(
    stores: Stores, steps, challengers, store_faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"pairs-{uuid4().hex[:6]}"
    data = store_faces(stores.objects, name, {"train": 12, "val": 10, "test": 22}, 3)
    choices = {"model": "siamese", "goals": "match", "options": {"hidden": 8}, "epochs": 2}
    small = {"batch_size": 8, "device": "cpu", "threads": 1, "augmentation": "none"}
    (plan,) = training.plan_runs({**choices, **small, "dataset": data.name}, stores=stores)
    context = RunContext("test", name, "train")
    before = champions(stores)

    def killed(keeper: RunKeeper, trainer, module) -> None:
        kept(keeper, trainer, module)
        raise MemoryError("after the first epoch")

    kept = RunKeeper.on_train_epoch_end
    with monkeypatch.context() as patched:
        patched.setattr(RunKeeper, "on_train_epoch_end", killed)
        with pytest.raises(MemoryError):
            training.train_challenger(context, plan, stores=stores)
    steps.whole(challengers.rotated)
    result = training.train_challenger(context, plan, stores=stores)

    taught = before.names["embed"]
    _, _, version = result["versions"][0].rpartition("/")
    info = stores.registry.version(stores.settings.mlflow.matcher, int(version))
    assert info.contract["digest"] == before.embedder_row.contract
    assert info.tags["embedder_version"] == taught
    with mlflow_session(stores.settings.mlflow) as client:
        assert client.get_run(result["run_id"]).data.tags["teacher"] == taught


def test_a_writer_holds_the_pair_and_a_switch_waits(stores: Stores, challengers, steps) -> None:
    with stores.catalog.transaction() as tx:
        pair = active.hold(tx)
        waiting = type(stores.catalog)(stores.catalog.database, lock_s=1)
        with pytest.raises(Exception, match="lock timeout"), waiting.transaction() as other:
            active.freeze(other)
    with stores.catalog.transaction() as tx, pytest.raises(ModelsChanged):
        active.require(tx, pair.detector.id, pair.embedder.id + 1)


def test_a_promotion_wanted_while_a_rollback_waits_starts_from_what_is_in_use_after_it(
    stores: Stores, steps, challengers
) -> None:
    steps.whole(challengers.rotated)
    with ThreadPoolExecutor() as both:
        with stores.catalog.transaction() as tx:
            active.hold(tx)  # a worker that writes its shard
            back = both.submit(steps.again().rollback)
            _until_waiting(stores, 1)
            wanted = both.submit(steps.again().want, challengers.again)
            _until_waiting(stores, 2)
        back.result()
        promotion_id = wanted.result()
    with stores.catalog.transaction() as tx:
        assert promotions.get(tx, promotion_id).source == active.current(tx).ids


def _until_waiting(stores: Stores, transactions: int) -> None:
    """Return when so many transactions wait for a lock."""
    for _ in range(600):
        with stores.catalog.transaction() as tx, tx.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone()[0] >= transactions:
                return
        time.sleep(0.1)
    pytest.fail("nobody waits")


def _hash(steps, name: str) -> set[str]:
    from facecore.stages.fingerprint import content_digest

    return {content_digest(steps.pictures[name].path.read_bytes())}
