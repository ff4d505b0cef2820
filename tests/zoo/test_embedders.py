"""Every model that embeds, matches, reconstructs or forecasts, and what is special about each."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from facecore.errors import ConfigError, DigestMismatch, ShapeError, WeightsError
from facecore.zoo import registry
from facecore.zoo.deepface import LocallyConnected
from facecore.zoo.facenet import squared_distance
from facecore.zoo.placement import place

CPU = torch.device("cpu")
TRAINED_HERE = ("cnn", "deepface", "facenet", "vgg")
# Other than the defaults in every option that JSON could change, and small.
SMALL = {
    "cnn": {"dimension": 16, "width": 0.4, "blocks": (1, 0, 1), "dropout": 0.1},
    "vgg": {"dimension": 24, "width": 0.125, "dropout": 0.25},
    "facenet": {"dimension": 16, "repeats": (1, 2, 1), "width": 0.25, "dropout": 0.0},
    "deepface": {"dimension": 16, "width": 0.25, "identities": 7, "dropout": 0.25},
    "siamese": {"dimension": 12, "hidden": 8, "dropout": 0.0},
    "sface": {},
    "autoencoder": {"code": 32, "width": 0.25},
    "lstm": {"hidden": 4, "horizon": 6, "dropout": 0.0},
}
TASKS = ("embed", "match", "reconstruct", "forecast")
ALL = [spec.name for task in TASKS for spec in registry.list_models(task)]


@pytest.fixture(scope="module")
def crops():
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (4, 3, 112, 112), dtype=torch.uint8, generator=generator)


def small(name):
    torch.manual_seed(0)
    return registry.create(name, **SMALL[name])


def inputs(name, crops):
    """What the network of a task takes."""
    if registry.spec(name).task in ("embed", "reconstruct"):
        return (crops,)
    if registry.spec(name).task == "forecast":
        counts = torch.rand(2, 1344, generator=torch.Generator().manual_seed(2))
        return 9 * counts, torch.tensor([0, 100])
    torch.manual_seed(2)
    return tuple(F.normalize(torch.randn(2, 6, SMALL[name]["dimension"]), dim=-1))


@pytest.mark.parametrize("name", ALL)
def test_it_learns_in_every_parameter(name, crops):
    network = small(name).train()
    out = network(*inputs(name, crops))
    assert out.dtype == torch.float32
    if name == "deepface":
        out = torch.cat([out, network.classify(crops)], 1)
    if name == "lstm":
        gaps = torch.rand(2, 16, generator=torch.Generator().manual_seed(4))
        out = torch.cat(
            [out.flatten(1), network.next_gap(40 * gaps, torch.arange(32).view(2, 16))], 1
        )
    torch.manual_seed(3)
    (out * torch.randn_like(out)).sum().backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        assert parameter.grad.any(), parameter_name


@pytest.mark.parametrize("name", ALL)
def test_it_saves_and_loads_bit_identically(name, crops, tmp_path):
    network = small(name).train()
    with torch.no_grad():
        network(*inputs(name, crops))  # moves the running statistics
    network.eval().to(memory_format=torch.channels_last)
    path = tmp_path / name
    digest = registry.save(name, network, path, **SMALL[name])
    assert registry.save(name, network, tmp_path / "again", **SMALL[name]) == digest
    loaded = registry.load(name, path, digest)
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    before, after = network.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    loaded.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        given = inputs(name, crops)
        assert torch.equal(network(*given), loaded(*given))
    stated, options = registry.described(path)
    assert stated == name
    assert registry.spec(name).complete(options) == registry.spec(name).complete(SMALL[name])


@pytest.mark.parametrize("name", ALL)
def test_an_altered_file_is_refused(name, tmp_path):
    path = tmp_path / name
    digest = registry.save(name, small(name), path, **SMALL[name])
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DigestMismatch):
        registry.load(name, path, digest)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError):
        registry.load(name, path, registry.weights.sha256_of(path))


@pytest.mark.parametrize("name", ALL)
def test_a_wrong_option_lists_the_right_ones(name):
    with pytest.raises(ConfigError, match=name) as caught:
        registry.create(name, colour="red")
    for option in registry.spec(name).options:
        assert f"{option}=" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cnn", {"width": 0.0}),
        ("cnn", {"blocks": (1, 2)}),
        ("cnn", {"blocks": (1, -2, 1)}),
        ("cnn", {"dimension": 0}),
        ("vgg", {"dropout": 1.0}),
        ("vgg", {"width": float("nan")}),
        ("facenet", {"repeats": (5,)}),
        ("deepface", {"identities": -1}),
        ("siamese", {"hidden": 0}),
    ],
)
def test_a_value_out_of_range_is_refused(name, options):
    with pytest.raises(ConfigError, match=f"option {next(iter(options))}"):
        registry.create(name, **options)


@pytest.mark.parametrize("name", ALL)
def test_it_has_a_card_with_licence_and_limits(name):
    spec = registry.spec(name)
    for part in (spec.licence, f"| Task | {spec.task} |", "**Limits.**"):
        assert part in spec.card
    for option, default in spec.options.items():
        shown = str(default).lower() if isinstance(default, bool) else str(default)
        assert f"`{option}` {shown}" in spec.card


@pytest.mark.parametrize("name", [n for n in ALL if registry.spec(n).task == "embed"])
def test_it_embeds_bytes_and_floats_alike_in_unit_length(name, crops):
    network = small(name)
    assert registry.network_dimension(network) == SMALL[name].get("dimension", 128)
    with torch.inference_mode():
        vectors = network(crops)
        assert torch.equal(vectors, network(crops.float()))
        one = network(crops[1:2])
        none = network(crops[:0])
    assert vectors.shape == (4, registry.network_dimension(network))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(one, vectors[1:2], atol=1e-4, rtol=1e-4)
    assert none.shape == (0, registry.network_dimension(network))


@pytest.mark.parametrize("name", TRAINED_HERE)
def test_the_registered_dimension_is_that_of_the_default(name):
    assert registry.spec(name).dimension == registry.spec(name).options["dimension"]


@pytest.mark.parametrize("name", TRAINED_HERE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_placed_it_computes_the_same(name, dtype, crops):
    network = small(name).train()
    with torch.no_grad():
        for _ in range(3):
            network(crops)  # statistics that folding must take along
    network.eval()
    placed = place(network, CPU, dtype, (4, 3, 112, 112))
    with torch.inference_mode():
        vectors = placed(crops)
        assert vectors.dtype == torch.float32
        cosines = (vectors * network(crops)).sum(1)
        assert placed(crops[:1]).shape == vectors[:1].shape
    assert cosines.min() > (0.9999 if dtype == torch.float32 else 0.995)
    assert network.state_dict()["trunk.0.0.weight" if name != "facenet" else "head.weight"].any()


@pytest.mark.parametrize("name", TRAINED_HERE)
def test_autocast_and_channels_last_train_as_well(name, crops):
    network = small(name).train().to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        out = network(crops)
    assert out.dtype == torch.float32
    out.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", TRAINED_HERE)
def test_another_size_of_crop_is_refused(name):
    with pytest.raises(ShapeError, match=r"\[n, 3, 112, 112\], got \[1, 3, 96, 112\]"):
        small(name)(torch.zeros(1, 3, 96, 112))


@pytest.mark.parametrize("name", TRAINED_HERE)
def test_a_few_faces_are_soon_told_apart(name, faces):
    """Not accuracy: that gradients lead somewhere from the initial weights."""
    people = torch.from_numpy(np.ascontiguousarray(faces[:6].transpose(0, 3, 1, 2)))
    shifted = people.roll(4, 3)
    options = {**SMALL[name], "dropout": 0.0}
    torch.manual_seed(0)
    network = registry.create(name, **options).train()
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    losses = []
    for _ in range(8):
        a, b = network(torch.cat([people, shifted])).chunk(2)
        loss = F.cross_entropy(10 * a @ b.T, torch.arange(len(people)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0], losses


def test_the_compact_network_is_compact():
    for dimension in (128, 512):
        network = registry.create("cnn", dimension=dimension)
        assert sum(p.numel() for p in network.parameters()) <= 2_000_000


def convolution_weights(network):
    return [m.weight.numel() for m in network.modules() if isinstance(m, nn.Conv2d)]


def test_vgg_has_the_published_convolutions():
    """Configuration D, without biases (batch normalisation has them)."""
    channels = [3, 64, 64, 128, 128, 256, 256, 256, *[512] * 6]
    expected = [9 * a * b for a, b in pairwise(channels)]
    assert len(expected) == 13
    assert convolution_weights(registry.create("vgg")) == expected
    plain = registry.create("vgg", batch_norm=False, width=0.125)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in plain.modules())
    assert all(m.bias is not None for m in plain.modules() if isinstance(m, nn.Conv2d))


def test_inception_resnet_v1_has_the_published_parameters():
    """Szegedy et al. 2016, figures 10 to 15 and table 1; counted by hand, layer by layer."""

    def normalised(*layers):  # (inputs, outputs, kernel area): weights, scale and shift
        return sum(i * o * area + 2 * o for i, o, area in layers)

    def linear(inputs, outputs):
        return inputs * outputs + outputs

    stem = normalised(
        *((3, 32, 9), (32, 32, 9), (32, 64, 9), (64, 80, 1), (80, 192, 9), (192, 256, 9))
    )
    a = normalised(*[(256, 32, 1)] * 3, *[(32, 32, 9)] * 3) + linear(96, 256)
    to_b = normalised((256, 384, 9), (256, 192, 1), (192, 192, 9), (192, 256, 9))
    b = normalised(*[(896, 128, 1)] * 2, *[(128, 128, 7)] * 2) + linear(256, 896)
    to_c = normalised(
        *[(896, 256, 1)] * 3, (256, 384, 9), (256, 256, 9), (256, 256, 9), (256, 256, 9)
    )
    c = normalised(*[(1792, 192, 1)] * 2, *[(192, 192, 3)] * 2) + linear(384, 1792)
    embedding = normalised((1792, 128, 1))
    expected = stem + 5 * a + to_b + 10 * b + to_c + 5 * c + embedding
    with torch.device("meta"):
        network = registry.create("facenet")
    assert sum(p.numel() for p in network.parameters()) == expected == 21_192_960


def test_facenet_compares_by_squared_distance():
    a, b = F.normalize(torch.randn(2, 5, 9), dim=-1)
    torch.testing.assert_close(squared_distance(a, b), 2 - 2 * (a * b).sum(1))
    assert squared_distance(a, -a) == pytest.approx(4.0)
    assert squared_distance(a[:, None], b[None]).shape == (5, 5)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 3)])
def test_locally_connected_layer_against_loops(kernel, stride):
    torch.manual_seed(0)
    layer = LocallyConnected(3, 4, 9, kernel, stride).double()
    nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, 9, 9, dtype=torch.float64, requires_grad=True)
    side = (9 - kernel) // stride + 1
    rows = []
    for row in range(side):
        for column in range(side):
            window = x[:, :, row * stride :, column * stride :][:, :, :kernel, :kernel]
            filters = layer.weight[row * side + column].reshape(kernel, kernel, 3, 4)
            bias = layer.bias[row * side + column, 0]
            rows.append(torch.einsum("nchw,hwco->no", window, filters) + bias)
    expected = torch.stack(rows, 2).reshape(2, 4, side, side)
    torch.testing.assert_close(layer(x), expected)
    wanted = (x, layer.weight, layer.bias)
    direction = torch.randn_like(expected)
    for ours, theirs in zip(
        torch.autograd.grad((layer(x) * direction).sum(), wanted),
        torch.autograd.grad((expected * direction).sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_deepface_classifies_only_with_identities(crops):
    logits = small("deepface").classify(crops)
    assert logits.shape == (4, 7)
    with pytest.raises(ConfigError, match="identities = number of people"):
        registry.create("deepface", width=0.25, dimension=8).classify(crops)
