"""What is particular to R-CNN: its classifier, its training regions."""

import copy
import math

import pytest
import torch

from facecore.zoo import registry
from facecore.zoo.rcnn import BACKGROUND, FACE, RCNN, best_overlaps, class_probabilities


@pytest.fixture(scope="module")
def rcnn():
    """A small one in training mode; tests copy it."""
    torch.manual_seed(0)
    return registry.create("rcnn", width=8, regions_per_image=16).train()


def test_the_classifier_is_the_softmax_of_the_paper(rcnn):
    network = copy.deepcopy(rcnn).eval()
    torch.nn.init.normal_(network.classify.weight)
    torch.nn.init.normal_(network.classify.bias)
    warped = torch.rand(6, 3, 48, 48)
    with torch.inference_mode():
        probabilities = class_probabilities(network(warped)[0]).double()
        features = network.features((warped - 0.5) / 0.25).double().numpy()
    weights = network.classify.weight.detach().double().numpy()
    bias = network.classify.bias.detach().double().numpy()
    for x, got in zip(features, probabilities, strict=True):
        exponents = [math.exp(weights[c] @ x + bias[c]) for c in (BACKGROUND, FACE)]
        expected = [e / sum(exponents) for e in exponents]
        assert got.tolist() == pytest.approx(expected, abs=1e-5)


def test_suppression_keeps_the_better_of_two_and_both_of_two_apart(rcnn, no_face):
    network = copy.deepcopy(rcnn).eval()
    proposals = torch.tensor([[10, 10, 50, 60], [12, 10, 52, 60], [120, 80, 160, 130.0]])
    network._proposals = lambda image: proposals
    network._judge = lambda pixels, boxes: (
        torch.tensor([0.6, 0.9, 0.5])[: len(boxes)],
        torch.zeros(len(boxes), 4),
    )
    network._passes = 1
    (found,) = network.find([no_face(160, 200)[0]])
    assert found["boxes"].tolist() == [[12, 10, 52, 60], [120, 80, 160, 130]]
    assert found["scores"].tolist() == pytest.approx([0.9, 0.5])


def test_overlaps_and_labels(rcnn):
    true = torch.tensor([[0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 70.0, 70.0]])
    proposals = torch.tensor(
        [
            [0.0, 0.0, 10.0, 10.0],  # the face itself
            [0.0, 0.0, 10.0, 20.0],  # IoU 0.5: a face
            [0.0, 0.0, 10.0, 25.0],  # IoU 0.4: neither
            [51.0, 50.0, 71.0, 70.0],  # the other face
            [80.0, 80.0, 90.0, 90.0],  # background
        ]
    )
    overlap, matched = best_overlaps(proposals, true)
    assert overlap.tolist() == pytest.approx([1, 0.5, 0.4, 19 / 21, 0], abs=1e-6)
    assert matched[[0, 1, 3]].tolist() == [0, 0, 1]

    network = copy.deepcopy(rcnn)
    chosen, labels, _ = network._sample(torch.rand(3, 100, 100), proposals, true)

    assert dict(zip(chosen.tolist(), labels.tolist(), strict=True)) == {
        0: FACE,
        1: FACE,
        3: FACE,
        4: BACKGROUND,
    }
    assert network.training
    assert best_overlaps(proposals, torch.zeros(0, 4))[0].tolist() == [0] * 5


def test_hard_background_is_learned_from(rcnn, scattered_boxes):
    network = copy.deepcopy(rcnn)
    proposals = scattered_boxes(300)
    hardness = torch.rand(300)
    network._judge = lambda pixels, boxes: (
        (proposals[None] == boxes[:, None]).all(2).float() @ hardness,
        boxes,
    )
    chosen, labels, _ = network._sample(torch.rand(3, 300, 300), proposals, torch.zeros(0, 4))
    assert not labels.any()
    assert len(chosen) <= network._regions_per_image
    assert hardness[chosen].mean() > hardness.mean() + 0.1


def test_it_is_small():
    assert sum(p.numel() for p in RCNN().parameters()) < 1_000_000
