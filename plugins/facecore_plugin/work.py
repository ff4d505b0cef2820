"""Where work is done: beside the api-server's event loop, bounded, and refused when busy.

Airflow's own pages use the process's default threads. Ours have some of their own, so that slow
stores never hold up Airflow, and what needs much memory or a network waits for its turn.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import ParamSpec, TypeVar

import anyio
import anyio.to_thread
from fastapi import HTTPException

P = ParamSpec("P")
T = TypeVar("T")

# Reading pages: short transactions.
_READING = anyio.CapacityLimiter(8)


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do short work, such as a transaction, in one of eight threads."""
    return await anyio.to_thread.run_sync(partial(work, *args, **kwargs), limiter=_READING)


class Desk:
    """Heavy work: some at once, some more wait, everybody else is told to come back.

    Args:
        at_once: how many are at work.
        waiting: how many more may wait, counted from when they arrive.
        what: what is busy, for the refusal.
    """

    def __init__(self, what: str, at_once: int, waiting: int) -> None:
        self._what = what
        self._places = at_once + waiting
        self._present = 0
        self._limiter = anyio.CapacityLimiter(at_once)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place at the desk.

        Raises:
            HTTPException: 503 when all places are taken.
        """
        if self._present >= self._places:
            raise HTTPException(
                503, f"{self._what} is busy. Try again in a moment.", {"Retry-After": "5"}
            )
        self._present += 1
        try:
            yield
        finally:
            self._present -= 1

    async def do(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do work in a thread of the desk, when its turn comes."""
        return await anyio.to_thread.run_sync(partial(work, *args, **kwargs), limiter=self._limiter)
