"""Work is done once and lost never, whoever dies when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from facecore.errors import CatalogBusy, ChangeRefused, NotFound
from facecore.stores.catalog import Catalog
from facecore.stores.catalog.images import images
from facecore.stores.catalog.people import people
from facecore.stores.catalog.work import shards


def _plan(catalog: Catalog, members=(("a", "b"), ("c",)), run: str = "run-1") -> list[int]:
    with catalog.transaction() as tx:
        return shards.plan(tx, "ingest", run, members)


def test_a_run_is_planned_once(catalog):
    members = [[{"key": "a b/ü", "etag": "1"}], [{"key": "c", "etag": "2"}]]
    ids = _plan(catalog, members)
    assert _plan(catalog, [["something", "else"]]) == ids
    assert _plan(catalog, run="run-2") != ids
    with catalog.transaction() as tx:
        planned = shards.of_run(tx, "ingest", "run-1")
        assert [shard.members for shard in planned] == members
        assert [(shard.id, shard.ordinal) for shard in planned] == list(
            zip(ids, [0, 1], strict=True)
        )
        assert shards.plan(tx, "ingest", "empty", []) == []


def test_many_shards_keep_their_order(catalog):
    members = [[n] for n in range(500)]
    ids = _plan(catalog, members)
    with catalog.transaction() as tx:
        assert [shards.get(tx, i).members for i in ids[::50]] == members[::50]


def test_two_planners_at_once_plan_one_run(catalog):
    plans: list[list[int]] = []
    threads = [threading.Thread(target=lambda: plans.append(_plan(catalog))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(plans) == 4
    assert all(plan == plans[0] for plan in plans)


def test_results_and_completion_are_one(catalog):
    (shard_id, _) = _plan(catalog)
    assert shards.note_attempt(catalog, shard_id) == 1

    def die_before_the_commit() -> None:
        with catalog.transaction() as tx:
            assert shards.claim(tx, shard_id)
            people.enrol(tx, "half a result")
            shards.complete(tx, shard_id, {"images": 1})
            raise KeyError("died")

    with pytest.raises(KeyError, match="died"):
        die_before_the_commit()
    assert shards.note_attempt(catalog, shard_id) == 2
    with catalog.transaction() as tx:
        assert people.every(tx) == []
        shard = shards.claim(tx, shard_id)
        assert (shard.state, shard.attempts, shard.members) == ("running", 2, ["a", "b"])
        people.enrol(tx, "result")
        shards.complete(tx, shard_id, {"images": 2})
    with catalog.transaction() as tx:
        assert shards.claim(tx, shard_id) is None
        done = shards.get(tx, shard_id)
        assert (done.state, done.counts, done.error) == ("done", {"images": 2}, None)
        assert len(people.every(tx)) == 1
    assert shards.note_attempt(catalog, shard_id) == 2


def test_a_second_worker_waits_and_then_finds_it_done(catalog):
    (shard_id, _) = _plan(catalog)
    claimed = threading.Event()
    order: list[str] = []

    def second() -> None:
        claimed.wait(10)
        with catalog.transaction() as tx:
            order.append(f"second {shards.claim(tx, shard_id)}")

    thread = threading.Thread(target=second)
    thread.start()
    with catalog.transaction() as tx:
        shards.claim(tx, shard_id)
        claimed.set()
        _until_waiting(catalog)
        shards.complete(tx, shard_id, {})
        order.append("first completes")
    thread.join(20)
    assert order == ["first completes", "second None"]


def _until_waiting(catalog: Catalog) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with catalog.transaction() as tx, tx.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            if cursor.fetchone()[0]:
                return
        time.sleep(0.02)
    raise AssertionError("nobody waits for a lock")


def test_a_shard_held_too_long_is_busy(catalog, migrated):
    (shard_id, _) = _plan(catalog)
    with catalog.transaction() as holder:
        shards.claim(holder, shard_id)
        with pytest.raises(CatalogBusy), Catalog(migrated, lock_s=1).transaction() as tx:
            shards.claim(tx, shard_id)


def test_others_can_refer_to_a_held_shard(catalog, migrated, make):
    (shard_id, _) = _plan(catalog)
    with catalog.transaction() as holder:
        shards.claim(holder, shard_id)
        with Catalog(migrated, lock_s=1).transaction() as tx:
            make.images(tx, "a", ingest_shard_id=shard_id)


_WORKER = """
import sys, time
from facecore.config import DatabaseSettings
from facecore.stores.catalog import Catalog
from facecore.stores.catalog.people import people
from facecore.stores.catalog.work import shards
host, port, name, user, password, shard = sys.argv[1:]
catalog = Catalog(DatabaseSettings(host=host, port=port, name=name, user=user, password=password))
with catalog.transaction() as tx:
    assert shards.claim(tx, int(shard)) is not None
    people.enrol(tx, "half a result")
    print("claimed", flush=True)
    time.sleep(600)
"""


def test_a_killed_worker_releases_its_shard_and_leaves_nothing(catalog, migrated):
    (shard_id, _) = _plan(catalog)
    worker = subprocess.Popen(
        [
            sys.executable, "-c", _WORKER, migrated.host, str(migrated.port), migrated.name,
            migrated.user, migrated.password.get_secret_value(), str(shard_id),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert worker.stdout.readline() == "claimed\n"
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    with catalog.transaction() as tx:
        shard = shards.claim(tx, shard_id)
        assert shard is not None
        assert people.every(tx) == []
        shards.complete(tx, shard_id, {})


def test_a_cut_connection_releases_its_shard(catalog):
    (shard_id, _) = _plan(catalog)
    victim = catalog.connect()
    shards.claim(victim, shard_id)
    people.enrol(victim, "half a result")
    with catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [victim.info.backend_pid])
    with catalog.transaction() as tx:
        assert shards.claim(tx, shard_id) is not None
        assert people.every(tx) == []
    victim.close()


def test_a_done_shard_is_final(catalog):
    (shard_id, _) = _plan(catalog)
    with catalog.transaction() as tx:
        shards.complete(tx, shard_id, {"n": 1})
    shards.fail(catalog, shard_id, "too late")
    with pytest.raises(ChangeRefused), catalog.transaction() as tx:
        shards.complete(tx, shard_id, {"n": 2})
    with catalog.transaction() as tx:
        assert (shards.get(tx, shard_id).state, shards.get(tx, shard_id).counts) == (
            "done",
            {"n": 1},
        )


def test_the_members_of_a_shard_are_fixed(catalog):
    (shard_id, _) = _plan(catalog)
    with pytest.raises(ChangeRefused), catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute("UPDATE shard SET members = '[]' WHERE id = %s", [shard_id])


def test_a_failed_shard_can_be_tried_again(catalog):
    (shard_id, _) = _plan(catalog)
    shards.fail(catalog, shard_id, "out of memory\0")
    with catalog.transaction() as tx:
        shard = shards.claim(tx, shard_id)
        assert (shard.state, shard.error) == ("failed", "out of memory\ufffd")
        shards.complete(tx, shard_id, {})
    with catalog.transaction() as tx:
        assert shards.get(tx, shard_id).error is None


def test_a_shard_that_does_not_exist_is_not_found(catalog):
    with catalog.transaction() as tx:
        for call in (
            lambda: shards.claim(tx, 999),
            lambda: shards.get(tx, 999),
            lambda: shards.complete(tx, 999, {}),
        ):
            with pytest.raises(NotFound):
                call()
    with pytest.raises(NotFound):
        shards.note_attempt(catalog, 999)


def _extract(catalog: Catalog, run: str, size: int = 2, most: int = 10, **how) -> list[int]:
    with catalog.transaction() as tx:
        return shards.plan_extraction(tx, run, size, most, **how)


def _to_do(catalog: Catalog, shard_id: int) -> list[int]:
    with catalog.transaction() as tx:
        shards.claim(tx, shard_id)
        return [ref.id for ref in shards.images_of(tx, shard_id)]


def test_accepted_images_are_planned_once_and_in_order(catalog, make):
    with catalog.transaction() as tx:
        ids = make.images(tx, *"abcde", accepted=True)
        make.images(tx, "stored only")
    planned = _extract(catalog, "run-1")
    assert [_to_do(catalog, shard_id) for shard_id in planned] == [ids[:2], ids[2:4], ids[4:]]
    assert _extract(catalog, "run-1") == planned
    assert _extract(catalog, "run-2") == []


def test_planning_takes_no_more_than_asked_and_the_next_run_the_rest(catalog, make):
    with catalog.transaction() as tx:
        ids = make.images(tx, *"abcde", accepted=True)
    first = _extract(catalog, "run-1", size=1, most=3)
    second = _extract(catalog, "run-2", size=1, most=3)
    assert [_to_do(catalog, i) for i in first + second] == [[i] for i in ids]


def test_images_of_a_failed_shard_are_offered_again_and_extracted_once(catalog, make):
    with catalog.transaction() as tx:
        ids = make.images(tx, *"ab", accepted=True)
    (failed,) = _extract(catalog, "run-1")
    shards.fail(catalog, failed, "device lost")
    (second,) = _extract(catalog, "run-2")
    assert _to_do(catalog, second) == ids
    assert _to_do(catalog, failed) == [], "the first shard, cleared and run late, has lost them"
    with catalog.transaction() as tx:
        images.mark_extracted(tx, ids)
        shards.complete(tx, second, {})
    shards.fail(catalog, second, "late")
    assert _extract(catalog, "run-3") == []


def test_a_shard_left_behind_is_taken_over_but_not_one_in_work(catalog, make):
    with catalog.transaction() as tx:
        ids = make.images(tx, *"abcd", accepted=True)
    left, held = _extract(catalog, "run-1")
    assert _extract(catalog, "run-2") == [], "neither is stale yet"
    with catalog.transaction() as worker:
        shards.claim(worker, held)
        (taken,) = _extract(catalog, "run-3", stale_after_s=0.0)
    assert _to_do(catalog, taken) == ids[:2]
    assert _to_do(catalog, left) == []
    assert _to_do(catalog, held) == ids[2:]


def test_a_failed_shard_being_retried_keeps_its_images(catalog, make):
    with catalog.transaction() as tx:
        ids = make.images(tx, *"ab", accepted=True)
    (shard_id,) = _extract(catalog, "run-1")
    shards.fail(catalog, shard_id, "device lost")
    with catalog.transaction() as worker:
        shards.claim(worker, shard_id)
        assert _extract(catalog, "run-2") == []
        assert [ref.id for ref in shards.images_of(worker, shard_id)] == ids


def test_shards_are_counted_by_state(catalog):
    done, held, left = _plan(catalog, [["a"], ["b"], ["c"]])
    with catalog.transaction() as tx:
        shards.complete(tx, done, {})
    shards.fail(catalog, left, "device lost")
    with catalog.transaction() as worker:
        shards.claim(worker, held)
        with catalog.transaction() as tx:
            counts = shards.counts_by_state(tx)
    assert counts == {
        "ingest": {"done": 1, "failed": 1, "planned": 1},
        "extract": {},
        "reembed": {},
        "score": {},
    }


def test_the_counts_of_shards_are_added_up(catalog):
    first, second = _plan(catalog)
    with catalog.transaction() as tx:
        shards.complete(tx, first, {"images": 2, "faces": 3})
        shards.complete(tx, second, {"images": 1})
        assert shards.totals(tx, [first, second]) == {"shards": 2, "images": 3, "faces": 3}
        assert shards.totals(tx, []) == {"shards": 0}


def test_images_that_wait_for_the_gate_are_found_by_shard(catalog, make):
    first, second = _plan(catalog)
    with catalog.transaction() as tx:
        (a,) = make.images(tx, "a", ingest_shard_id=first)
        make.images(tx, "b", ingest_shard_id=second)
        make.images(tx, "c", ingest_shard_id=first, accepted=True)
        assert [image.id for image in images.stored_images(tx, [first])] == [a]
        assert images.shards_to_validate(tx) == [first, second]
        images.set_gate_result(tx, [a], {})
        assert images.shards_to_validate(tx) == [second]


def test_shards_are_cut_by_pixels_too(catalog, make):
    with catalog.transaction() as tx:
        ids = make.images(tx, *"abc", accepted=True, width=1000, height=1000)
        ids += make.images(tx, "large", accepted=True, width=9000, height=1000)
        ids += make.images(tx, *"de", accepted=True, width=1000, height=1000)
    planned = _extract(catalog, "run-1", size=2, max_pixels=3_000_000)
    assert [_to_do(catalog, i) for i in planned] == [ids[:2], ids[2:3], ids[3:4], ids[4:]]
    with catalog.transaction() as tx:
        more = make.images(tx, *"fgh", accepted=True, width=9000, height=1000)
    planned = _extract(catalog, "run-2", size=2, most=2, max_pixels=3_000_000)
    assert [_to_do(catalog, i) for i in planned] == [more[:1], more[1:2]]  # the third waits
