"""An alias set in the registry is a wish: followed, or refused with a reason, once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from facecore.errors import PromotionRefused
from facecore.jobs.lineage import RunContext
from facecore.jobs.models import model_aliases, model_list
from facecore.jobs.models.champions import champions, differences
from facecore.jobs.people.search import search
from facecore.jobs.promotion import promotion
from facecore.jobs.promotion.registry_watch import unnoticed_alias
from facecore.jobs.stores import Stores
from facecore.local.platform import Platform
from facecore.stores.catalog import audit
from facecore.stores.catalog.models import alias_decisions, promotions
from facecore.stores.objects import ObjectStore
from facecore.stores.registry import Registry

InUse = Callable[[], tuple[int, int]]


def test_an_alias_set_by_hand_is_noticed_and_is_the_same_promotion(
    stores: Stores, steps, challengers, in_use: InUse
) -> None:
    assert unnoticed_alias(stores) is None
    stores.registry.set_alias(challengers.rotated.name, "champion", challengers.rotated.version)
    assert unnoticed_alias(stores) == {
        "name": challengers.rotated.name,
        "version": challengers.rotated.version,
    }
    promotion_id = steps.start()
    assert unnoticed_alias(stores) is None
    steps.until_compared(promotion_id)
    steps.switch(promotion_id)
    assert in_use() == (1, challengers.rotated.version)
    assert steps.aliases() == (challengers.rotated.version, 1)
    with stores.catalog.transaction() as tx:
        found = promotions.get(tx, promotion_id)
        planned = audit.newest(tx)[-1]
    assert (found.origin, found.actor) == ("alias", "tester")
    assert (planned.action, planned.details["origin"]) == ("promotion.planned", "alias")
    assert unnoticed_alias(stores) is None


def test_what_facecore_itself_sets_is_no_wish_of_others(stores: Stores, steps, challengers) -> None:
    steps.want(challengers.rotated)
    assert unnoticed_alias(stores) is None
    steps.until_compared(steps.start())
    steps.switch(1)
    assert unnoticed_alias(stores) is None
    steps.rollback()
    assert unnoticed_alias(stores) is None


def test_a_late_writer_does_not_undo_what_was_decided_since(
    stores: Stores, steps, challengers, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_alias, hangs, goes_on = Registry.set_alias, threading.Event(), threading.Event()

    def late(registry: Registry, *decision) -> None:
        if not hangs.is_set():
            hangs.set()
            goes_on.wait(60)
        set_alias(registry, *decision)

    monkeypatch.setattr(Registry, "set_alias", late)
    with ThreadPoolExecutor() as both:
        wanted = both.submit(steps.want, challengers.rotated)
        assert hangs.wait(60)
        given_up = both.submit(promotion.abandon, actor="ada", reason="mistake", stores=stores)
        wait([given_up], timeout=3)
        goes_on.set()
        assert wanted.result() == given_up.result()
    assert steps.aliases()[0] == 1
    with stores.catalog.transaction() as tx:
        assert alias_decisions.unwritten(tx) == []
    assert steps.start() is None


def test_an_alias_that_a_rollback_moves_meanwhile_is_no_wish(
    stores: Stores, steps, challengers, in_use: InUse, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps.want(challengers.rotated)
    promotion_id = steps.start()
    steps.until_compared(promotion_id)
    steps.switch(promotion_id)
    read = model_aliases.wanted

    def then_rolled_back(stores: Stores, name: str) -> int | None:
        found = read(stores, name)
        monkeypatch.setattr(model_aliases, "wanted", read)
        steps.rollback()
        return found

    monkeypatch.setattr(model_aliases, "wanted", then_rolled_back)
    assert steps.start() is None
    assert in_use() == (1, 1)
    with stores.catalog.transaction() as tx:
        assert promotions.find_open(tx) is None


def test_a_version_without_calibration_is_refused_and_serving_goes_on(
    stores: Stores, steps, challengers, in_use: InUse
) -> None:
    bad = challengers.uncalibrated
    with pytest.raises(PromotionRefused, match="no calibrated threshold"):
        steps.want(bad)
    assert steps.aliases()[0] == 1  # it was not even tried
    stores.registry.set_alias(bad.name, "champion", bad.version)
    assert unnoticed_alias(stores) == {"name": bad.name, "version": bad.version}
    with pytest.raises(PromotionRefused, match="no calibrated threshold"):
        steps.start()
    assert unnoticed_alias(stores) is None  # it is not asked again and again
    assert in_use() == (1, 1)
    assert differences(stores) == [
        f"{bad.name}@champion names version {bad.version} in the registry; version 1 is in use."
    ]
    (face,) = search(
        RunContext("test", "s", "search"), steps.pictures["obama3.jpg"].path, stores=stores
    )
    assert face.match.label == "Barack Obama"
    with stores.catalog.transaction() as tx:
        refused = audit.newest(tx, subject=f"{bad.name}/{bad.version}")
    assert {e.action for e in refused} == {"promotion.refused"}
    assert refused[0].details["failed"] == ["no calibration"]


def test_damaged_files_are_refused(
    stores: Stores, steps, challengers, platform: Platform, tmp_path, in_use: InUse
) -> None:
    """The object of the weights is altered where MLflow keeps it."""
    version = challengers.again
    fresh = Stores(stores.settings)
    fresh.__dict__["registry"] = Registry(stores.settings.mlflow, tmp_path / "cache")
    everything = ObjectStore(platform.s3)
    key = next(
        item.key
        for item in everything.list("mlflow")
        if item.key.endswith("artifacts/weights.safetensors")
        and _same(everything.get("mlflow", item.key), version.weights_sha256)
    )
    original = everything.get("mlflow", key)
    everything.put("mlflow", key, original[:-1] + bytes([original[-1] ^ 1]))
    try:
        from facecore.jobs.models.model_versions import candidate

        with pytest.raises(PromotionRefused, match="damaged"):
            candidate(fresh, version.name, version.version)
    finally:
        everything.put("mlflow", key, original)
    assert in_use() == (1, 1)


def _same(data: bytes, digest: str) -> bool:
    import hashlib

    return hashlib.sha256(data).hexdigest() == digest


def test_a_detectors_alias_alone_changes_nothing(
    stores: Stores, steps, challengers, in_use: InUse
) -> None:
    detector = challengers.detector
    with pytest.raises(PromotionRefused, match="not an embedder"):
        steps.want(detector)
    stores.registry.set_alias(detector.name, "champion", detector.version)
    assert unnoticed_alias(stores) == {"name": detector.name, "version": detector.version}
    assert steps.start() is None
    assert unnoticed_alias(stores) is None
    assert in_use() == (1, 1)
    with stores.catalog.transaction() as tx:
        assert audit.newest(tx)[0].action == "promotion.refused"


def test_work_goes_by_what_is_in_use_not_by_the_alias(
    stores: Stores, steps, challengers, caplog: pytest.LogCaptureFixture
) -> None:
    stores.registry.set_alias(challengers.rotated.name, "champion", challengers.rotated.version)
    assert champions(stores).embedder.version == 1
    versions, opened = model_list.listed(stores)
    shown = {(v.version.task, v.version.version): (v.in_use, v.aliases) for v in versions}
    assert shown["embed", 1][0] is True
    assert "champion" not in shown["embed", 1][1]
    assert opened is None
