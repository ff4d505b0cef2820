import time

import pytest
import torch
from torch import nn

from facecore.lifecycle.evaluation import Subject, measure_cost
from facecore.lifecycle.evaluation.cost import count_flops, count_parameters
from facecore.zoo.placement import place


def test_parameters_and_operations_are_those_of_the_formula():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.Flatten(),
        nn.Linear(8 * 36, 5),
    ).eval()

    assert count_parameters(network) == 3 * 8 * 9 + 2 * 8 + 8 * 36 * 5 + 5
    flops = count_flops(lambda: network(torch.zeros(1, 3, 6, 6)))
    assert flops == 2 * (3 * 8 * 9 * 36) + 2 * (8 * 36 * 5)


def test_operations_do_not_depend_on_how_a_network_is_placed():
    class Floats(nn.Module):
        def forward(self, pixels):
            return pixels.float()

    network = nn.Sequential(Floats(), nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8))
    crops = torch.zeros(1, 3, 32, 32)
    placed = place(network, torch.device("cpu"), torch.float32, crops.shape)
    assert count_flops(lambda: placed(crops)) == count_flops(lambda: network(crops)) > 0


def test_both_take_turns_and_the_ratio_is_theirs():
    order = []

    def worker(name, seconds):
        def work():
            order.append(name)
            time.sleep(seconds)

        return work

    layer = nn.Linear(4, 4)
    slow = Subject("slow", layer, lambda: layer(torch.zeros(1, 4)), worker("s", 0.03), 8)
    quick = Subject("quick", layer, lambda: layer(torch.zeros(1, 4)), worker("q", 0.01), 8)

    found = measure_cost(quick, slow, rounds=3)

    assert found.champion.name == "slow"
    assert found.speed_ratio == pytest.approx(3, rel=0.5)
    assert found.ratio_low <= found.speed_ratio <= found.ratio_high
    assert found.challenger.slowest <= found.challenger.per_second <= found.challenger.fastest
    # after the warm-up: rounds of many calls, in changing order
    turns = [order[i] for i in range(len(order)) if i == 0 or order[i] != order[i - 1]]
    assert turns[-5:] == ["q", "s", "q", "s", "q"][-5:] or len(turns) >= 4
    assert found.to_json()["challenger"]["parameters"] == 20


def test_a_model_alone_has_no_ratio():
    layer = nn.Linear(4, 4)
    once = lambda: layer(torch.zeros(1, 4))  # noqa: E731
    found = measure_cost(Subject("only", layer, once, once, 1), rounds=1)
    assert (found.champion, found.speed_ratio) == (None, None)
