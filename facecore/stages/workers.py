"""Runs the batches of one stage: over threads on a CPU, with memory to spare on a GPU.

On a CPU every batch is computed by one thread from end to end, several batches at a time.
Sharing each operator among threads instead makes all of them wait for the slowest after every
operator, which on a busy machine costs more than the work itself (measured: 2 to 3 times the
CPU seconds). On a GPU batches run one after another, and are halved when memory is full.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, Self, TypeVar

import torch

_log = logging.getLogger(__name__)


class Sliceable(Protocol):
    """A list or an array: something with a length whose slices are like itself."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> Self: ...


Items = TypeVar("Items", bound=Sliceable)
Result = TypeVar("Result")


class Workers:
    """Computes batches on one device.

    Args:
        device: where the batches are computed.
        threads: on a CPU, batches computed at a time.
    """

    def __init__(self, device: torch.device | None = None, threads: int = 1) -> None:
        self.device = device or torch.device("cpu")
        self._threads = max(1, threads)
        self._pool: ThreadPoolExecutor | None = None
        self._pool_of = 0

    def run(self, items: Items, size: int, compute: Callable[[Items], Result]) -> list[Result]:
        """`compute` over consecutive batches of at most `size` items; results in order.

        Raises:
            torch.cuda.OutOfMemoryError: even a single item does not fit into device memory.
        """
        if self.device.type != "cpu":
            return run_halving(items, size, compute)
        batches = [items[start : start + size] for start in range(0, len(items), size)]
        if self._threads == 1:
            return [compute(batch) for batch in batches]
        return list(self._executor().map(compute, batches))

    def on_cpu(self) -> Workers:
        """The same, or as many threads on the CPU when these compute on another device."""
        return self if self.device.type == "cpu" else Workers(threads=self._threads)

    def _executor(self) -> ThreadPoolExecutor:
        # Threads do not survive a fork: the child makes its own.
        if self._pool is None or self._pool_of != os.getpid():
            self._pool = ThreadPoolExecutor(
                self._threads, "facecore-compute", initializer=torch.set_num_threads, initargs=(1,)
            )
            self._pool_of = os.getpid()
        return self._pool


def run_halving(items: Items, size: int, compute: Callable[[Items], Result]) -> list[Result]:
    """`compute` over consecutive batches, in the caller's thread; results in order.

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
            results.append(compute(batch))
        except torch.cuda.OutOfMemoryError:
            if len(batch) == 1:
                raise
            size = len(batch) // 2
            torch.cuda.empty_cache()
            _log.warning("device memory is full: going on with batches of %d", size)
            continue
        start += len(batch)
    return results
