import logging
import os
import threading
from itertools import chain

import pytest
import torch

from facecore.stages.workers import Workers, run_halving


def test_results_come_in_order_from_several_threads():
    seen = set()
    together = threading.Barrier(2, timeout=20)

    def compute(batch):
        together.wait()  # passes only when two batches run at a time
        seen.add(threading.current_thread().name)
        assert torch.get_num_threads() == 1
        return [x * 10 for x in batch]

    assert Workers(threads=2).run([1, 2, 3, 4, 5, 6, 7], 2, compute) == [
        [10, 20],
        [30, 40],
        [50, 60],
        [70],
    ]
    assert len(seen) == 2


def test_one_thread_is_the_callers():
    here = threading.current_thread()
    workers = Workers(threads=1)
    assert workers.run([1, 2], 1, lambda _: threading.current_thread()) == [here, here]


def test_errors_reach_the_caller():
    def fail(batch):
        raise ZeroDivisionError(batch)

    with pytest.raises(ZeroDivisionError):
        Workers(threads=2).run([1, 2, 3], 1, fail)


def test_a_forked_child_makes_its_own_threads():
    workers = Workers(threads=2)
    assert workers.run([1, 2], 1, sum) == [1, 2]
    child = os.fork()
    if child == 0:  # whatever happens, the child must not return into pytest
        status = 1
        try:
            status = int(workers.run([[3], [4]], 1, lambda batch: batch[0][0]) != [3, 4])
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_full_device_memory_halves_the_batch(caplog):
    sizes = []

    def compute(batch):
        sizes.append(len(batch))
        if len(batch) > 3:
            raise torch.cuda.OutOfMemoryError
        return batch

    with caplog.at_level(logging.WARNING):
        results = run_halving(list(range(10)), 8, compute)
    assert list(chain.from_iterable(results)) == list(range(10))
    assert sizes == [8, 4, 2, 2, 2, 2, 2]
    assert "batches of 4" in caplog.text


def test_one_item_too_large_is_an_error():
    def compute(batch):
        raise torch.cuda.OutOfMemoryError

    with pytest.raises(torch.cuda.OutOfMemoryError):
        run_halving([1, 2], 2, compute)
