import pytest
from scipy.stats import binomtest

from facecore.lifecycle.intervals import proportion, supported_rate


@pytest.mark.parametrize(("count", "trials"), [(0, 10), (3, 1000), (10, 10), (1481, 1500)])
def test_proportion_is_clopper_pearson(count, trials):
    reference = binomtest(count, trials).proportion_ci(0.95, method="exact")

    found = proportion(count, trials)

    assert found.value == count / trials
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_impossible_proportions_are_refused():
    for count, trials in [(1, 0), (-1, 5), (6, 5)]:
        with pytest.raises(ValueError, match="not a proportion"):
            proportion(count, trials)


def test_rule_of_three_bounds_the_exact_interval():
    for trials in (100, 1500, 10**6):
        exact_one_sided = 1 - 0.05 ** (1 / trials)
        assert supported_rate(trials) == pytest.approx(exact_one_sided, rel=0.03)
    assert supported_rate(0) == supported_rate(2) == 1.0
