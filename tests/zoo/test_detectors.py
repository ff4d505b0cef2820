"""Every detector that finds regions, by one set of tests, and what is particular to each."""

import copy
import math

import numpy as np
import pytest
import torch
import torchvision
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSDFeatureExtractorVGG

from facecore.errors import ConfigError, DigestMismatch, ShapeError, UsageError, WeightsError
from facecore.zoo import registry
from facecore.zoo.box_coding import WEIGHTS, decode, encode, expand
from facecore.zoo.default_boxes import DefaultBoxes
from facecore.zoo.landmark_head import MEAN_FACE, LandmarkHead, warp
from facecore.zoo.proposals import ProposalCache, selective_search
from facecore.zoo.rcnn import BACKGROUND, FACE, RCNN, best_overlaps, class_probabilities
from facecore.zoo.region_detector import fitted
from facecore.zoo.ssd_vgg import VGGFeatures

# Sizes that are quick; everything else as by default.
OPTIONS = {
    "rcnn": {"width": 8, "regions_per_image": 16},
    "faster-rcnn": {"side": 128, "channels": 32, "representation": 32},
    "ssd": {"width": 0.125},
    "ssdlite": {},
}
BOX = (60.0, 40.0, 114.0, 108.0)


def drawn_face(height=160, width=200, box=BOX):
    """A face that anyone sees: oval, eyes, mouth. uint8 [3, h, w] and its target."""
    import cv2

    rng = np.random.default_rng(0)
    image = rng.integers(60, 90, (height, width, 3), dtype=np.uint8)
    x1, y1, x2, y2 = box
    w, h = x2 - x1, y2 - y1
    middle = (int((x1 + x2) / 2), int((y1 + y2) / 2))
    cv2.ellipse(image, middle, (int(w / 2), int(h / 2)), 0, 0, 360, (214, 170, 140), -1)
    points = [(x1 + u * w, y1 + v * h) for u, v in MEAN_FACE]
    for x, y in points:
        cv2.circle(image, (int(x), int(y)), max(1, int(w / 14)), (60, 30, 30), -1)
    target = {"boxes": torch.tensor([box]), "landmarks": torch.tensor([points])}
    return torch.from_numpy(image).permute(2, 0, 1).contiguous(), target


def no_face(height=120, width=90):
    image = torch.full((3, height, width), 128, dtype=torch.uint8)
    return image, {"boxes": torch.zeros(0, 4), "landmarks": torch.zeros(0, 5, 2)}


@pytest.fixture(scope="module")
def made():
    """One network of each kind, in training mode; tests copy what they change."""
    networks = {}
    for name, options in OPTIONS.items():
        torch.manual_seed(0)
        networks[name] = registry.create(name, **options).train()
    return networks


@pytest.fixture(params=OPTIONS)
def name(request):
    return request.param


@pytest.fixture
def network(made, name):
    return copy.deepcopy(made[name])


def test_registered_with_card_and_licence(name):
    spec = registry.spec(name)
    assert spec.task == "detect"
    assert spec.licence
    assert spec.source_sha256 is None
    assert "**Limits.**" in spec.card
    assert spec.paper.split(",")[0].split(" et")[0] in spec.card


def test_losses_are_finite_and_reach_every_parameter(network):
    images, targets = zip(drawn_face(), drawn_face(240, 320, (20, 30, 200, 230)), strict=True)

    losses = network.losses(images, targets)

    assert "landmarks" in losses
    assert all(value.ndim == 0 and math.isfinite(value.item()) for value in losses.values())
    sum(losses.values()).backward()
    without = [key for key, p in network.named_parameters() if p.grad is None]
    assert not without
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters())


def test_one_image_and_images_without_faces_can_be_learned_from(network):
    for batch in ([drawn_face()], [no_face(), no_face(200, 120)], [drawn_face(), no_face()]):
        losses = network.losses(*zip(*batch, strict=True))
        total = sum(losses.values())
        assert math.isfinite(total.item())
        total.backward()


def test_unknown_landmarks_do_not_count(network):
    image, target = drawn_face()
    nothing_known = {**target, "landmarks": torch.full((1, 5, 2), math.nan)}
    losses = network.losses([image, image], [nothing_known] * 2)
    assert losses["landmarks"].item() == 0.0
    sum(losses.values()).backward()
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters())

    some_known = {**target, "landmarks": target["landmarks"].clone()}
    some_known["landmarks"][0, 2] = math.nan
    losses = network.losses([image, image], [some_known, target])
    assert math.isfinite(losses["landmarks"].item())
    assert losses["landmarks"] > 0


def test_a_step_of_training_lowers_the_losses(network):
    images, targets = zip(drawn_face(), drawn_face(240, 320, (20, 30, 200, 230)), strict=True)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    seen = []
    for _ in range(4):
        torch.manual_seed(1)  # the same proposals, views and dropout every time
        total = sum(network.losses(images, targets).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        seen.append(total.item())
    assert min(seen[1:]) < seen[0]


def test_finds_valid_faces_in_images_of_any_size(network):
    images = [drawn_face()[0], no_face()[0], no_face(1, 1)[0], no_face(9, 500)[0]]
    images += [drawn_face(1500, 1100, (300, 300, 800, 960))[0]]

    answers = network.find(images)

    assert network.training  # as it was before
    assert len(answers) == len(images)
    for image, found in zip(images, answers, strict=True):
        boxes, scores, landmarks = found["boxes"], found["scores"], found["landmarks"]
        count = len(boxes)
        assert (boxes.shape, scores.shape, landmarks.shape) == ((count, 4), (count,), (count, 5, 2))
        assert boxes.dtype == scores.dtype == landmarks.dtype == torch.float32
        assert bool(landmarks.isfinite().all())
        assert bool(((scores >= 0) & (scores <= 1)).all())
        assert bool((scores.diff() <= 0).all())
        height, width = image.shape[1:]
        assert bool((boxes[:, 2:] > boxes[:, :2]).all())
        assert bool((boxes >= 0).all())
        assert bool((boxes <= torch.tensor([width, height]).repeat(2)).all())
    assert network.find([]) == []


def test_an_image_is_found_the_same_alone_and_in_a_batch(network):
    network.eval()
    image, _ = drawn_face()
    alone, together = network.find([image])[0], network.find([image, no_face()[0]])[0]
    for key, value in alone.items():
        torch.testing.assert_close(together[key], value, rtol=1e-4, atol=1e-2)


def test_saved_and_loaded_bit_identically(network, name, tmp_path):
    image, target = drawn_face()
    network.losses([image, image], [target, target])  # moves the running statistics
    path = tmp_path / "weights.safetensors"

    sha256 = registry.save(name, network, path, **OPTIONS[name])
    again = registry.load(name, path, sha256)

    assert registry.described(path)[0] == name
    assert registry.save(name, again, tmp_path / "again", **OPTIONS[name]) == sha256
    state = network.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in again.state_dict().items())
    before, after = network.eval().find([image])[0], again.find([image])[0]
    assert all(torch.equal(before[key], after[key]) for key in before)
    with pytest.raises(DigestMismatch):
        registry.load(name, path, "0" * 64)
    other = next(one for one in OPTIONS if one != name)
    with pytest.raises(WeightsError, match=other):
        registry.load(other, path, sha256)


def test_wrong_calls_are_refused(network):
    image, target = drawn_face()
    with pytest.raises(ShapeError, match="uint8"):
        network.find([image.float()])
    with pytest.raises(ShapeError, match="one per image"):
        network.losses([image, image], [target])
    with pytest.raises(ShapeError, match="target boxes"):
        network.losses([image], [{**target, "boxes": torch.zeros(4)}])
    with pytest.raises(ShapeError, match="target landmarks"):
        network.losses([image], [{**target, "landmarks": torch.zeros(2, 5, 2)}])
    with pytest.raises(UsageError, match="training mode"):
        network.eval().losses([image], [target])


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("faster-rcnn", {"backbone": "alexnet"}, "mobilenet_v3_large_320_fpn.*resnet50_fpn"),
        ("faster-rcnn", {"side": 8}, "64"),
        ("ssd", {"width": 0.0}, "width"),
        ("ssdlite", {"width": 0.5}, "norm_momentum"),
        ("rcnn", {"passes": 0}, "passes"),
        ("rcnn", {"depth": 3}, "proposal_side"),
    ],
)
def test_options_that_cannot_work(name, options, said):
    with pytest.raises(ConfigError, match=said):
        registry.create(name, **options)


@pytest.mark.parametrize("backbone", ["mobilenet_v3_large_fpn", "resnet50_fpn"])
def test_faster_rcnn_runs_with_every_backbone(backbone):
    options = {"backbone": backbone, **OPTIONS["faster-rcnn"]}
    network = registry.create("faster-rcnn", **options)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert all(norm.weight.requires_grad for norm in norms)
    (found,) = network.find([drawn_face()[0]])
    assert found["landmarks"].shape[1:] == (5, 2)


# Box coding, warping, landmarks


def boxes_like_these(count, seed=0):
    torch.manual_seed(seed)
    corner, size = torch.rand(count, 2) * 200, torch.rand(count, 2) * 100 + 5
    return torch.cat([corner, corner + size], 1)


def test_box_coding_round_trips_and_agrees_with_torchvision():
    proposals, true = boxes_like_these(50), boxes_like_these(50, seed=1)
    offsets = encode(proposals, true)
    torch.testing.assert_close(decode(proposals, offsets), true, rtol=1e-5, atol=1e-3)
    reference = BoxCoder(WEIGHTS)
    torch.testing.assert_close(offsets, reference.encode_single(true, proposals))
    wild = torch.randn(50, 4) * 30
    torch.testing.assert_close(decode(proposals, wild), reference.decode_single(wild, proposals))


def test_box_coding_by_hand():
    proposal, true = torch.tensor([[0.0, 0.0, 10.0, 20.0]]), torch.tensor([[5.0, 0.0, 25.0, 20.0]])
    tx, ty, tw, th = (encode(proposal, true)[0] / torch.tensor(WEIGHTS)).tolist()
    assert (tx, ty) == pytest.approx(((15 - 5) / 10, 0))
    assert (tw, th) == pytest.approx((math.log(2), 0))
    assert expand(proposal, 2.0).tolist() == [[-5.0, -10.0, 15.0, 30.0]]


def test_warping_shows_what_lies_in_the_box():
    ramp = torch.arange(64.0).repeat(64, 1) / 64
    image = torch.stack([ramp, ramp.T, torch.zeros(64, 64)])
    (pixels,) = warp(image, torch.tensor([[16.0, 0.0, 48.0, 32.0]]), 8, context=1.0)
    centres = 16 + (torch.arange(8) + 0.5) * 4
    torch.testing.assert_close(pixels[0], ((centres - 0.5) / 64).expand(8, 8))
    outside = warp(image, torch.tensor([[200.0, 200.0, 300.0, 300.0]]), 8, context=1.0)
    torch.testing.assert_close(outside, torch.full((1, 3, 8, 8), 0.5))


def test_warping_a_large_box_averages():
    stripes = (torch.arange(800) % 2).float().repeat(800, 1).expand(3, 800, 800)
    pixels = warp(stripes, torch.tensor([[0.0, 0.0, 800.0, 800.0]]), 8, context=1.0)
    assert float((pixels - 0.5).abs().max()) < 0.02


def test_an_untrained_landmark_head_answers_the_mean_face():
    head = LandmarkHead().eval()
    image = torch.rand(3, 100, 100)
    with torch.inference_mode():
        (points,) = head.locate(image, torch.tensor([[10.0, 20.0, 50.0, 70.0]]))
    expected = torch.tensor([[10 + 40 * u, 20 + 50 * v] for u, v in MEAN_FACE])
    assert float((points - expected).abs().max()) < 10
    assert head.locate(image, torch.zeros(0, 4)).shape == (0, 5, 2)


def test_the_landmark_head_learns_where_the_points_are():
    torch.manual_seed(0)
    head = LandmarkHead(width=8).train()
    image, target = drawn_face()
    pixels = image.float() / 255
    optimizer = torch.optim.Adam(head.parameters(), 3e-3)
    first = head.loss([pixels] * 4, [target] * 4).item()
    for _ in range(40):
        loss = head.loss([pixels] * 4, [target] * 4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < first / 2


def test_fitting_keeps_the_form():
    pixels, scale = fitted(torch.rand(3, 50, 200), 100)
    assert pixels.shape == (3, 25, 100)
    assert scale.tolist() == [0.5, 0.5, 0.5, 0.5]
    assert fitted(torch.rand(3, 1, 1), 64)[0].shape == (3, 64, 64)


# R-CNN


def test_the_classifier_is_the_softmax_of_the_paper(made):
    network = copy.deepcopy(made["rcnn"]).eval()
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


def test_suppression_keeps_the_better_of_two_and_both_of_two_apart(made):
    network = copy.deepcopy(made["rcnn"]).eval()
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


def test_overlaps_and_labels(made):
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

    network = copy.deepcopy(made["rcnn"])
    chosen, labels, _ = network._sample(torch.rand(3, 100, 100), proposals, true)

    assert dict(zip(chosen.tolist(), labels.tolist(), strict=True)) == {
        0: FACE,
        1: FACE,
        3: FACE,
        4: BACKGROUND,
    }
    assert network.training
    assert best_overlaps(proposals, torch.zeros(0, 4))[0].tolist() == [0] * 5


def test_hard_background_is_learned_from(made):
    network = copy.deepcopy(made["rcnn"])
    proposals = boxes_like_these(300)
    hardness = torch.rand(300)
    network._judge = lambda pixels, boxes: (
        (proposals[None] == boxes[:, None]).all(2).float() @ hardness,
        boxes,
    )
    chosen, labels, _ = network._sample(torch.rand(3, 300, 300), proposals, torch.zeros(0, 4))
    assert not labels.any()
    assert len(chosen) <= network._regions_per_image
    assert hardness[chosen].mean() > hardness.mean() + 0.1


# Selective search


def test_proposals_cover_a_face():
    image, target = drawn_face()
    proposals = selective_search(image)
    overlap = torchvision.ops.box_iou(target["boxes"], proposals).max()
    assert float(overlap) >= 0.7
    assert 1 <= len(proposals) <= 400


def test_proposals_of_a_large_image_are_in_its_pixels():
    image, target = drawn_face(900, 1200, (300, 200, 660, 660))
    overlap = torchvision.ops.box_iou(target["boxes"], selective_search(image)).max()
    assert float(overlap) >= 0.6


def test_proposals_are_the_same_every_time_and_limited():
    noise = torch.randint(0, 256, (3, 120, 120), dtype=torch.uint8)
    first = selective_search(noise)
    assert torch.equal(first, selective_search(noise))
    few = selective_search(noise, limit=5)
    assert len(few) == min(5, len(first))
    area = (few[:, 2:] - few[:, :2]).prod(1)
    assert bool((area.diff() >= 0).all())


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 400), (8, 8), (40, 40)])
def test_nothing_to_segment(height, width):
    proposals = selective_search(torch.full((3, height, width), 9, dtype=torch.uint8))
    assert proposals.shape[1:] == (4,)


def test_known_images_are_not_searched_again(monkeypatch):
    searched = []

    def search(image, *, side, limit):
        searched.append(tuple(image.shape))
        return torch.zeros(0, 4)

    monkeypatch.setattr("facecore.zoo.proposals.selective_search", search)
    cache = ProposalCache(side=64, limit=10, images=2)
    a, b, c = (torch.full((3, 6, 4), i, dtype=torch.uint8) for i in range(3))
    for image in (a, b, a, b):
        cache(image)
    assert len(searched) == 2
    cache(a.reshape(3, 4, 6))  # the same bytes in another form; b's is the oldest but one now
    cache(c)
    cache(b)
    assert len(searched) == 5
    assert len(copy.deepcopy(cache)._known) == 0


# SSD


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


@pytest.mark.parametrize("name", ["ssd", "ssdlite"])
def test_default_boxes_come_near_any_face(made, name):
    side = made[name].side
    boxes = default_boxes(made[name])
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


def test_rcnn_is_small(made):
    assert isinstance(made["rcnn"], RCNN)
    assert sum(p.numel() for p in RCNN().parameters()) < 1_000_000
