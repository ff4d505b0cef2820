"""What is particular to SSD: its trunk and its default boxes."""

import copy
import math

import pytest
import torch
import torchvision
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSDFeatureExtractorVGG

from facecore.zoo import registry
from facecore.zoo.default_boxes import DefaultBoxes
from facecore.zoo.ssd_vgg import VGGFeatures


def test_the_trunk_of_ssd_is_torchvisions():
    """Width 1 without batch norm: the same parameters in the same order, the same features."""
    ours = VGGFeatures(width=1.0, batch_norm=False).eval()
    with torch.device("meta"):  # without spending seconds on numbers that are replaced
        layers = torchvision.models.vgg16(weights=None, init_weights=False).features
        theirs = SSDFeatureExtractorVGG(layers, False).eval()
    state = dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True))
    theirs.load_state_dict(state, assign=True)
    image = torch.rand(1, 3, 300, 300)
    with torch.inference_mode():
        expected, got = theirs(image), ours(image)
    assert [m.shape[-1] for m in got.values()] == [38, 19, 10, 5, 3, 1]
    for key, features in expected.items():
        torch.testing.assert_close(got[key], features, rtol=1e-3, atol=1e-4)


def default_boxes(network):
    """All default boxes of an SSD, px."""
    side = network.side
    images = ImageList(torch.zeros(1, 3, side, side), [(side, side)])
    network = copy.deepcopy(network).eval()
    with torch.inference_mode():
        features = list(network.network.backbone(images.tensors).values())
    (boxes,) = network.network.anchor_generator(images, features)
    return boxes


@pytest.mark.parametrize(("name", "options"), [("ssd", {"width": 0.125}), ("ssdlite", {})])
def test_default_boxes_come_near_any_face(name, options):
    network = registry.create(name, **options)
    side = network.side
    boxes = default_boxes(network)
    torch.manual_seed(0)
    height = torch.logspace(math.log10(24), math.log10(0.9 * side), 400)
    size = torch.stack([0.77 * height, height], 1)
    corner = torch.rand(400, 2) * (side - size)
    best = torchvision.ops.box_iou(torch.cat([corner, corner + size], 1), boxes).amax(1)
    assert float(best.mean()) > 0.65
    assert float((best >= 0.5).float().mean()) > 0.93
    assert float(best.min()) > 0.35


def test_default_boxes_lie_where_torchvisions_do():
    """Density 1: the same centres in the same order; size and form are ours."""
    features = [torch.zeros(1, 1, 3, 4), torch.zeros(1, 1, 1, 2)]
    images = ImageList(torch.zeros(2, 3, 60, 80), [(60, 80), (60, 80)])
    for steps in (None, (20, 50)):
        theirs = DefaultBoxGenerator([[], []], scales=[0.2, 0.4, 0.6], steps=steps, clip=False)
        ours = DefaultBoxes((((0.2, 1), (0.3, 1)), ((0.4, 1), (0.5, 1))), steps)
        assert ours.num_anchors_per_location() == theirs.num_anchors_per_location()
        for expected, got in zip(theirs(images, features), ours(images, features), strict=True):
            centres = ((b[:, :2] + b[:, 2:]) / 2 for b in (expected, got))
            torch.testing.assert_close(*centres)
    width, height = (got[0, 2:] - got[0, :2]).tolist()
    assert width * height == pytest.approx(0.2 * 80 * 0.2 * 60, rel=1e-4)
    assert (width / 80) / (height / 60) == pytest.approx(0.8)


def test_dense_default_boxes_by_hand():
    boxes = DefaultBoxes((((0.5, 2),),))
    assert boxes.num_anchors_per_location() == [4]
    images = ImageList(torch.zeros(1, 3, 40, 40), [(40, 40)])
    (got,) = boxes(images, [torch.zeros(1, 1, 1, 2)])
    centres = ((got[:, :2] + got[:, 2:]) / 2).tolist()
    assert centres[:4] == [[5, 10], [15, 10], [5, 30], [15, 30]]
    assert centres[4:] == [[25, 10], [35, 10], [25, 30], [35, 30]]
