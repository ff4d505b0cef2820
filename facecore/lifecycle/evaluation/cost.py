"""What a model costs: parameters, operations, and speed measured beside another's.

Speed on a machine that others use too is only comparable between measurements made at the same
time. So the two models take turns: round after round, each once, in changing order.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

ROUNDS = 7
_WARM_UPS = 2
_SHORTEST_S = 0.2  # a round repeats the work until it took this long


@dataclass(frozen=True, slots=True)
class Subject:
    """A model whose cost is measured.

    Attributes:
        name: how it is called in the result.
        network: whose parameters are counted.
        once: one item through the network, in this thread: its operations are counted.
        work: what is timed: a batch of `items` as in production, finished when it returns.
        items: crops (embedder) or images (detector) per call of `work`.
    """

    name: str
    network: nn.Module
    once: Callable[[], object]
    work: Callable[[], object]
    items: int


@dataclass(frozen=True, slots=True)
class ModelCost:
    """Cost of one model.

    Attributes:
        parameters: how many numbers were learned.
        flops: floating-point operations per item (a multiplication and an addition are two);
            only convolutions and matrix products count.
        per_second: items a second: median over rounds, with the slowest and fastest round.
    """

    name: str
    parameters: int
    flops: int
    per_second: float
    slowest: float
    fastest: float


@dataclass(frozen=True, slots=True)
class Cost:
    """The challenger's cost beside the champion's.

    Attributes:
        speed_ratio: the challenger's speed over the champion's: median over rounds; None
            without a champion. `ratio_low` and `ratio_high` are the extreme rounds.
        device, threads: where it was measured.
    """

    challenger: ModelCost
    champion: ModelCost | None
    speed_ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    rounds: int
    device: str
    threads: int

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers."""
        return asdict(self)


def measure_cost(
    challenger: Subject,
    champion: Subject | None = None,
    *,
    rounds: int = ROUNDS,
    device: torch.device | None = None,
) -> Cost:
    """Count, then time both in alternating rounds of one run.

    Args:
        device: that `work` computes on; the CPU by default. CUDA is waited for.
    """
    where = device or torch.device("cpu")
    subjects = [challenger] if champion is None else [challenger, champion]
    for subject in subjects:
        for _ in range(_WARM_UPS):
            subject.work()
    speeds: list[list[float]] = [[] for _ in subjects]
    for number in range(rounds):
        order = range(len(subjects)) if number % 2 == 0 else reversed(range(len(subjects)))
        for index in order:
            speeds[index].append(_speed(subjects[index], where))
    costs = [_cost(subject, found) for subject, found in zip(subjects, speeds, strict=True)]
    ratios = [a / b for a, b in zip(*speeds, strict=True)] if champion is not None else []
    return Cost(
        challenger=costs[0],
        champion=costs[1] if champion is not None else None,
        speed_ratio=statistics.median(ratios) if ratios else None,
        ratio_low=min(ratios, default=None),
        ratio_high=max(ratios, default=None),
        rounds=rounds,
        device=torch.cuda.get_device_name(where) if where.type == "cuda" else str(where),
        threads=torch.get_num_threads(),
    )


def count_parameters(network: nn.Module) -> int:
    """Learned numbers; buffers such as BatchNorm's running statistics do not count."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_flops(once: Callable[[], object]) -> int:
    """Floating-point operations of the convolutions and matrix products in one call.

    It must compute in this thread: work of other threads is not seen.
    """
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False, custom_mapping=_packed_convolutions())
    with counter, torch.no_grad():
        once()
    return int(counter.get_total_flops())


def _packed_convolutions() -> dict[Any, Any]:
    """How to count the convolutions that `zoo.placement` packs for CPUs, where there are any."""
    from torch.utils.flop_counter import conv_flop_count

    operator = getattr(torch.ops.mkldnn, "_convolution_pointwise", None)
    if operator is None:
        return {}

    def count(x_shape: list[int], w_shape: list[int], *_: Any, out_shape: Any, **__: Any) -> int:
        return int(conv_flop_count(list(x_shape), list(w_shape), list(out_shape)))

    return {operator: count}


def _cost(subject: Subject, speeds: list[float]) -> ModelCost:
    return ModelCost(
        name=subject.name,
        parameters=count_parameters(subject.network),
        flops=count_flops(subject.once),
        per_second=statistics.median(speeds),
        slowest=min(speeds),
        fastest=max(speeds),
    )


def _speed(subject: Subject, device: torch.device) -> float:
    """Items a second, over at least `_SHORTEST_S`."""
    calls = 0
    start = time.perf_counter()
    while True:
        subject.work()
        calls += 1
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elapsed = time.perf_counter() - start
        if elapsed >= _SHORTEST_S:
            return calls * subject.items / elapsed
