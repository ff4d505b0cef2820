"""Another detector comes into use: faces are found anew, and every name a human gave stays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from facecore.jobs.promotion import reembed
from facecore.jobs.stores import Stores
from facecore.stages.fingerprint import content_digest
from facecore.stores.catalog.faces import faces
from facecore.stores.catalog.models import counterparts
from facecore.stores.catalog.pages.findings import findings  # noqa: F401
from facecore.stores.catalog.pages.summary import summarise
from facecore.stores.catalog.people import people
from facecore.types import Detections

InUse = Callable[[], tuple[int, int]]


def digest(steps, name: str) -> str:
    return content_digest(steps.pictures[name].path.read_bytes())


def test_names_and_gallery_are_carried_to_the_new_detectors_faces(
    stores: Stores, steps, challengers, in_use: InUse
) -> None:
    before, old_faces = steps.names_by_picture(), set(steps.named())
    steps.whole(challengers.paired)
    assert in_use() == (challengers.detector.version, challengers.paired.version)
    assert steps.names_by_picture() == before
    assert not old_faces & set(steps.named())
    with stores.catalog.transaction() as tx:
        state = summarise(tx)
    assert state.faces == state.embeddings
    detector = stores.registry.aliases(stores.settings.mlflow.detector)
    assert (detector["champion"], detector["previous"]) == (challengers.detector.version, 1)
    steps.rollback()
    assert in_use() == (1, 1)
    assert steps.names_by_picture() == before
    assert set(steps.named()) == old_faces


def test_a_face_the_new_detector_misses_is_kept_where_a_human_named_it(
    stores: Stores, steps, challengers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new detector finds nothing anywhere: only the gallery's faces survive, with names."""
    before = steps.names_by_picture()
    extractor = reembed.extractor

    def blind(chosen_stores, chosen):
        made = extractor(chosen_stores, chosen)
        monkeypatch.setattr(
            made.detector, "detect", lambda images: [Detections.empty() for _ in images]
        )
        return made

    monkeypatch.setattr(reembed, "extractor", blind)
    promotion_id = steps.want(challengers.paired)
    comparison = steps.until_compared(promotion_id)
    assert comparison["not_found"] == 3
    steps.switch(promotion_id)
    monkeypatch.undo()
    kept = {picture: said for picture, said in before.items() if said[0][1] == "human"}
    assert steps.names_by_picture() == kept
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        state = summarise(tx)
        cursor.execute("SELECT count(*) FROM active_face WHERE quality ? 'kept_from_face'")
        assert cursor.fetchone() == (len(kept),)
    assert state.faces == state.embeddings == len(kept)
    steps.rollback()
    assert steps.names_by_picture() == before


def test_what_a_human_says_before_during_and_after_is_carried_both_ways(
    stores: Stores, steps, challengers
) -> None:
    def confirm(label: str, name: str) -> None:
        with stores.catalog.transaction() as tx, tx.cursor() as cursor:
            cursor.execute(
                "SELECT f.id FROM active_face AS f JOIN image ON image.id = f.image_id "
                "WHERE sha256 = %s",
                [digest(steps, name)],
            )
            (face_id,) = cursor.fetchone()
            people.confirm(tx, people.enrol(tx, label), [face_id])

    def said(name: str) -> tuple[str | None, str]:
        return steps.names_by_picture()[digest(steps, name)][0]

    confirm("Before", "obama2.jpg")
    promotion_id = steps.want(challengers.paired)
    shard_ids = steps.fill(promotion_id)
    confirm("During", "obama3.jpg")
    confirm("Corrected", "obama2.jpg")
    steps.index_and_stage(promotion_id, shard_ids)
    steps.compare(promotion_id)
    steps.switch(promotion_id)
    assert said("obama2.jpg") == ("Corrected", "human")
    assert said("obama3.jpg") == ("During", "human")
    confirm("After", "grace_hopper.jpg")
    confirm("Changed", "obama3.jpg")
    steps.rollback()
    assert said("obama2.jpg") == ("Corrected", "human")
    assert said("obama3.jpg") == ("Changed", "human")
    assert said("grace_hopper.jpg") == ("After", "human")


def test_what_arrived_under_the_new_detector_is_searched_by_the_old_one_after_rollback(
    stores: Stores, steps, challengers
) -> None:
    steps.whole(challengers.paired)
    steps.enrol("Grace Hopper", "grace_hopper.jpg")
    steps.arrive("obama_partial_face.jpg")
    before = steps.names_by_picture()
    promotion_id = steps.rollback()
    assert steps.start() == promotion_id
    steps.until_compared(promotion_id)
    steps.switch(promotion_id)
    after = steps.names_by_picture()
    assert after == before
    with stores.catalog.transaction() as tx:
        state = summarise(tx)
    assert state.faces == state.embeddings
    assert steps.start() is None


def test_a_lost_original_keeps_its_faces(
    stores: Stores, steps, challengers, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facecore.errors import ImageRejected

    before = steps.names_by_picture()
    lost = digest(steps, "obama2.jpg")
    fetcher = reembed.fetcher

    def without_one(chosen_stores, ref):
        def gone() -> bytes:
            raise ImageRejected("missing", "gone")

        return gone if ref.sha256 == lost else fetcher(chosen_stores, ref)

    monkeypatch.setattr(reembed, "fetcher", without_one)
    steps.whole(challengers.paired)
    assert steps.names_by_picture() == before


def test_a_word_on_a_face_that_left_use_reaches_the_one_in_use(
    stores: Stores, steps, challengers
) -> None:
    old_face = next(i for i, (label, _, s) in steps.named().items() if label and s == "enrolled")
    with stores.catalog.transaction() as tx:
        image_id = faces.get(tx, old_face).image_id
    steps.whole(challengers.paired)
    with stores.catalog.transaction() as tx:
        people.confirm(tx, people.enrol(tx, "Late Word"), [old_face])
        (found,) = [
            f for f in faces.of_image(tx, image_id) if f.id in counterparts.in_use(tx, [old_face])
        ]
        assert found.id != old_face
        assert people.current(tx, [found.id])[found.id].label == "Late Word"


def test_intersection_over_union() -> None:
    left = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    right = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [40, 40, 50, 50]], np.float32)
    found = counterparts.intersection_over_union(left, right)
    np.testing.assert_allclose(found, [[1, 1 / 3, 0], [0, 0, 0]], atol=1e-9)
    assert counterparts._best_pairs(found) == [(0, 0)]
