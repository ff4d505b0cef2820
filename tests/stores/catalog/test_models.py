"""A model version is what it is, and one per task is active."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from facecore.errors import ChangeRefused, ContractMismatch, NotFound
from facecore.stores.catalog.models import models

ROW = models.ModelVersionRow("embed", "face-embedder", 1, "c" * 64, "a" * 64, 128)


def test_a_version_is_known_once_and_its_calibration_renewed(tx):
    version_id = models.upsert(tx, ROW)
    assert models.upsert(tx, ROW) == version_id
    calibrated = replace(ROW, threshold=0.35, target_fmr=0.001, calibration={"pairs": 3000})
    assert models.upsert(tx, calibrated) == version_id
    assert models.upsert(tx, ROW) == version_id
    known = models.get(tx, version_id)
    assert (known.threshold, known.target_fmr, known.calibration) == (0.35, 0.001, {"pairs": 3000})
    assert (known.state, known.dimension, known.contract) == ("candidate", 128, "c" * 64)
    renewed = {"pairs": 6000, "contract": ROW.contract}
    models.set_calibration(tx, version_id, 0.4, 0.01, renewed)
    assert models.find(tx, "face-embedder", 1).threshold == 0.4
    assert models.find(tx, "face-embedder", 2) is None
    assert [version.id for version in models.every(tx)] == [version_id]


def test_a_calibration_of_other_vectors_is_refused(tx):
    version_id = models.upsert(tx, ROW)
    for foreign in ({"contract": "d" * 64}, {}):
        with pytest.raises(ContractMismatch):
            models.set_calibration(tx, version_id, 0.4, 0.01, foreign)
    assert models.get(tx, version_id).threshold is None
    with pytest.raises(NotFound):
        models.set_calibration(tx, version_id + 1, 0.4, 0.01, {"contract": ROW.contract})


@pytest.mark.parametrize(
    "change",
    [{"contract": "e" * 64}, {"weights_sha256": "e" * 64}, {"dimension": 512}],
    ids=["contract", "weights", "dimension"],
)
def test_another_model_under_the_same_version_is_refused(catalog, change):
    with catalog.transaction() as tx:
        models.upsert(tx, ROW)
    with pytest.raises(ChangeRefused), catalog.transaction() as tx:
        models.upsert(tx, replace(ROW, **change))


def test_a_detector_has_no_dimension(catalog):
    with pytest.raises(ChangeRefused) as caught, catalog.transaction() as tx:
        models.upsert(tx, replace(ROW, task="detect"))
    assert caught.value.rule == "model_version_dimension"


def test_activating_retires_the_one_before(tx):
    with pytest.raises(NotFound):
        models.active(tx, "embed")
    first, second = models.upsert(tx, ROW), models.upsert(tx, replace(ROW, version=2))
    detector = models.upsert(tx, replace(ROW, task="detect", name="face-detector", dimension=None))
    for version_id in (first, detector, second, second):
        models.set_active(tx, version_id)
    assert models.active(tx, "embed").id == second
    assert models.active(tx, "detect").id == detector
    assert models.get(tx, first).state == "retired"
    models.set_active(tx, first)
    assert models.active(tx, "embed").id == first
    with pytest.raises(NotFound):
        models.set_active(tx, 999)


def test_activations_at_once_leave_one_active(catalog):
    with catalog.transaction() as tx:
        ids = [models.upsert(tx, replace(ROW, version=number)) for number in range(1, 6)]

    def activate(version_id: int) -> None:
        with catalog.transaction() as tx:
            models.set_active(tx, version_id)

    threads = [threading.Thread(target=activate, args=[version_id]) for version_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with catalog.transaction() as tx:
        assert models.active(tx, "embed").id in ids
        states = [models.get(tx, version_id).state for version_id in ids]
    assert states.count("active") == 1


def test_the_database_itself_allows_one_active_per_task(catalog):
    with catalog.transaction() as tx:
        models.upsert(tx, ROW)
        models.upsert(tx, replace(ROW, version=2))
    with pytest.raises(ChangeRefused) as caught, catalog.transaction() as tx:
        tx.cursor().execute("UPDATE model_version SET state = 'active'")
    assert caught.value.rule == "model_version_one_active"
