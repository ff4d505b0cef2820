import numpy as np
import pytest
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import from_numpy

from facecore.lifecycle.evaluation.box_matching import (
    IOUS,
    MatchedDetections,
    match_boxes,
    overlaps,
)
from facecore.lifecycle.evaluation.detector_evaluation import torchmetrics_precision

NOTHING = np.zeros((0, 4), np.float32)


def made(seed, images=6):
    rng = np.random.default_rng(seed)
    found, truth = [], []
    for _ in range(images):
        corner = rng.uniform(0, 60, (rng.integers(0, 5), 2))
        boxes = np.concatenate((corner, corner + rng.uniform(10, 40, (len(corner), 2))), 1)
        copies = np.repeat(boxes, rng.integers(0, 3), axis=0)
        moved = copies + rng.normal(0, 3, copies.shape)
        stray = rng.uniform(0, 60, (rng.integers(0, 3), 2))
        other = np.concatenate((stray, stray + 20), 1)
        all_boxes = np.concatenate((moved, other)).astype(np.float32)
        # ties on purpose
        scores = rng.choice(np.linspace(0.1, 1, 12), len(all_boxes)).astype(np.float32)
        order = np.argsort(-scores, kind="stable")
        found.append((all_boxes[order], scores[order]))
        truth.append(boxes.astype(np.float32))
    return found, truth


def test_overlaps_are_those_of_torchvision():
    (boxes, _), truth = (one[1] for one in made(4))
    boxes = np.concatenate((boxes, truth, [[5, 5, 5, 9]])).astype(np.float32)
    expected = torchvision.ops.box_iou(from_numpy(boxes), from_numpy(truth)).numpy()
    assert overlaps(boxes, truth) == pytest.approx(expected, abs=1e-6)
    assert overlaps(NOTHING, truth).shape == (0, len(truth))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000))
def test_average_precision_is_that_of_torchmetrics(seed):
    found, truth = made(seed)
    if not sum(map(len, truth)) or not sum(len(boxes) for boxes, _ in found):
        return

    matched = MatchedDetections.of(
        [match_boxes(*one, true) for one, true in zip(found, truth, strict=True)]
    )

    assert matched.average_precision() == pytest.approx(
        torchmetrics_precision(found, truth), abs=1e-6
    )


def test_an_image_drawn_twice_counts_twice():
    found, truth = made(1, images=4)
    matched = MatchedDetections.of(
        [match_boxes(*one, true) for one, true in zip(found, truth, strict=True)]
    )
    twice = [0, 0, 2, 3, 3, 3]

    weighted = matched.average_precision(np.bincount(twice, minlength=4))

    copies = MatchedDetections.of([match_boxes(*found[i], truth[i]) for i in twice])
    # Among equal scores the order of copies differs, so compare where none tie.
    if len(np.unique(matched.scores)) == len(matched.scores):
        assert weighted == pytest.approx(copies.average_precision())
    assert weighted != matched.average_precision()


def test_each_true_box_is_given_once_to_the_best_score():
    truth = np.array([[0, 0, 10, 10]], np.float32)
    boxes = np.array([[0, 0, 10, 9], [0, 0, 10, 10], [50, 50, 60, 60]], np.float32)

    found = match_boxes(boxes, np.array([0.5, 0.9, 0.7], np.float32), truth)

    assert found.order.tolist() == [1, 2, 0]
    assert found.given[0].tolist() == [0, -1, -1]
    assert found.given[IOUS.index(0.95)].tolist() == [0, -1, -1]


def test_more_than_a_hundred_faces_in_an_image_all_count():
    corner = np.stack(np.meshgrid(np.arange(15) * 20.0, np.arange(15) * 20.0), -1).reshape(-1, 2)
    boxes = np.concatenate((corner, corner + 15), 1).astype(np.float32)
    scores = np.linspace(1, 0.5, len(boxes)).astype(np.float32)

    assert torchmetrics_precision([(boxes, scores)], [boxes]) == pytest.approx((1, 1))


def test_nothing_found_or_nothing_there():
    nothing = match_boxes(NOTHING, np.zeros(0, np.float32), NOTHING)
    truth = match_boxes(NOTHING, np.zeros(0, np.float32), np.array([[0, 0, 9, 9]], np.float32))
    assert MatchedDetections.of([nothing, truth]).average_precision() == (0, 0)
    boxes, scores = np.array([[0, 0, 9, 9]], np.float32), np.ones(1, np.float32)
    assert match_boxes(boxes, scores, NOTHING).given.tolist() == [[-1]] * len(IOUS)
