"""Optimisers and learning-rate schedules by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from facecore.lifecycle.training.optimizers import make_optimizer
from facecore.lifecycle.training.plan import OPTIMIZERS, TrainingPlan
from facecore.lifecycle.training.schedulers import Schedule

Plan = Callable[..., TrainingPlan]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_reduces_a_loss(plan: Plan, name: str) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, 1)
    x, y = torch.randn(64, 4), torch.randn(64, 1)
    optimizer = make_optimizer(plan(optimizer=name), [layer])
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = ((layer(x) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_biases_and_scales_are_not_decayed(plan: Plan) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    weights, others = make_optimizer(plan(weight_decay=0.1), [network]).param_groups
    assert [len(weights["params"]), weights["weight_decay"]] == [1, 0.1]
    assert [len(others["params"]), others["weight_decay"]] == [3, 0.0]


def test_nesterov_is_not_momentum(plan: Plan) -> None:
    layer = nn.Linear(2, 1)
    flags = [
        make_optimizer(plan(optimizer=name), [layer]).param_groups[0]["nesterov"]
        for name in ("momentum", "nesterov")
    ]
    assert flags == [False, True]


def schedule(plan: Plan, name: str, **changes: object) -> Schedule:
    made = plan(scheduler=name, **changes)
    return Schedule(made, total_steps=100, steps_per_epoch=10)


def test_warm_up_rises_to_the_peak(plan: Plan) -> None:
    made = schedule(plan, "constant", warmup=0.1)
    factors = [made(step) for step in range(12)]
    assert factors == sorted(factors)
    assert 0 < factors[0] < 0.2
    assert factors[10:] == [1.0, 1.0]


def test_shapes(plan: Plan) -> None:
    assert schedule(plan, "constant", warmup=0)(99) == 1.0
    step = schedule(plan, "step", warmup=0, step_epochs=2, decay=0.5)
    assert [step(i) for i in (0, 19, 20, 45)] == [1.0, 1.0, 0.5, 0.25]
    cosine = schedule(plan, "cosine", warmup=0)
    assert cosine(0) == 1.0
    assert cosine(50) == pytest.approx(0.505)
    assert cosine(100) == pytest.approx(0.01)


def test_plateau_waits_then_lowers_and_remembers(plan: Plan) -> None:
    made = schedule(plan, "plateau", warmup=0, patience=2, decay=0.5)
    for metric in (0.7, 0.8, 0.8, 0.8):
        made.observe(metric)
    assert made(40) == 0.5
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    state = LambdaLR(optimizer, made).state_dict()
    again = schedule(plan, "plateau", warmup=0, patience=2, decay=0.5)
    LambdaLR(optimizer, again).load_state_dict(state)
    assert (again(40), again.best) == (0.5, 0.8)
