"""What is special about the autoencoder: codes, features, distances and their ranks."""

from __future__ import annotations

import pytest
import torch

from facecore.errors import ConfigError, ShapeError, WeightsError
from facecore.zoo import registry
from facecore.zoo.autoencoder import FaceAutoencoder


@pytest.fixture(scope="module")
def crops() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (5, 3, 112, 112), dtype=torch.uint8, generator=generator)


@pytest.fixture
def network() -> FaceAutoencoder:
    torch.manual_seed(0)
    made = registry.create("autoencoder", code=32, width=0.25)
    assert isinstance(made, FaceAutoencoder)
    return made


@torch.no_grad()
def test_a_crop_becomes_a_code_and_the_code_a_crop(
    network: FaceAutoencoder, crops: torch.Tensor
) -> None:
    codes = network.encode(crops)
    assert codes.shape == (5, 32)
    drawn = network.decode(codes)
    assert drawn.shape == crops.shape
    assert torch.equal(drawn, network(crops.float()))
    assert network(crops[:0]).shape == (0, 3, 112, 112)


@torch.no_grad()
def test_features_are_finite_even_of_crops_without_any_contrast(network: FaceAutoencoder) -> None:
    flat = torch.stack([torch.full((3, 112, 112), value) for value in (0, 127, 255)])
    features, error = network.features(flat)
    assert features.shape == (3, 32 + 49 + 49 + 1)
    assert features.isfinite().all()
    assert (error >= 0).all()


@pytest.mark.parametrize("code", [16, 31, 129])
def test_codes_have_32_to_128_numbers(code: int) -> None:
    with pytest.raises(ConfigError, match="from 32 to 128"):
        registry.create("autoencoder", code=code)


def test_wrong_shapes_are_refused(network: FaceAutoencoder) -> None:
    with pytest.raises(ShapeError, match=r"crops: expected \[n, 3, 112, 112\]"):
        network(torch.zeros(1, 3, 96, 112))
    with pytest.raises(ShapeError, match=r"codes: expected \[n, 32\]"):
        network.decode(torch.zeros(1, 31))


def test_an_uncalibrated_network_judges_nothing(network: FaceAutoencoder) -> None:
    with pytest.raises(WeightsError, match="not calibrated"):
        network.rank(torch.zeros(1))


def test_a_rank_is_the_share_of_ordinary_crops_that_are_nearer(network: FaceAutoencoder) -> None:
    network.calibrate(torch.arange(1, 1001, dtype=torch.float32))
    ranks = network.rank(torch.tensor([0.0, 100.0, 500.0, 990.0, 1000.0, 5000.0]))
    torch.testing.assert_close(
        ranks, torch.tensor([0.0, 0.1, 0.5, 0.99, 1.0, 1.0]), atol=2e-3, rtol=0
    )


def test_a_distance_grows_with_what_is_left_unexplained(network: FaceAutoencoder) -> None:
    size = len(network.centre)
    away = torch.zeros(2, size)
    away[:, 3] = 7.0
    torch.testing.assert_close(network.distance(away), torch.tensor([7.0, 7.0]))
    seen = torch.randn(50, size, generator=torch.Generator().manual_seed(0))
    network.set_reference(seen, seen.mean(dim=0), torch.eye(size))
    away[:, -1] = torch.tensor([0.0, 1.0]) + seen[:, -1].mean()
    near, far = network.distance(away)
    assert far > near > 0
    same = torch.ones(4, size)  # nothing varies: no power, no division by zero
    network.set_reference(same, torch.ones(size), torch.eye(size))
    assert network.distance(same).isfinite().all()


def test_crops_that_are_all_alike_leave_ranks_defined(network: FaceAutoencoder) -> None:
    network.calibrate(torch.full((4,), 2.0))
    ranks = network.rank(torch.tensor([1.0, 2.0, 3.0]))
    assert ranks.isfinite().all()
    assert ranks[0] == 0
    assert ranks[2] == 1
