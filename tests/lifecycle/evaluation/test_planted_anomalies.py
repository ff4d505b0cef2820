"""Planted anomalies, and how an autoencoder is judged by them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facecore.errors import UsageError, WeightsError
from facecore.lifecycle.evaluation.anomaly_evaluation import evaluate_autoencoder
from facecore.lifecycle.evaluation.planted_anomalies import occluded, plant, shuffled
from facecore.stages.reconstruct import judge, reconstructions
from facecore.zoo import registry
from facecore.zoo.autoencoder import FaceAutoencoder


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    """Made-up faces: one pattern with noise."""
    rng = np.random.default_rng(0)
    pattern = rng.integers(40, 215, (7, 7, 3)).repeat(16, 0).repeat(16, 1)
    return np.clip(pattern + rng.normal(0, 12, (60, *pattern.shape)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def network(crops: np.ndarray) -> FaceAutoencoder:
    """Calibrated on half of the crops; untrained, which such simple crops do not need."""
    torch.manual_seed(0)
    made = registry.create("autoencoder", code=32, width=0.25)
    assert isinstance(made, FaceAutoencoder)
    with torch.no_grad():
        features, _ = made.features(torch.from_numpy(crops[:30]).permute(0, 3, 1, 2))
        whitening = torch.diag(1 / (features.std(dim=0) + 1e-3))
        centre = features.mean(dim=0)
        made.set_reference(features, centre, whitening)
        made.calibrate(made.distance(features))
    return made


def test_the_same_seed_plants_the_same_pixels(crops: np.ndarray) -> None:
    one, other = plant(crops, seed=3), plant(crops, seed=3)
    assert list(one) == ["non-faces", "occlusion", "shuffled patches"]
    for kind, planted in one.items():
        assert planted.dtype == np.uint8
        assert planted.shape == crops.shape
        assert np.array_equal(planted, other[kind])
    assert not np.array_equal(plant(crops, seed=4)["occlusion"], one["occlusion"])


def test_a_quarter_to_half_is_covered_and_nothing_else_changes(crops: np.ndarray) -> None:
    before = crops.copy()
    covered = occluded(crops, np.zeros_like(crops), np.random.default_rng(1))
    assert np.array_equal(crops, before)
    shares = (covered != crops).any(axis=3).mean(axis=(1, 2))
    assert (shares > 0.2).all()
    assert (shares < 0.52).all()
    none = np.zeros((0, 112, 112, 3), np.uint8)
    assert len(occluded(crops[:4], none, np.random.default_rng(1))) == 4


def test_shuffling_keeps_every_pixel(crops: np.ndarray) -> None:
    moved = shuffled(crops[:3], np.random.default_rng(0))
    assert not np.array_equal(moved, crops[:3])
    for one, other in zip(moved, crops, strict=False):
        assert np.array_equal(np.sort(one.ravel()), np.sort(other.ravel()))


def test_an_autoencoder_is_judged_by_what_it_finds(
    network: FaceAutoencoder, crops: np.ndarray
) -> None:
    found = evaluate_autoencoder(network, crops[30:], plant(crops[30:]))
    assert found.ordinary == 30
    assert found.worst.auroc > 0.9
    assert set(found.metrics()) >= {"auroc_worst", "auroc_non_faces", "error", "false_alarms"}
    assert found.to_json()["kinds"][0]["kind"] == "non-faces"
    with pytest.raises(UsageError, match="too few"):
        evaluate_autoencoder(network, crops[:5], {})


def test_no_crop_at_all_is_judged_as_nothing(network: FaceAutoencoder) -> None:
    nothing = np.zeros((0, 112, 112, 3), np.uint8)
    assert judge(network, nothing).codes.shape == (0, 32)
    assert reconstructions(network, nothing).shape == (0, 112, 112, 3)


def test_batches_change_nothing(
    network: FaceAutoencoder, crops: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facecore.stages import reconstruct

    whole = judge(network, crops)
    drawn = reconstructions(network, crops)
    monkeypatch.setattr(reconstruct, "_CROPS_AT_ONCE", 7)
    parts = judge(network, crops)
    np.testing.assert_allclose(parts.distances, whole.distances, rtol=1e-4)
    np.testing.assert_allclose(parts.codes, whole.codes, atol=1e-4)
    assert np.abs(reconstructions(network, crops).astype(int) - drawn).max() <= 1


def test_an_uncalibrated_one_is_refused(crops: np.ndarray) -> None:
    fresh = registry.create("autoencoder", code=32, width=0.25)
    assert isinstance(fresh, FaceAutoencoder)
    with pytest.raises(WeightsError, match="not calibrated"):
        judge(fresh, crops[:1])
