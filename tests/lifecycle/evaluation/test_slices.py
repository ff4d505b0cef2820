import numpy as np
import pandas as pd
import pytest

from facecore.errors import UsageError
from facecore.lifecycle.evaluation.face_scores import score_faces
from facecore.lifecycle.evaluation.slices import groups_of, rate_ratio, slice_report
from facecore.lifecycle.intervals import proportion


def test_rates_of_each_group_are_those_of_its_own_pairs(people):
    vectors, names = people(noise=0.3)
    groups = ["a" if number % 3 else "b" for number in range(len(names))]  # cuts through people
    threshold = 0.45

    found = slice_report(score_faces(vectors, names), groups, threshold, "camera")

    left, right = np.triu_indices(len(names), 1)
    score = np.einsum("nd,nd->n", vectors[left], vectors[right])
    same = np.array(names)[left] == np.array(names)[right]
    labels = np.array(groups)
    for one in found.slices:
        own = (labels[left] == one.value) & (labels[right] == one.value)
        assert one.fmr.trials == (own & ~same).sum()
        assert one.fmr.count == pytest.approx((score[own & ~same] >= threshold).sum(), abs=1)
        assert (one.fnmr.count, one.fnmr.trials) == (
            (score[own & same] < threshold).sum(),
            (own & same).sum(),
        )
        assert one.fnmr == proportion(one.fnmr.count, one.fnmr.trials)  # Clopper-Pearson
    assert found.across == (same & (labels[left] != labels[right])).sum()
    assert sum(one.images for one in found.slices) == len(names)


def test_a_group_that_is_treated_worse_is_found(people):
    vectors, names = people(people=120, images=4, noise=0.05)
    rng = np.random.default_rng(0)
    harder = np.arange(len(names)) >= 240
    vectors = vectors.copy()
    vectors[harder] += 0.2 * rng.normal(size=vectors[harder].shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    groups = np.where(harder, "night", "day").tolist()

    found = slice_report(score_faces(vectors.astype(np.float32), names), groups, 0.5, "time")

    assert (found.fnmr_ratio.worst, found.fnmr_ratio.best) == ("night", "day")
    assert found.fnmr_ratio.value > 5
    assert found.fnmr_ratio.distinct


def test_ratios_are_stated_only_where_counts_support_them():
    few = rate_ratio([("a", 3, proportion(5, 100)), ("b", 50, proportion(1, 100))], 0.03)
    assert few.value is None
    assert few.compared == ("b",)
    assert "enough people (10)" in few.note

    # 20 comparisons cannot show a rate of 1 %
    small = rate_ratio([("a", 50, proportion(1, 20)), ("b", 50, proportion(10, 1000))], 0.01)
    assert small.value is None

    # no error in 1,000 is not a rate of 0: 3 in 1,000
    none = rate_ratio([("a", 50, proportion(30, 1000)), ("b", 50, proportion(0, 1000))], 0.015)
    assert none.value == pytest.approx(10)
    assert none.distinct

    alike = rate_ratio([("a", 50, proportion(12, 1000)), ("b", 50, proportion(10, 1000))], 0.011)
    assert alike.value == pytest.approx(1.2)
    assert not alike.distinct

    assert rate_ratio([("a", 50, None)], 0.01).value is None


def test_numbers_become_bands_and_rare_values_go_together():
    frame = pd.DataFrame(
        {
            "quality": [0.1, 0.2, 0.5, 0.6, 0.8, 0.9, np.nan],
            "camera": ["a", "b", "a", None, "a", "", "b"],
            "child": [True, False, True, True, False, False, True],
            "year": [2001, 2002, 2001, 2001, 2002, 2002, 2001],
        }
    )
    bands = groups_of(frame, "quality")
    assert [band.split(" ")[0] for band in bands] == [
        "low", "low", "middle", "middle", "high", "high", "unknown",
    ]  # fmt: skip
    assert groups_of(frame, "camera") == ["a", "b", "a", "unknown", "a", "unknown", "b"]
    assert groups_of(frame, "child")[:2] == ["True", "False"]
    assert set(groups_of(frame, "year")) == {"2001", "2002"}

    many = pd.DataFrame({"who": [f"w{i // (1 + i % 3)}" for i in range(300)]})
    grouped = set(groups_of(many, "who"))
    assert len(grouped) == 12
    assert any(name.endswith(" others") for name in grouped)


def test_an_unknown_column_lists_the_known_ones(people):
    frame = pd.DataFrame({"source": ["a"], "quality": [1.0]})
    with pytest.raises(UsageError, match="no column 'sex'") as refused:
        groups_of(frame, "sex")
    assert "source, quality" in refused.value.remedy
    with pytest.raises(UsageError, match="2 groups of 'x' for 240 faces"):
        slice_report(score_faces(*people()), ["a", "b"], 0.5, "x")
