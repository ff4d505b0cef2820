"""Heavy work waits for its turn; when too many wait, it is refused."""

from __future__ import annotations

import importlib.util
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import pytest
from fastapi import HTTPException

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def work():
    """The module alone: the plugin's package needs a running Airflow."""
    path = ROOT / "plugins/facecore_plugin/work.py"
    spec = importlib.util.spec_from_file_location("pages_work", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(main):
    """In a thread of its own: where a browser was driven before, this one has a loop already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(anyio.run, main).result()


def test_one_works_some_wait_and_the_rest_come_back_later(work):
    begun, finish = threading.Event(), threading.Event()
    at_work, most, refused = [], [], []

    def task():
        at_work.append(1)
        most.append(len(at_work))
        begun.set()
        finish.wait(10)
        at_work.pop()

    async def visitor(desk):
        try:
            async with desk.place():
                await desk.do(task)
        except HTTPException as error:
            refused.append((error.status_code, error.headers["Retry-After"]))

    async def rush():
        desk = work.Desk("The search", at_once=1, waiting=2)
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(visitor, desk)
            await anyio.to_thread.run_sync(begun.wait)
            finish.set()
        async with desk.place():  # all places are free again
            return await desk.do(len, "done")

    assert run(rush) == 4
    assert most == [1, 1, 1]
    assert refused == [(503, "5")] * 2


def test_a_fault_frees_the_place(work):
    async def fail():
        desk = work.Desk("The search", at_once=1, waiting=0)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                async with desk.place():
                    await desk.do(lambda: 1 // 0)

    run(fail)
