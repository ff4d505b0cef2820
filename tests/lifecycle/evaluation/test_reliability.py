import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, roc_auc_score

from facecore.errors import UsageError
from facecore.lifecycle.evaluation.face_scores import score_faces
from facecore.lifecycle.evaluation.reliability import (
    balanced_pairs,
    judge_matcher,
    reliability,
    score_reliability,
)


def test_bins_and_errors_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    stated = rng.random(3000)
    same = rng.random(3000) < stated**2  # says too much

    found = reliability(stated, same, source="made")

    observed, mean = calibration_curve(same, stated, n_bins=10)
    assert [b.observed.value for b in found.bins] == pytest.approx(observed.tolist())
    assert [b.stated for b in found.bins] == pytest.approx(mean.tolist())
    assert found.brier == pytest.approx(brier_score_loss(same, stated))
    assert found.expected_error == pytest.approx(1 / 6, abs=0.02)  # ∫ p − p²


def test_probabilities_outside_their_range_are_refused():
    with pytest.raises(UsageError, match=r"0\.\.1"):
        reliability(np.array([0.5, 1.2]), np.array([True, False]), source="x")
    with pytest.raises(UsageError, match=r"0\.\.1"):
        reliability(np.array([np.nan]), np.array([True]), source="x")


def test_pairs_are_balanced_and_stay_on_one_side(people):
    scores = score_faces(*people(), one_person=[("P000", "P001")])

    pairs = balanced_pairs(scores)

    left, right = scores.people[pairs.left], scores.people[pairs.right]
    assert pairs.same.sum() == (~pairs.same).sum()
    assert ((left == right) == pairs.same).all()
    assert not ((np.minimum(left, right) == 0) & (np.maximum(left, right) == 1)).any()
    half_of = {}
    for person, half in zip(
        np.concatenate((left, right)).tolist(), np.tile(pairs.half, 2).tolist(), strict=True
    ):
        assert half_of.setdefault(person, half) == half


def test_scores_made_probabilities_come_true(people):
    scores = score_faces(*people(people=200, images=4, noise=0.3))

    found = score_reliability(scores, balanced_pairs(scores))

    assert found.expected_error < 0.03
    assert sum(b.observed.trials for b in found.bins) == found.pairs == 2 * len(scores.genuine)


def test_a_matcher_is_judged_beside_the_cosine(people):
    scores = score_faces(*people(people=20, images=3, noise=0.35))
    pairs = balanced_pairs(scores)

    def matcher(left, right):
        cosine = np.einsum("nd,nd->n", left, right)
        return (1 / (1 + np.exp(-20 * (cosine - 0.4)))).astype(np.float32)

    found = judge_matcher(scores, pairs, matcher)

    cosine = np.einsum("nd,nd->n", scores.vectors[pairs.left], scores.vectors[pairs.right])
    assert found.cosine_auc.value == pytest.approx(roc_auc_score(pairs.same, cosine))
    assert found.auc.value == pytest.approx(found.cosine_auc.value)  # the same order
    assert found.auc.low < found.auc.value < found.auc.high
    with pytest.raises(UsageError, match="the matcher gave"):
        judge_matcher(scores, pairs, lambda a, b: np.zeros(3, np.float32))


def test_one_person_on_a_side_gives_no_pairs(people):
    vectors, names = people(people=40, images=1)
    scores = score_faces(np.concatenate((vectors, vectors[:1])), [*names, names[0]])
    assert balanced_pairs(scores) is None  # only one half has a genuine pair
