import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from facecore.errors import UsageError
from facecore.lifecycle.verification import (
    best_threshold,
    equal_error_rate,
    operating_point,
    threshold_at_far,
    verify,
)


def made(folds=5, each=300, apart=0.5, seed=1):
    rng = np.random.default_rng(seed)
    n = folds * each
    same = np.tile(np.repeat([True, False], each), folds)
    scores = np.where(same, rng.normal(apart, 0.1, 2 * n), rng.normal(0.0, 0.1, 2 * n))
    return np.clip(scores, -1, 1).astype(np.float32), same, np.repeat(np.arange(folds), 2 * each)


def test_perfectly_separated_scores_give_perfect_numbers():
    scores, same, folds = made(apart=0.5)
    scores = np.where(same, 0.7, 0.1).astype(np.float32)

    found = verify(scores, same, folds)

    assert (found.accuracy, found.accuracy_std, found.auc, found.eer) == (1.0, 0.0, 1.0, 0.0)
    assert found.accuracy_interval.high == 1.0
    assert 0.998 < found.accuracy_interval.low < 1.0
    assert all(f.threshold == pytest.approx(0.4) for f in found.folds)
    assert (found.pairs, found.genuine, found.impostors) == (3000, 1500, 1500)


def test_a_folds_own_scores_do_not_choose_its_threshold():
    scores, same, folds = made()
    shifted = scores.copy()
    shifted[folds == 2] += 0.4  # a threshold of its own would still separate this fold

    found = verify(shifted, same, folds)
    before = verify(scores, same, folds)

    assert found.folds[2].threshold == before.folds[2].threshold
    assert found.folds[2].accuracy < 0.75 < before.folds[2].accuracy


def test_accuracy_equals_a_brute_force_search():
    scores, same, folds = made(folds=3, each=40, apart=0.25)
    expected = []
    for fold in range(3):
        train, test = folds != fold, folds == fold
        edges = np.unique(scores[train])
        tries = np.concatenate(([edges[0] - 1], (edges[1:] + edges[:-1]) / 2, [edges[-1] + 1]))
        rights = [((scores[train] >= t) == same[train]).mean() for t in tries]
        best = [t for t, r in zip(tries, rights, strict=True) if r == max(rights)]
        expected.append(((scores[test] >= best[len(best) // 2]) == same[test]).mean())

    found = verify(scores, same, folds)

    assert [f.accuracy for f in found.folds] == pytest.approx(expected)
    assert found.accuracy_std == pytest.approx(np.std(expected, ddof=1))
    assert found.auc == pytest.approx(roc_auc_score(same, scores))


def test_tied_scores_never_get_a_threshold_between_them():
    scores = np.array([0.1, 0.3, 0.3, 0.3, 0.6], np.float32)
    same = np.array([False, False, True, True, True])

    assert best_threshold(scores, same) == pytest.approx(0.2)


def test_equal_error_rate_of_two_known_gaussians():
    scores, same, _ = made(folds=10, each=5000, apart=0.4)

    assert equal_error_rate(scores, same) == pytest.approx(0.02275, abs=0.002)  # Φ(-2)
    assert equal_error_rate(-scores, same) == pytest.approx(1 - 0.02275, abs=0.002)


def test_threshold_at_far_holds_its_promise_with_ties():
    impostors = np.sort(np.array([0.1] * 90 + [0.5] * 10, np.float32))

    threshold = threshold_at_far(impostors, 0.05)

    assert (impostors >= threshold).mean() <= 0.05
    assert threshold == pytest.approx(0.5, abs=1e-6)
    assert threshold_at_far(impostors, 0.10) == pytest.approx(0.1, abs=1e-6)


def test_a_rate_that_the_impostors_cannot_support_is_not_quoted():
    scores, same, folds = made()  # 1,500 impostor pairs support 2e-3

    found = verify(scores, same, folds)

    loose, strict = found.operating_points
    assert loose.supported
    assert loose.tar.trials == 1500
    assert loose.far.value <= 1e-2 < loose.far.high
    assert (strict.supported, strict.tar, strict.far, strict.threshold) == (False, None, None, None)
    assert "2.0e-03" in strict.note
    assert found.supported_far == 0.002
    assert operating_point(scores[same], np.sort(np.tile(scores[~same], 2)), 1e-3).supported


def test_the_result_is_json():
    found = verify(*made())

    assert json.loads(json.dumps(found.to_json()))["folds"][0]["fold"] == 0


@pytest.mark.parametrize("fault", ["nan", "one fold", "no impostor", "lengths"])
def test_unusable_input_is_refused(fault):
    scores, same, folds = made(folds=2, each=10)
    if fault == "nan":
        scores[3] = np.nan
    elif fault == "one fold":
        folds[:] = 0
    elif fault == "no impostor":
        same[folds == 1] = True
    else:
        folds = folds[1:]

    with pytest.raises(UsageError):
        verify(scores, same, folds)
