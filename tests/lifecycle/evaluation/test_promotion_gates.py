from dataclasses import replace

import pytest

from facecore.errors import UsageError
from facecore.lifecycle.evaluation import GateLimits, compare, gates, passed
from facecore.lifecycle.evaluation.cost import Cost, ModelCost
from facecore.lifecycle.evaluation.slices import Ratio


def cost(ratio):
    one = ModelCost("face-embedder/2", 100, 1000, 10.0 * ratio, 1.0, 99.0)
    other = ModelCost("face-embedder/1", 100, 1000, 10.0, 1.0, 99.0)
    return Cost(one, other, ratio, ratio, ratio, 7, "cpu", 1)


def named(results, name):
    return next(result for result in results if result.name == name)


def with_ratio(evaluation, **ratios):
    return replace(evaluation, slices=(replace(evaluation.slices[0], **ratios),))


def test_a_worse_model_is_blocked_and_the_sentence_says_why(evaluated):
    champion, challenger = evaluated

    results = gates(challenger, champion)

    accuracy = named(results, "accuracy")
    assert not accuracy.passed
    assert not passed(results)
    assert accuracy.value == compare(champion, challenger).primary.gain
    assert accuracy.limit == -0.01
    assert "TAR at FAR 0.001" in accuracy.reason
    assert "95 % interval" in accuracy.reason
    assert named(gates(challenger, champion, GateLimits(accuracy_margin=1)), "accuracy").passed
    assert named(gates(champion, champion), "accuracy").passed


def test_a_loss_that_the_data_do_not_exclude_is_said(evaluated):
    champion, challenger = evaluated
    comparison = compare(champion, challenger)
    margin = -comparison.primary.difference.low * 0.999  # between the value and its lower bound

    result = named(
        gates(challenger, champion, GateLimits(accuracy_margin=margin), comparison=comparison),
        "accuracy",
    )

    assert result.passed
    assert "do not exclude" in result.reason


def test_unfair_error_rates_block_where_the_counts_support_it(evaluated):
    unfair = Ratio(12.0, "night", "day", True, ("day", "night"))
    limits = GateLimits(fmr_ratio=10, fnmr_ratio=5)

    blocked = gates(with_ratio(evaluated[0], fmr_ratio=unfair), None, limits)
    assert not named(blocked, "fairness: FMR by source").passed
    assert "night is 12.0 times that of day" in named(blocked, "fairness: FMR by source").reason

    unsure = replace(unfair, distinct=False)
    allowed = gates(with_ratio(evaluated[0], fmr_ratio=unsure), None, limits)
    assert named(allowed, "fairness: FMR by source").passed
    assert "overlap" in named(allowed, "fairness: FMR by source").reason

    silent = Ratio(None, note="1 of 2 groups have enough people")
    nothing = named(
        gates(with_ratio(evaluated[0], fnmr_ratio=silent), None, limits), "fairness: FNMR by source"
    )
    assert nothing.passed
    assert nothing.value is None
    assert "no statement" in nothing.reason


def test_a_slow_model_is_blocked(evaluated):
    results = gates(evaluated[0], evaluated[0], cost=cost(0.25))
    latency = named(results, "latency")
    assert (latency.value, latency.limit, latency.passed) == (4.0, 2.0, False)
    assert "alternating rounds" in latency.reason
    assert named(gates(evaluated[0], evaluated[0], cost=cost(0.8)), "latency").passed
    any_speed = GateLimits(slowdown=None)
    assert named(gates(evaluated[0], evaluated[0], any_speed, cost=cost(0.01)), "latency").passed


def test_detectors_are_held_against_their_missed_faces(detected):
    champion, challenger = detected
    results = gates(challenger, champion)
    assert not named(results, "accuracy").passed
    assert named(results, "fairness: missed faces by source").limit == 5


def test_limits_that_mean_nothing_are_refused():
    for wrong in ({"accuracy_margin": -0.1}, {"fmr_ratio": 0.5}, {"slowdown": 0.0}):
        with pytest.raises(UsageError, match=r"margin|ratio"):
            GateLimits(**wrong)
