"""The Ray Data pipeline, run by an actor on the cluster's first node.

The actor is what the command talks to: it is fed with shards, and says what became of them. It
runs on the cluster so that `ray://` addresses work like others and so that a pipeline can be
ended from outside: all its tasks and actors end with it. It imports no torch, and its memory is
small; the steps are imported where they run.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any

from facecore.jobs.on_ray.cluster import Layout, on_head
from facecore.jobs.on_ray.rows import Note, Row, note_of, to_row
from facecore.jobs.on_ray.work import Work

_POLL_S = 0.2
# Decoded shards an actor has in hand: those it computes and one that is on its way to it.
_WAITING_SHARDS = 1
# A shard of a few hundred pictures is two or three groups for a GPU, too few to keep it busy.
_SHARDS_AT_ONCE = {"cpu": 1, "cuda": 3}
_RESTARTS = 2  # of an actor whose process ended, though its node is there


def read_shard(row: Row, work: Work) -> Row:
    """See `steps.read_shard`."""
    from facecore.jobs.on_ray import steps

    return steps.read_shard(row, work)


class Extraction:
    """See `steps.Extraction`; `weights` holds a reference to the files."""

    def __init__(self, work: Work, weights: list[Any]) -> None:
        import ray

        from facecore.jobs.on_ray import steps

        self._extraction = steps.Extraction(work, ray.get(weights[0]))

    def __call__(self, row: Row) -> Row:
        return self._extraction(row)


def write_shard(row: Row, work: Work) -> Row:
    """See `steps.write_shard`."""
    from facecore.jobs.on_ray import steps

    return steps.write_shard(row, work)


def start(ray: Any, work: Work, weights: tuple[bytes, bytes], layout: Layout) -> Any:
    """The handle of a `Pipeline` on the cluster."""
    remote = ray.remote(num_cpus=0, max_concurrency=4, max_restarts=0, resources=on_head(ray))(
        Pipeline
    )
    # In a list it stays a reference: by value Ray Data keeps them about four times on every node,
    # which fills a small object store until nothing moves any more.
    return remote.remote(work, [ray.put(weights)], layout)


class Pipeline:
    """Shards in, notes about them out. Its methods are called side by side.

    Args:
        work: what every step is told.
        weights: a reference to the files of detector and embedder.
        layout: how extraction is spread.
    """

    def __init__(self, work: Work, weights: list[Any], layout: Layout) -> None:
        self._work, self._weights, self._layout = work, weights, layout
        self._waiting: deque[tuple[int, str]] = deque()
        self._lock = Lock()
        self._closed = False
        self._notes: list[Note] = []

    def feed(self, shards: Sequence[tuple[int, str]]) -> None:
        """Take more shards: id and run."""
        with self._lock:
            self._waiting.extend(shards)

    def close(self) -> None:
        """No shard comes any more; `run` ends when the last one is done."""
        self._closed = True

    def next_shard(self) -> tuple[int, str] | None:
        """For the source: the next shard; (0, "") where there is none yet, None at the end."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            return None if self._closed else (0, "")

    def notes(self) -> list[Note]:
        """What became of shards since this was last asked."""
        with self._lock:
            told, self._notes = self._notes, []
            return told

    def run(self) -> None:
        """Bring all shards through the pipeline; returns after `close`."""
        import ray
        import ray.data

        me = ray.get_runtime_context().current_actor

        def source(_: Row) -> Iterator[Row]:
            # Called until there is no more: shards are planned while others are extracted.
            while (shard := ray.get(me.next_shard.remote())) is not None:
                if shard[1]:
                    yield to_row({"shard": shard[0], "run": shard[1]})
                else:
                    time.sleep(_POLL_S)

        self._configure(ray.data.DataContext.get_current())
        steps = self._steps(ray, ray.data.from_items([0]), source)
        for row in steps.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            with self._lock:
                self._notes.append(note_of(row))

    def _configure(self, context: Any) -> None:
        context.target_max_block_size = 1  # every row is a block of its own
        context.enable_progress_bars = False
        context.print_on_execution_start = False

    def _steps(self, ray: Any, ids: Any, source: Any) -> Any:
        """A dataset whose rows are notes about finished shards.

        How much is decoded ahead is Ray Data's to bound: by the cores, by its share of the
        object store, and by the shards that an actor has in hand.
        """
        at_once = _SHARDS_AT_ONCE[self._layout.device]
        a_row: dict[str, Any] = {
            "batch_format": "pyarrow",
            "batch_size": None,
            "zero_copy_batch": True,
        }
        told = {"work": self._work}
        return (
            ids.map_batches(source, **a_row, num_cpus=0, resources=on_head(ray), max_retries=0)
            .map_batches(read_shard, **a_row, fn_kwargs=told, num_cpus=1)
            .map_batches(
                Extraction,
                **a_row,
                fn_constructor_kwargs={**told, "weights": self._weights},
                num_cpus=self._layout.cpus,
                num_gpus=self._layout.gpus,
                compute=ray.data.ActorPoolStrategy(
                    size=self._layout.actors,
                    max_tasks_in_flight_per_actor=at_once + _WAITING_SHARDS,
                    max_concurrent_calls_per_actor=at_once,
                    enable_true_multi_threading=at_once > 1,
                ),
                max_restarts=_RESTARTS,
                max_task_retries=_RESTARTS,
            )
            .map_batches(write_shard, **a_row, fn_kwargs=told, num_cpus=1)
        )
