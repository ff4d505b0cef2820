import json

import numpy as np
import pytest
from scipy.stats import norm

from facecore.errors import UsageError
from facecore.lifecycle.score_distribution import (
    ImpostorScores,
    ScoredPairs,
    cross_identity_scores,
    genuine_scores,
)
from facecore.lifecycle.thresholds import (
    Calibration,
    ThresholdPoint,
    calibrate,
    threshold_at,
    threshold_for_gallery,
)

IMPOSTORS = 14_000_000


def calibration_of_gaussian_impostors(sigma=0.1) -> Calibration:
    rates = [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 3 / IMPOSTORS]
    thresholds = [round(float(norm.isf(r) * sigma), 4) for r in rates]
    points = tuple(
        ThresholdPoint(r, t, t - 0.005, t + 0.01, "people bootstrap", int(r * IMPOSTORS), 0, 0, 0)
        for r, t in zip(rates, thresholds, strict=True)
    )
    return Calibration(
        "c" * 64, "made", 5000, 2000, 0, 9000, IMPOSTORS, 3 / IMPOSTORS, points, {"by": "test"}
    )


def measured(people=120, images=5, noise=0.08, seed=3):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(people, 64))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    vectors = np.repeat(centres, images, axis=0)
    vectors = vectors + rng.normal(size=vectors.shape) * noise
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    owner = np.repeat(np.arange(people), images)
    impostors = ImpostorScores()
    for part in cross_identity_scores(vectors, owner):
        impostors.add(part)
    return genuine_scores(vectors, owner), impostors, np.bincount(owner)


def test_table_goes_down_to_what_the_impostors_support_and_keeps_its_promise():
    genuine, impostors, images = measured()

    points = calibrate(genuine, impostors, images)

    total = impostors.total
    assert total == 600 * 599 // 2 - 120 * 10
    assert points[-1].fmr == 3 / total
    assert all(p.matches <= p.fmr * total + 1e-6 for p in points)
    assert [p.threshold for p in points] == sorted(p.threshold for p in points)
    assert all(p.low <= p.threshold <= p.high for p in points)
    assert all(p.fnmr_low <= p.fnmr <= p.fnmr_high + 1e-6 for p in points)
    strictest = points[-1]
    assert strictest.fnmr == (genuine.scores < strictest.threshold).mean()


def test_intervals_come_from_people_and_are_wider_than_independent_pairs_would_give():
    genuine, impostors, images = measured()

    point = next(p for p in calibrate(genuine, impostors, images) if p.fmr == 1e-3)

    count = point.fmr * impostors.total
    naive = impostors.threshold_for_count(count - 2 * count**0.5) - impostors.threshold_for_count(
        count + 2 * count**0.5
    )
    assert point.interval == "people bootstrap"
    assert point.high - point.low > 1.5 * naive


def test_intervals_cover_the_truth():
    # Impostor scores of a known law: σ of the cosine of random directions in 64-d is 1/8.
    truth = norm.isf(1e-2) / 8
    covered = 0
    for seed in range(20):
        genuine, impostors, images = measured(people=60, images=1, seed=seed)
        genuine = ScoredPairs(np.ones(1, np.float32), np.zeros(1, np.int64), np.zeros(1, np.int64))
        point = next(p for p in calibrate(genuine, impostors, images) if p.fmr == 1e-2)
        covered += point.low <= truth <= point.high
    assert covered >= 15


def test_a_tail_too_short_for_a_rate_says_that_its_interval_is_binomial():
    genuine, impostors, images = measured()
    short = ImpostorScores(keep=500)
    short.add(impostors.tail())

    kinds = {p.fmr: p.interval for p in calibrate(genuine, short, images)}

    assert kinds[1e-1] == "binomial"
    assert kinds[1e-4] == "people bootstrap"


def test_too_few_comparisons_are_refused():
    genuine, impostors, images = measured(people=3, images=2)
    with pytest.raises(UsageError, match="too few"):
        calibrate(genuine, impostors, images)
    genuine, impostors, images = measured(people=60, images=1)
    with pytest.raises(UsageError, match="0 genuine"):
        calibrate(genuine, impostors, images)


def test_json_round_trip():
    calibration = calibration_of_gaussian_impostors()

    assert Calibration.from_json(json.loads(json.dumps(calibration.to_json()))) == calibration


@pytest.mark.parametrize("fault", ["no points", "unknown field", "not monotonic"])
def test_a_damaged_calibration_is_refused(fault):
    document = calibration_of_gaussian_impostors().to_json()
    if fault == "no points":
        document["points"] = []
    elif fault == "unknown field":
        document["surprise"] = 1
    else:
        document["points"][2]["threshold"] = 0.9

    with pytest.raises(UsageError):
        Calibration.from_json(document)


def test_threshold_at_interpolates_and_refuses_what_is_not_supported():
    calibration = calibration_of_gaussian_impostors()

    assert threshold_at(calibration).threshold == pytest.approx(norm.isf(1e-3) / 10, abs=1e-4)
    between = threshold_at(calibration, 3e-4).threshold
    assert calibration.points[2].threshold < between < calibration.points[3].threshold
    assert threshold_at(calibration, 0.5).threshold == calibration.points[0].threshold
    with pytest.raises(UsageError, match=r"14,000,000 impostor comparisons .* 2\.1e-07"):
        threshold_at(calibration, 1e-7)
    with pytest.raises(UsageError, match="lies in"):
        threshold_at(calibration, 0.0)


@pytest.mark.parametrize("size", [1, 10, 1000, 30_000])
def test_gallery_threshold_gives_the_fpir_asked_for(size):
    found = threshold_for_gallery(calibration_of_gaussian_impostors(), 0.01, size)

    assert not found.extrapolated
    assert 1 - (1 - found.fmr) ** size == pytest.approx(0.01)
    true_fmr = norm.sf(found.threshold / 0.1)
    assert 1 - (1 - true_fmr) ** size == pytest.approx(0.01, rel=0.3)
    assert (found.target_fpir, found.gallery_size) == (0.01, size)


@pytest.mark.parametrize("size", [10**5, 10**6, 10**8])
def test_beyond_the_support_the_extrapolation_is_on_the_safe_side(size):
    found = threshold_for_gallery(calibration_of_gaussian_impostors(), 0.01, size)

    assert found.extrapolated
    assert found.fmr < found.supported_fmr
    true_fpir = 1 - (1 - norm.sf(found.threshold / 0.1)) ** size
    assert true_fpir < 0.01
    assert found.low < found.threshold <= 1.0


def test_gallery_thresholds_rise_with_the_gallery():
    calibration = calibration_of_gaussian_impostors()

    sizes = [0, 1, 10, 100, 10**3, 10**4, 20_000, 10**5, 10**6, 10**9]
    found = [threshold_for_gallery(calibration, 0.01, n).threshold for n in sizes]

    assert found == sorted(found)
    with pytest.raises(UsageError):
        threshold_for_gallery(calibration, 1.0, 10)
    with pytest.raises(UsageError):
        threshold_for_gallery(calibration, 0.01, -1)
