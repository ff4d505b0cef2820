"""Every detector that finds regions, by one set of tests, and what is particular to each."""

import copy
import math

import pytest
import torch

from facecore.errors import ConfigError, DigestMismatch, ShapeError, UsageError, WeightsError
from facecore.zoo import registry

# Sizes that are quick; everything else as by default.
OPTIONS = {
    "rcnn": {"width": 8, "regions_per_image": 16},
    "faster-rcnn": {"side": 128, "channels": 32, "representation": 32},
    "ssd": {"width": 0.125},
    "ssdlite": {},
}
BOX = (60.0, 40.0, 114.0, 108.0)


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


def test_losses_are_finite_and_reach_every_parameter(network, drawn_face):
    images, targets = zip(drawn_face(), drawn_face(240, 320, (20, 30, 200, 230)), strict=True)

    losses = network.losses(images, targets)

    assert "landmarks" in losses
    assert all(value.ndim == 0 and math.isfinite(value.item()) for value in losses.values())
    sum(losses.values()).backward()
    without = [key for key, p in network.named_parameters() if p.grad is None]
    assert not without
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters())


def test_one_image_and_images_without_faces_can_be_learned_from(network, drawn_face, no_face):
    for batch in ([drawn_face()], [no_face(), no_face(200, 120)], [drawn_face(), no_face()]):
        losses = network.losses(*zip(*batch, strict=True))
        total = sum(losses.values())
        assert math.isfinite(total.item())
        total.backward()


def test_unknown_landmarks_do_not_count(network, drawn_face):
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


def test_a_step_of_training_lowers_the_losses(network, drawn_face):
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


def test_finds_valid_faces_in_images_of_any_size(network, drawn_face, no_face):
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


def test_an_image_is_found_the_same_alone_and_in_a_batch(network, drawn_face, no_face):
    network.eval()
    image, _ = drawn_face()
    alone, together = network.find([image])[0], network.find([image, no_face()[0]])[0]
    for key, value in alone.items():
        torch.testing.assert_close(together[key], value, rtol=1e-4, atol=1e-2)


def test_saved_and_loaded_bit_identically(network, name, tmp_path, drawn_face):
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


def test_wrong_calls_are_refused(network, drawn_face):
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
def test_faster_rcnn_runs_with_every_backbone(backbone, drawn_face):
    options = {"backbone": backbone, **OPTIONS["faster-rcnn"]}
    network = registry.create("faster-rcnn", **options)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert all(norm.weight.requires_grad for norm in norms)
    (found,) = network.find([drawn_face()[0]])
    assert found["landmarks"].shape[1:] == (5, 2)
