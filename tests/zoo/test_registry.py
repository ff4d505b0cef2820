import pytest
import torch
from safetensors.numpy import load_file, save_file

from facecore.errors import DigestMismatch, NotFound, WeightsError
from facecore.zoo import registry, weights


def test_the_default_pack_is_listed_with_licence_and_card():
    assert [spec.name for spec in registry.list_models("detect")] == ["yunet"]
    assert {spec.name for spec in registry.list_models()} >= {"sface", "yunet"}
    for spec in registry.list_models():
        assert spec.licence in ("MIT", "Apache-2.0")
        assert spec.source_sha256 in spec.card
    assert "never disclosed" in registry.spec("sface").card


def test_an_unknown_model_lists_the_known_ones():
    with pytest.raises(NotFound, match="sface, yunet"):
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
