import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from facecore.errors import ShapeError, UsageError
from facecore.lifecycle.evaluation.error_curve import error_curve, misses_at
from facecore.lifecycle.evaluation.face_scores import area_under_roc, crossing, score_faces
from facecore.lifecycle.score_distribution import ImpostorScores, ScoredPairs
from facecore.lifecycle.verification import equal_error_rate


def impostors_of(scores):
    held = ImpostorScores()
    nobody = np.zeros(len(scores), np.int64)
    held.add(ScoredPairs(scores, nobody, nobody + 1))
    return held


def brute_force(vectors, names):
    score = vectors @ vectors.T
    left, right = np.triu_indices(len(names), 1)
    same = np.array(names)[left] == np.array(names)[right]
    return score[left, right], same


def test_auc_eer_and_curve_are_those_of_scikit_learn_over_all_pairs(people):
    vectors, names = people(noise=0.25)
    scores, same = brute_force(vectors, names)

    found = error_curve(score_faces(vectors, names))

    assert (found.genuine, found.impostors) == (same.sum(), (~same).sum())
    assert found.auc == pytest.approx(roc_auc_score(same, scores), abs=1e-4)
    assert found.eer.value == pytest.approx(equal_error_rate(scores, same), abs=2e-3)
    far, tar, _ = roc_curve(same, scores, drop_intermediate=False)
    for point in found.points:
        best = tar[far <= point.fmr + 1e-12].max()
        assert 1 - point.fnmr.value == pytest.approx(best, abs=0.01)
        assert (scores[~same] >= point.threshold).mean() <= point.fmr + 1e-9


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40),
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40),
)
def test_auc_from_the_histogram_is_that_of_the_scores(genuine, impostors):
    # on the histogram's own grid no rounding is left
    a, b = (np.round(np.array(one), 3).astype(np.float32) for one in (genuine, impostors))
    truth = np.concatenate((np.ones(len(a)), np.zeros(len(b))))

    found = area_under_roc(a, impostors_of(b))

    assert found == pytest.approx(
        roc_auc_score(truth, np.round(np.concatenate((a, b)), 3)), abs=1e-9
    )
    assert 0 <= crossing(a, impostors_of(b)) <= 1


def test_the_curve_ends_where_the_impostors_end_and_says_so(faces):
    found = error_curve(score_faces(*faces))

    lowest = 3 / found.impostors
    assert found.supported_fmr == pytest.approx(lowest)
    assert found.points[-1].fmr == pytest.approx(lowest)
    by_far = {point.far: point for point in found.tar_at_far}
    assert by_far[1e-3].supported
    refused = by_far[1e-6]
    assert (refused.tar, refused.threshold) == (None, None)
    assert f"{found.impostors:,} impostor comparisons" in refused.note
    assert "rule of three" in refused.note


def test_rates_and_thresholds_are_ordered_and_inside_their_intervals(people):
    found = error_curve(score_faces(*people(noise=0.2)))

    fnmr = [point.fnmr.value for point in found.points]
    thresholds = [point.threshold for point in found.points]
    assert fnmr == sorted(fnmr)
    assert thresholds == sorted(thresholds)
    for point in found.points:
        assert point.fnmr.low <= point.fnmr.value <= point.fnmr.high
        assert point.threshold_low <= point.threshold <= point.threshold_high
    assert found.eer.low <= found.eer.value <= found.eer.high


def test_intervals_hold_the_rate_of_many_other_people(people):
    everybody = score_faces(*people(people=500, images=3, noise=0.22, seed=0))
    truth = 1 - misses_at(everybody, everybody.impostors.threshold(1e-2))

    held = 0
    for seed in range(1, 13):
        sample = error_curve(score_faces(*people(people=40, images=3, noise=0.22, seed=seed)))
        tar = next(point.tar for point in sample.tar_at_far if point.far == 1e-2)
        held += tar.low <= truth <= tar.high

    assert held >= 10  # of 12; 95 % each


def test_no_error_seen_is_not_no_error(people):
    found = error_curve(score_faces(*people(noise=0.01)))

    point = found.points[0]
    assert point.fnmr.value == 0
    assert point.fnmr.high > 0  # as few comparisons without an error allow


def test_unknown_people_take_no_part(faces):
    vectors, names = faces
    known = score_faces(vectors, names)

    some = score_faces(np.concatenate((vectors, vectors[:7])), [*names, *[None] * 7])

    assert len(some) == len(known) == len(names)
    assert some.impostors.total == known.impostors.total
    assert (some.people[-7:] == -1).all()


def test_names_of_one_person_are_not_compared(faces):
    vectors, names = faces

    scores = score_faces(vectors, names, one_person=[("P000", "P001"), ("P000", "nobody here")])

    everything = len(names) * (len(names) - 1) // 2 - len(scores.genuine)
    assert scores.not_compared == (("P000", "P001"),)
    assert scores.impostors.total == everything - 16


def test_vectors_that_are_none_are_refused(faces):
    vectors, names = faces
    with pytest.raises(ShapeError, match="unit length"):
        score_faces(vectors * 2, names)
    with pytest.raises(ShapeError, match="unit length"):
        score_faces(np.full_like(vectors, np.nan), names)
    with pytest.raises(ShapeError, match="240"):
        score_faces(vectors[:5], names)
    with pytest.raises(UsageError, match="none of these faces has an identity"):
        score_faces(vectors, [None] * len(names))
    with pytest.raises(UsageError, match="too few"):
        score_faces(vectors[:8], names[:8])
