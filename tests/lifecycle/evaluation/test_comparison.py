import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from facecore.errors import UsageError
from facecore.lifecycle.evaluation import compare, evaluate_embedder


def test_the_difference_is_that_of_the_two_and_its_interval_holds_it(evaluated):
    champion, challenger = evaluated

    found = compare(champion, challenger)

    assert found.primary.measure == "TAR at FAR 0.001"
    tar = [
        next(p.tar.value for p in one.verification.tar_at_far if p.far == 1e-3) for one in evaluated
    ]
    assert (found.primary.champion, found.primary.challenger) == pytest.approx(tuple(tar))
    assert found.primary.difference.value == pytest.approx(tar[1] - tar[0])
    assert found.primary.gain < 0
    names = {one.measure: one for one in found.others}
    assert names["equal error rate"].better == "lower"
    assert names["equal error rate"].gain < 0
    ranks = [one.identification.closed_set.rank_1.value for one in evaluated]
    assert names["rank 1"].difference.value == pytest.approx(ranks[1] - ranks[0])
    for one in (found.primary, *found.others):
        assert one.difference.low <= one.difference.value <= one.difference.high
    json.dumps(found.to_json())


def test_a_model_beside_itself_differs_by_nothing(evaluated):
    found = compare(evaluated[0], evaluated[0])
    for one in (found.primary, *found.others):
        assert (one.difference.low, one.difference.value, one.difference.high) == (0, 0, 0)


def test_pairing_makes_the_interval_narrower_than_two_intervals_apart(snapshot, embed, evaluated):
    made, vectors = snapshot
    noise = np.random.default_rng(2).normal(size=vectors.shape)
    nearly = vectors + 0.02 * noise
    nearly /= np.linalg.norm(nearly, axis=1, keepdims=True)
    other = evaluate_embedder(embed(nearly.astype(np.float32)), made)

    found = compare(evaluated[0], other).primary.difference

    spreads = [
        next(p.tar.high - p.tar.low for p in one.verification.tar_at_far if p.far == 1e-3)
        for one in (evaluated[0], other)
    ]
    assert found.high - found.low < 0.8 * sum(spreads)


def test_other_data_and_other_kinds_are_refused(evaluated, detected):
    with pytest.raises(UsageError, match="Evaluate both on the same split"):
        compare(evaluated[0], replace(evaluated[1], digest="ef" * 32))
    with pytest.raises(UsageError, match="was measured on"):
        compare(evaluated[0], replace(evaluated[1], split="val"))
    same = replace(detected[0], digest=evaluated[0].digest)
    with pytest.raises(UsageError, match="a detector cannot be compared with a embedder"):
        compare(evaluated[0], same)


def test_detectors_are_compared_on_the_same_images(scenes):
    from facecore.lifecycle.evaluation import evaluate_detector

    made, good = scenes(miss=0.05)
    _, bad = scenes(miss=0.5)
    champion, challenger = (evaluate_detector(one, made) for one in (good, bad))

    found = compare(champion, challenger)

    assert found.resampled == "images"
    assert found.primary.measure == "AP@0.5"
    assert found.primary.difference.high < 0  # really worse
    assert norm.ppf(0.975) > 1.9  # the intervals are two-sided 95 %
