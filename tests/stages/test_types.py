"""What was checked as a whole is divided without being checked again."""

import numpy as np
import pytest

from facecore.errors import ShapeError
from facecore.types import Contract, Detections, Embeddings, FaceCrops

COUNTS = [2, 0, 1]


def test_dividing_gives_what_each_image_had():
    rng = np.random.default_rng(0)
    boxes, scores = rng.random((3, 4), np.float32), rng.random(3, np.float32)
    landmarks = rng.random((3, 5, 2), np.float32)
    several = Detections(boxes, scores, landmarks).split(COUNTS)
    assert [len(one) for one in several] == COUNTS
    for part, where in zip(several, (slice(0, 2), slice(2, 2), slice(2, 3)), strict=True):
        made = Detections(boxes[where], scores[where], landmarks[where])
        for name in ("boxes", "scores", "landmarks"):
            np.testing.assert_array_equal(getattr(part, name), getattr(made, name))
    joined = Detections.join(several)
    np.testing.assert_array_equal(joined.boxes, boxes)
    without = Detections(boxes, scores).split(COUNTS)
    assert [one.landmarks for one in without] == [None] * 3


def test_crops_and_embeddings():
    contract = Contract("sface", "0" * 64, 2, "0" * 64)
    vectors = Embeddings(np.array([[1, 0], [0, 1], [-1, 0]], np.float32), contract)
    divided = vectors.split(COUNTS)
    assert [one.vectors.tolist() for one in divided] == [[[1, 0], [0, 1]], [], [[-1, 0]]]
    assert all(one.contract is contract for one in divided)
    crops = FaceCrops(np.zeros((3, 112, 112, 3), np.uint8)).split(COUNTS)
    assert [one.pixels.shape for one in crops] == [(n, 112, 112, 3) for n in COUNTS]


@pytest.mark.parametrize("counts", [[1, 1], [2, 2], []])
def test_counts_must_add_up(counts):
    with pytest.raises(ShapeError, match="a sum of 3"):
        FaceCrops(np.zeros((3, 112, 112, 3), np.uint8)).split(counts)
