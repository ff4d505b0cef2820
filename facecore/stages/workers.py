"""Runs the batches of one stage: over threads on a CPU, with memory to spare on a GPU.

On a CPU every batch is computed by one thread from end to end, several batches at a time.
Sharing each operator among threads instead makes all of them wait for the slowest after every
operator, which on a busy machine costs more than the work itself (measured: 2 to 3 times the
CPU seconds). On a GPU batches run one after another. Where memory is full, batches are halved.
"""

from __future__ import annotations

import logging
import os
import threading
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


_CPU_MEMORY_FULL = (
    "can't allocate memory", "bad_alloc", "out of memory", "Cannot allocate memory",
    "Insufficient memory",  # libjpeg
)  # fmt: skip
_here = threading.local()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device or the machine had no memory left; engines word it differently."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(m in str(error) for m in _CPU_MEMORY_FULL)


def compute_in_this_thread() -> None:
    """From now on, whatever this thread computes stays on this one thread.

    For a thread beside which others do the same: `Workers.run` then hands nothing on, and torch
    takes no second core.
    """
    torch.set_num_threads(1)
    _here.alone = True


class Workers:
    """Computes batches on one device.

    Args:
        device: where the batches are computed.
        threads: on a CPU, batches computed at a time.
    """

    def __init__(self, device: torch.device | None = None, threads: int = 1) -> None:
        self.device = device or torch.device("cpu")
        self.threads = max(1, threads)
        self._beside: Workers | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._pool_of = 0
        self._lock = threading.Lock()

    def run(self, items: Items, size: int, compute: Callable[[Items], Result]) -> list[Result]:
        """`compute` over consecutive batches of at most `size` items; results in order.

        Where memory is full, batches are halved, which is logged.

        Raises:
            torch.OutOfMemoryError, MemoryError, RuntimeError: even one item does not fit.
        """
        alone = self.threads == 1 or getattr(_here, "alone", False)
        if self.device.type != "cpu" or alone:
            return run_halving(items, size, compute)
        batches = [items[start : start + size] for start in range(0, len(items), size)]
        halved = self._executor().map(lambda batch: run_halving(batch, size, compute), batches)
        return [result for results in halved for result in results]

    def on_cpu(self) -> Workers:
        """The same, or as many threads on the CPU when these compute on another device."""
        if self.device.type == "cpu":
            return self
        if self._beside is None:
            self._beside = Workers(threads=self.threads)
        return self._beside

    def _executor(self) -> ThreadPoolExecutor:
        # Threads do not survive a fork: the child makes its own.
        with self._lock:
            if self._pool is None or self._pool_of != os.getpid():
                self._pool = ThreadPoolExecutor(
                    self.threads, "facecore-compute", initializer=compute_in_this_thread
                )
                self._pool_of = os.getpid()
            return self._pool


def run_halving(items: Items, size: int, compute: Callable[[Items], Result]) -> list[Result]:
    """`compute` over consecutive batches, in the caller's thread; results in order.

    When a batch does not fit into memory, the size is halved, which is logged, and the same
    items are tried again.

    Raises:
        torch.OutOfMemoryError, MemoryError, RuntimeError: even a single item does not fit.
    """
    results: list[Result] = []
    start = 0
    while start < len(items):
        batch = items[start : start + size]
        try:
            results.append(compute(batch))
        except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
            size = len(batch) // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            _log.warning("memory is full: going on with batches of %d", size)
            continue
        start += len(batch)
    return results
