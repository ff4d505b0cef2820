from __future__ import annotations

import pytest

from facecore.errors import UsageError
from facecore.lifecycle.datasets.lfw import build_from_lfw

# Three folds of one genuine and one impostor pair.
PAIRS = "3\t1\nP00\t1\t2\nP00\t1\tP01\t2\nP02\t1\t2\nP02\t2\tP03\t1\nP04\t1\t2\nP05\t1\tP04\t2\n"


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text(PAIRS)
    return path


def test_test_folds_are_the_test_with_their_pairs(to, crowd, pairs, extractor):
    built = build_from_lfw(
        to("lfw"), crowd, pairs, extractor, test_folds=[3], val_folds=[2], seed=1
    )
    snapshot = built.snapshot
    people = {split: set(snapshot.crops(split)[1]) for split in ("train", "val", "test")}
    assert people["test"] == {"P04", "P05"}
    assert people["val"] == {"P02", "P03"}
    assert people["train"] == {f"P{n:02d}" for n in (0, 1, 6, 7, 8, 9, 10, 11)}
    assert snapshot.source["test_folds"] == [3]
    for split, named in (
        (
            "test",
            [("P04/P04_0001.jpg", "P04/P04_0002.jpg"), ("P05/P05_0001.jpg", "P04/P04_0002.jpg")],
        ),
        (
            "val",
            [("P02/P02_0001.jpg", "P02/P02_0002.jpg"), ("P02/P02_0002.jpg", "P03/P03_0001.jpg")],
        ),
    ):
        found, images = snapshot.pairs(split), snapshot.frame(split)["image"]
        assert [(images[p.left], images[p.right]) for p in found.itertuples()] == named
        assert found["same"].tolist() == [True, False]
    assert snapshot.pairs("train") is None


def test_without_val_folds_a_share_of_the_others_is_val(to, crowd, pairs, extractor):
    built = build_from_lfw(to("lfw"), crowd, pairs, extractor, test_folds=[1, 3], val=0.4, seed=2)
    people = {split: set(built.snapshot.crops(split)[1]) for split in ("train", "val", "test")}
    assert people["test"] == {"P00", "P01", "P04", "P05"}
    assert len(people["val"]) >= 2
    assert not people["val"] & people["train"]
    assert len(built.snapshot.pairs("test")) == 4


def test_what_does_not_fit_is_refused(to, crowd, pairs, extractor, stored):
    before = stored()
    with pytest.raises(UsageError, match="no fold 7"):
        build_from_lfw(to("no"), crowd, pairs, extractor, test_folds=[7])
    pairs.write_text(PAIRS.replace("P05\t1", "P99\t1"))
    with pytest.raises(UsageError, match=r"P99_0001\.jpg, which is not in"):
        build_from_lfw(to("no"), crowd, pairs, extractor, test_folds=[3], val=0)
    assert stored() == before
