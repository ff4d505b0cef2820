import copy

import torch
from torch import nn

from facecore.zoo import registry
from facecore.zoo.placement import ConvReLU, multiply_pointwise, place

CPU = torch.device("cpu")


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        ConvReLU(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
    )


class FromBytes(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = network()
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x):
        return self.layers(x * self.scale)


def test_placing_computes_the_same_for_any_size():
    original = FromBytes().eval()
    placed = place(original, CPU, torch.float32, (1, 3, 32, 32))
    for shape in ((1, 3, 32, 32), (3, 3, 64, 96)):
        pixels = torch.randint(0, 256, shape, dtype=torch.uint8)
        with torch.inference_mode():
            torch.testing.assert_close(placed(pixels), original(pixels), rtol=1e-4, atol=1e-2)


def test_the_original_is_untouched():
    original = FromBytes()
    before = {name: value.clone() for name, value in original.state_dict().items()}
    place(original, CPU, torch.bfloat16, (1, 3, 32, 32))
    after = original.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert after["layers.0.weight"].dtype == torch.float32


def test_where_onednn_has_no_bfloat16_torch_computes_it(monkeypatch):
    """As on a processor without AVX-512."""
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    original = FromBytes().eval()
    placed = place(original, CPU, torch.bfloat16, (1, 3, 32, 32))
    assert {type(layer) for layer in placed.layers} == {ConvReLU, nn.Conv2d}
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        close = nn.functional.cosine_similarity(
            placed(pixels).float().flatten(1), original(pixels).flatten(1)
        )
    assert close.min() > 0.999


def test_pointwise_convolutions_as_products():
    """As they are computed on a GPU; 1×1 with a stride or groups stays what it is."""
    torch.manual_seed(0)
    for name, size in (("sface", 112), ("yunet", 96)):
        original = registry.create(name).eval()
        changed = copy.deepcopy(original)
        multiply_pointwise(changed)
        assert len(list(changed.parameters())) < len(list(original.parameters()))
        pixels = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
        with torch.inference_mode():
            torch.testing.assert_close(changed(pixels), original(pixels), rtol=1e-3, atol=1e-4)
    others = nn.Sequential(nn.Conv2d(4, 4, 1, stride=2), nn.Conv2d(4, 4, 1, groups=4))
    multiply_pointwise(others)
    assert {type(layer) for layer in others} == {nn.Conv2d}
