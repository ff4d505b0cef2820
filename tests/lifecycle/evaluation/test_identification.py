import numpy as np
import pytest

from facecore.lifecycle.evaluation.embedder_evaluation import calibration_of
from facecore.lifecycle.evaluation.face_scores import score_faces
from facecore.lifecycle.evaluation.gallery_search import PROBES_PER_PERSON, enrol, search
from facecore.lifecycle.evaluation.identification import (
    closed_searches,
    closed_set,
    identify,
    open_set,
)


def test_ranks_are_those_of_sorting_the_whole_gallery(people):
    scores = score_faces(*people(noise=0.3))
    rng = np.random.default_rng(1)
    gallery, probes, enrolled = enrol(scores, np.arange(0, 60, 2), rng)

    found = search(scores, gallery, probes, tile=7)

    for number, probe in enumerate(probes):
        similar = scores.vectors[gallery] @ scores.vectors[probe]
        order = np.argsort(-similar)
        place = np.flatnonzero(scores.people[gallery][order] == scores.people[probe])
        assert found.rank[number] == (place[0] + 1 if len(place) else 0)
        others = similar[scores.people[gallery] != scores.people[probe]]
        assert found.rival[number] == pytest.approx(others.max(), abs=1e-6)
        assert np.isfinite(found.mate[number]) == enrolled[number]


def test_one_image_is_enrolled_and_never_searched_for(people):
    scores = score_faces(*people())
    gallery, probes, enrolled = enrol(scores, np.array([3, 7]), np.random.default_rng(0))

    assert scores.people[gallery].tolist() == [3, 7]
    assert not set(gallery) & set(probes)
    assert enrolled.sum() == 2 * 3
    assert (~enrolled).sum() == 58 * 4


def test_a_person_with_very_many_images_counts_a_few_times(people):
    vectors, names = people(people=20, images=30)
    scores = score_faces(vectors, names)

    _, probes, enrolled = enrol(scores, np.arange(10), np.random.default_rng(0))

    assert np.bincount(scores.people[probes]).tolist() == [PROBES_PER_PERSON] * 20
    assert enrolled.sum() == 10 * PROBES_PER_PERSON


def test_cmc_rises_to_what_the_ranks_say(people):
    scores = score_faces(*people(noise=0.35))

    found = closed_set(scores)

    ranks = closed_searches(scores).rank
    assert found.gallery_size == 60
    assert found.probes == len(ranks) == 180
    for point in found.cmc:
        assert point.rate.value == pytest.approx((ranks <= point.rank).mean())
        assert point.rate.low <= point.rate.value <= point.rate.high
    assert found.rank_1.value < found.cmc[-1].rate.value


def test_ties_do_not_flatter(people):
    vectors, names = people(people=12, images=4)
    same = np.repeat(vectors[:1], len(vectors), axis=0)  # every face is the same face

    found = closed_set(score_faces(same, names))

    assert found.rank_1.value == 0


def test_nobody_twice_means_no_ranks(people):
    vectors, names = people(people=80, images=1)
    vectors, names = np.concatenate((vectors, vectors[:1])), [*names, names[0]]
    assert closed_set(score_faces(vectors, names)) is not None
    # the only person with two images stands for somebody else
    scores = score_faces(vectors, names, one_person=[("P001", "P000")])
    assert closed_set(scores) is None


def test_thresholds_keep_the_false_positives_promised(people):
    scores = score_faces(*people(people=120, images=4, noise=0.2))

    for point in open_set(scores, 30, (0.1, 0.02, 1e-4)):
        if point.target_fpir == 1e-4:
            assert not point.supported
            assert (point.threshold, point.fnir) == (None, None)
            assert "rule of three" in point.note
            continue
        assert point.supported
        assert point.fnir.low <= point.fnir.value <= point.fnir.high
        rng = np.random.default_rng([0, 30])
        wrong, missed = [], []
        for _ in range(point.galleries):  # the same galleries, searched by brute force
            enrolled = np.sort(rng.choice(120, 30, replace=False))
            gallery, probes, known = enrol(scores, enrolled, rng)
            similar = scores.vectors[probes] @ scores.vectors[gallery].T
            best = similar.max(1)
            right = enrolled[similar.argmax(1)] == scores.people[probes]
            wrong += (best[~known] >= point.threshold).tolist()
            missed += (~(right & (best >= np.float32(point.threshold))))[known].tolist()
        assert np.mean(wrong) <= point.target_fpir + 1e-9
        assert np.mean(missed) == pytest.approx(point.fnir.value, abs=1e-9)


def test_larger_galleries_are_harder_and_the_same_seed_gives_the_same(people):
    scores = score_faces(*people(people=150, images=3, noise=0.26))

    found = identify(scores, sizes=(10, 100, 1000), target_fpirs=(0.02,))

    assert [point.gallery_size for point in found.open_set] == [10, 100]  # 1000 do not exist
    small, large = found.open_set
    assert large.threshold > small.threshold
    assert large.fnir.value > small.fnir.value
    assert identify(scores, sizes=(10, 100, 1000), target_fpirs=(0.02,)) == found


def test_the_calibrated_threshold_of_the_gallery_is_put_to_the_test(people):
    # calibrated on other people than those searched for
    own = score_faces(*people(people=150, images=3, noise=0.2, seed=11))
    calibration = calibration_of(own, contract="c" * 64, dataset="made")
    scores = score_faces(*people(people=150, images=3, noise=0.2, seed=12))

    (point,) = open_set(scores, 50, (0.05,), calibration)

    assert point.deployed is not None
    assert point.deployed.fpir.low <= 0.05 <= point.deployed.fpir.high
    assert point.deployed.fnir.value == pytest.approx(point.fnir.value, abs=0.05)
