"""What is special about the forecaster: quantiles that never cross, holes, silence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facecore.errors import ConfigError, ShapeError
from facecore.zoo import registry
from facecore.zoo.lstm import CONTEXT, GAPS, ActivityLstm, history_before


@pytest.fixture
def network() -> ActivityLstm:
    torch.manual_seed(0)
    made = registry.create("lstm", hidden=8)
    assert isinstance(made, ActivityLstm)
    return made


def histories() -> dict[str, torch.Tensor]:
    week = torch.arange(CONTEXT) % 168
    busy = torch.where((week % 24 > 7) & (week % 24 < 19), 50.0, 0.0)
    short = busy.clone()
    short[: CONTEXT // 2] = torch.nan
    holes = busy.clone()
    holes[::3] = torch.nan
    return {
        "busy": busy,
        "silent": torch.zeros(CONTEXT),
        "constant": torch.full((CONTEXT,), 3.0),
        "unknown": torch.full((CONTEXT,), torch.nan),
        "short": short,
        "holes": holes,
        "huge": 1e6 * busy,
    }


@torch.no_grad()
def test_quantiles_are_finite_ordered_and_not_negative_whatever_the_history(
    network: ActivityLstm,
) -> None:
    counts = torch.stack(list(histories().values()))
    network.margins.copy_(torch.tensor([-0.5, 0.7]))  # the inner interval would cross the outer
    found = network(counts, torch.arange(len(counts)))
    assert found.shape == (len(counts), 24, 5)
    assert found.isfinite().all()
    assert (found >= 0).all()
    assert (found.diff(dim=2) >= 0).all()


@torch.no_grad()
def test_it_starts_from_what_is_usual(network: ActivityLstm) -> None:
    """Untrained, the middle is near the history's own hour of the week."""
    busy = histories()["busy"][None]
    middle = network(busy, torch.tensor([0]))[0, :, 2]
    assert middle[12] > 30
    assert middle[2] < 5


@torch.no_grad()
def test_gaps_are_forecast_from_one_visit_on(network: ActivityLstm) -> None:
    gaps = torch.full((3, GAPS), torch.nan)
    gaps[1, -1] = 24.0
    gaps[2] = 168.0
    found = network.next_gap(gaps, torch.zeros(3, GAPS, dtype=torch.long))
    assert found.isfinite().all()
    assert (found > 0).all()
    assert (found.diff(dim=1) >= 0).all()
    assert found[2, 2] > found[1, 2]


def test_wrong_shapes_and_options_are_refused(network: ActivityLstm) -> None:
    with pytest.raises(ShapeError, match=r"counts: expected \[n, 1344\]"):
        network(torch.zeros(1, 24), torch.zeros(1))
    with pytest.raises(ShapeError, match=r"gaps: expected \[n, 16\]"):
        network.next_gap(torch.zeros(1, 3), torch.zeros(1, 3))
    with pytest.raises(ConfigError, match="horizon"):
        registry.create("lstm", horizon=200)


def test_a_shorter_history_is_unknown_before_its_beginning() -> None:
    values = np.arange(2000, dtype=np.float64)
    assert np.isnan(history_before(values, 100)[:-100]).all()
    assert history_before(values, 100)[-1] == 99
    assert history_before(values, 1500)[0] == 1500 - CONTEXT
