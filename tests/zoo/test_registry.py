import pytest
import torch
from safetensors.numpy import load_file, save_file

from facecore.errors import ConfigError, DigestMismatch, NotFound, WeightsError
from facecore.zoo import model_file, registry, weights

RELEASED = {"sface": "3ea24e7fbb43", "yunet": "dc4a8c3ad2e0"}


def test_the_default_pack_is_listed_with_licence_and_card():
    assert "yunet" in [spec.name for spec in registry.list_models("detect")]
    assert "sface" in [spec.name for spec in registry.list_models("embed")]
    for name in ("sface", "yunet"):
        spec = registry.spec(name)
        assert spec.licence in ("MIT", "Apache-2.0")
        assert spec.source_sha256 in spec.card
    assert "never disclosed" in registry.spec("sface").card


def test_the_converted_default_pack_is_the_released_one(prepared):
    """Contracts of stored vectors name these digests."""
    assert {name: p.sha256[:12] for name, p in prepared.items()} == RELEASED


def test_an_unknown_model_lists_the_known_ones():
    with pytest.raises(NotFound, match=r"sface.*, yunet"):
        registry.create("nobody")


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="twice"):
        registry.register_model("yunet", task="detect", licence="", paper="", input="")(
            torch.nn.Identity
        )


def test_preparing_twice_gives_the_same_bytes(published, prepared, tmp_path):
    again = registry.prepare("yunet", tmp_path, published["yunet"].parent)
    assert again.sha256 == prepared["yunet"].sha256
    assert again.source_sha256 == weights.SOURCES["yunet"].sha256
    assert again.path.read_bytes() == prepared["yunet"].path.read_bytes()


def test_a_prepared_file_is_used_again_unless_damaged(published, tmp_path):
    first = registry.prepare("yunet", tmp_path, published["yunet"].parent)
    stamp = first.path.stat().st_mtime_ns
    assert registry.prepare("yunet", tmp_path) == first
    assert first.path.stat().st_mtime_ns == stamp
    first.path.write_bytes(b"damaged")
    assert registry.prepare("yunet", tmp_path) == first
    assert weights.sha256_of(first.path) == first.sha256


def test_loading_checks_the_digest(prepared):
    with pytest.raises(DigestMismatch) as caught:
        registry.load("yunet", prepared["yunet"].path, "0" * 64)
    assert caught.value.actual == prepared["yunet"].sha256


def test_loading_weights_of_another_network(prepared):
    other = prepared["sface"]
    with pytest.raises(WeightsError, match="does not hold the weights of yunet"):
        registry.load("yunet", other.path, other.sha256)


def test_loading_a_missing_tensor_or_file(prepared, tmp_path):
    state = load_file(prepared["yunet"].path)
    state.pop("stem.bias")
    path = tmp_path / "partial.safetensors"
    save_file(state, path)
    with pytest.raises(WeightsError, match=r"stem\.bias"):
        registry.load("yunet", path, weights.sha256_of(path))
    path.write_bytes(b"no safetensors")
    with pytest.raises(WeightsError):
        registry.load("yunet", path, weights.sha256_of(path))
    with pytest.raises(WeightsError, match="cannot be read"):
        registry.load("yunet", tmp_path / "absent", "0" * 64)


def test_loaded_networks_are_for_inference(prepared):
    network = registry.load("yunet", prepared["yunet"].path, prepared["yunet"].sha256)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


@pytest.fixture
def toy(monkeypatch):
    """A model with options of every type, known while the test runs."""
    monkeypatch.setattr(registry, "_SPECS", {})
    monkeypatch.setattr(registry, "_FAMILIES", ())

    @registry.register_model("toy", task="embed", licence="", paper="", input="", dimension=2)
    class Toy(torch.nn.Module):
        def __init__(self, dimension=2, scale=1.0, bias=True, kind="a", layers=(3, 4)):
            super().__init__()
            self.dimension = dimension
            self.options = (dimension, scale, bias, kind, layers)
            self.linear = torch.nn.Linear(3, dimension, bias=bias)
            self.register_buffer("seen", torch.tensor(0))

    return Toy


def test_options_travel_with_the_weights(toy, tmp_path):
    options = {"dimension": 5, "scale": 2, "bias": False, "kind": "b", "layers": [1]}
    network = registry.create("toy", **options)
    assert not network.training
    path = tmp_path / "toy.safetensors"
    digest = registry.save("toy", network, path, **options)
    assert digest == weights.sha256_of(path)
    assert registry.described(path) == ("toy", options)
    loaded = registry.load("toy", path, digest)
    assert loaded.options == (5, 2, False, "b", (1,))
    assert registry.network_dimension(loaded) == 5
    state = loaded.state_dict()
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())


def test_the_same_weights_make_the_same_file(toy, tmp_path):
    network = registry.create("toy", layers=(1, 2))
    digests = {
        registry.save("toy", network, tmp_path / str(i), layers=kind((1, 2)))
        for i, kind in enumerate([tuple, list] * 4)
    }
    assert len(digests) == 1
    half = registry.save("toy", network.to(torch.float64), tmp_path / "double", layers=(1, 2))
    assert {half} == digests


def test_saving_and_loading_draw_no_random_numbers(toy, tmp_path):
    network = registry.create("toy")
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    registry.load("toy", tmp_path / "toy", registry.save("toy", network, tmp_path / "toy"))
    assert torch.rand(1) == expected


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("depth", 3),
        ("dimension", "128"),
        ("dimension", 1.5),
        ("dimension", True),
        ("scale", "wide"),
        ("bias", 1),
        ("kind", 1),
        ("layers", 3),
        ("layers", ["a"]),
    ],
)
def test_a_wrong_option_lists_the_options(toy, option, value):
    with pytest.raises(ConfigError, match=rf"'toy'.*{option}") as caught:
        registry.create("toy", **{option: value})
    assert "dimension=2, scale=1.0, bias=True, kind='a', layers=(3, 4)" in caught.value.remedy


def test_saving_with_other_options_than_created(toy, tmp_path):
    with pytest.raises(ConfigError, match=r"linear\.bias, linear\.weight differ"):
        registry.save("toy", registry.create("toy"), tmp_path / "x", dimension=7)
    assert not list(tmp_path.iterdir())


def test_not_a_number_is_not_saved(toy, tmp_path):
    network = registry.create("toy")
    network.linear.weight.data[0, 0] = float("nan")
    with pytest.raises(WeightsError, match=r"linear\.weight holds NaN"):
        registry.save("toy", network, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_model_or_options_is_refused(toy, tmp_path):
    path = tmp_path / "x"
    state = registry.create("toy").state_dict()
    for name, options in (("other", {}), ("toy", {"depth": 2}), ("toy", {"dimension": 9})):
        path.write_bytes(model_file.encode(state, name, options))
        with pytest.raises(WeightsError, match="does not hold the weights of toy"):
            registry.load("toy", path, weights.sha256_of(path))


def test_describing_what_states_nothing(prepared, tmp_path):
    assert registry.described(prepared["yunet"].path) == (None, {})
    path = tmp_path / "x"
    for content in (b"", b"short", b"\xff" * 100, (2).to_bytes(8, "little") + b"[]"):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="not a safetensors file"):
            registry.described(path)
    with pytest.raises(WeightsError, match="cannot be read"):
        registry.described(tmp_path / "absent")


def test_only_embedders_have_a_dimension():
    assert registry.network_dimension(registry.create("sface")) == 128
    with pytest.raises(ConfigError, match="not an embedder"):
        registry.network_dimension(registry.create("yunet"))
