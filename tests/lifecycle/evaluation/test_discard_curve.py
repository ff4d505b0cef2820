import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facecore.errors import UsageError
from facecore.lifecycle.evaluation.discard_curve import discard_curve


def test_a_quality_that_knows_everything_is_the_ideal_and_one_that_knows_nothing_stays():
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 1, 4000).astype(np.float32)

    perfect = discard_curve(scores, scores, 0.1, name="the score itself")
    blind = discard_curve(scores, rng.random(4000), 0.1, name="dice")

    for point in perfect.points:
        assert point.fnmr.value == pytest.approx(point.ideal)
    assert perfect.relative_area < 0.4
    assert blind.relative_area == pytest.approx(1, abs=0.1)
    assert blind.points[0].fnmr.value == pytest.approx(0.1, abs=0.02)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 1)), min_size=1, max_size=60))
def test_each_point_is_the_rate_of_what_is_left(pairs):
    scores = np.array([score for score, _ in pairs], np.float32)
    quality = np.array([value for _, value in pairs])

    found = discard_curve(scores, quality, 0.2, name="q")

    order = np.argsort(quality, kind="stable")
    for point in found.points:
        kept = order[min(int(point.share * len(pairs)), len(pairs) - 1) :]
        assert point.fnmr.value == pytest.approx((scores[kept] < np.float32(0.2)).mean())
        assert point.ideal <= point.fnmr.value + 1e-12


def test_nothing_missed_has_no_area_and_bad_input_is_refused():
    scores = np.full(10, 0.9, np.float32)
    assert discard_curve(scores, np.arange(10), 0.5, name="q").relative_area is None
    with pytest.raises(UsageError, match="10 genuine comparisons"):
        discard_curve(scores, np.full(10, np.nan), 0.5, name="q")
    with pytest.raises(UsageError, match="0 genuine"):
        discard_curve(scores[:0], scores[:0], 0.5, name="q")
