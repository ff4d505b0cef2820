"""Runs device work in batches, and in smaller ones when the device's memory is full."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol, Self, TypeVar

import torch

_log = logging.getLogger(__name__)


class Sliceable(Protocol):
    """A sequence or an array: something with a length whose slices are like itself."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> Self: ...


Items = TypeVar("Items", bound=Sliceable)
Result = TypeVar("Result")


def run_halving(items: Items, size: int, run: Callable[[Items], Result]) -> list[Result]:
    """`run` over consecutive batches of at most `size` items; the results in order.

    When a batch does not fit into the device's memory, the size is halved, which is logged,
    and the same items are tried again.

    Raises:
        torch.cuda.OutOfMemoryError: even a single item does not fit.
    """
    results: list[Result] = []
    start = 0
    while start < len(items):
        batch = items[start : start + size]
        try:
            results.append(run(batch))
        except torch.cuda.OutOfMemoryError:
            if len(batch) == 1:
                raise
            size = len(batch) // 2
            torch.cuda.empty_cache()
            _log.warning("device memory is full: going on with batches of %d", size)
            continue
        start += len(batch)
    return results
