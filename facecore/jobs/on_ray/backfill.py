"""The back-fill: everything that waits for extraction, over a Ray cluster.

The catalogue alone says what is done, so the command, the pipeline, a node or all of them may
end at any time; the next pass, or the next call, goes on with the shards that are open. A pass
is one pipeline on the nodes that are there when it begins. Where a node is lost, the next pass
is laid out on those that are left.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from facecore.errors import FacecoreError, ModelsChanged, PlatformError, StoreError, UsageError
from facecore.jobs.faces import extract
from facecore.jobs.lineage import RunContext
from facecore.jobs.models.champions import Champions, champions, network_of
from facecore.jobs.on_ray import cluster, pipeline
from facecore.jobs.on_ray.cluster import Layout
from facecore.jobs.on_ray.rows import Note
from facecore.jobs.on_ray.work import DAG_ID, Work
from facecore.jobs.stores import Stores
from facecore.stores.catalog.work import backfill, shards
from facecore.stores.registry import WEIGHTS

logger = logging.getLogger(__name__)

_RUNS = "ray__"
# A shard is decoded at once: 64 million pixels are 192 MB.
_PIXELS_PER_SHARD = 64_000_000
# Shards that wait beside those in work. When there are fewer, more are planned.
_PLANNED_AHEAD = 200
_ASK_S = 1.0
_TRIES_OF_A_SHARD = 3
# Before a pass that follows one which got nothing done.
_PAUSES_S = (15.0, 60.0, 240.0)

Progress = Callable[[int, int], None]


class _Ended(Exception):
    """A pass ended before everything was done; another one may get further."""

    def __init__(self, error: FacecoreError) -> None:
        super().__init__(str(error))
        self.error = error


def extract_everything(
    address: str = "",
    stores: Stores | None = None,
    on_progress: Progress = lambda _done, _planned: None,
) -> dict[str, int]:
    """Extract every accepted image on a Ray cluster; returns counts.

    Shards that an earlier call left open come first.

    Args:
        address: see `cluster.connected`; by default the setting's.
        on_progress: called with the numbers of shards that are done and planned.

    Raises:
        ConfigError: Ray is not installed, or no cluster can be used at the address.
        CatalogBusy: another back-fill is running.
        StoreError: a store failed, again after pauses.
        PlatformError: Ray failed, again and again.
    """
    stores = stores or Stores()
    address = address or stores.settings.ray.address
    cluster.require(address)
    with backfill.alone(stores.catalog):
        filling = _BackFill(stores, on_progress)
        if filling.has_work():
            with cluster.connected(address) as ray:
                filling.run(ray)
        return filling.counts()


class _BackFill:
    def __init__(self, stores: Stores, on_progress: Progress) -> None:
        self._stores, self._on_progress = stores, on_progress
        name = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        self._run = f"{_RUNS}{name}-{secrets.token_hex(4)}"
        self._plans = 0
        self._shards: dict[int, str] = {}  # all: id → run
        self._done: set[int] = set()
        with stores.catalog.transaction() as tx:
            self._shards.update(backfill.open_shards(tx, _RUNS))

    def has_work(self) -> bool:
        return bool(self._shards) or bool(self._plan())

    def counts(self) -> dict[str, int]:
        with self._stores.catalog.transaction() as tx:
            return shards.totals(tx, list(self._shards))

    def run(self, ray: Any) -> None:
        """Passes until everything is done."""
        in_vain = 0
        while True:
            before = len(self._done)
            try:
                self._pass(ray)
                return
            except _Ended as ended:
                in_vain = 0 if len(self._done) > before else in_vain + 1
                if in_vain > len(_PAUSES_S):
                    raise ended.error from None
                logger.warning("%s Going on with what is left.", ended.error)
                if in_vain:
                    time.sleep(_PAUSES_S[in_vain - 1])

    def _pass(self, ray: Any) -> None:
        """One pipeline, from the open shards to the last planned one.

        Raises:
            _Ended: it came to an end before.
            FacecoreError: another pass would not help.
        """
        settings = self._stores.settings
        chosen = champions(self._stores)
        try:
            layout = cluster.layout(ray.nodes(), settings.ray, settings.extract)
            logger.info("pass on %d nodes: %s", len(layout.nodes), layout)
            with self._stores.catalog.transaction() as tx:
                left = backfill.open_shards(tx, _RUNS)
            handle = pipeline.start(
                ray, _work(self._stores, chosen, layout), _weights(self._stores, chosen), layout
            )
            try:
                _Pass(ray, handle, layout, left, self._plan, self._finished).to_the_end()
            finally:
                ray.kill(handle)
        except (ray.exceptions.RayError, ConnectionError) as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            raise _Ended(
                PlatformError(
                    "ray",
                    f"the pipeline on the Ray cluster ended: {lines[-1] if lines else error!r}",
                    remedy="Ray's logs say more, on the cluster's nodes (/tmp/ray).",
                )
            ) from None

    def _plan(self) -> list[tuple[int, str]]:
        """New shards of images that nobody extracts; none when there are no such images."""
        run = f"{self._run}/{self._plans}"
        context = RunContext(DAG_ID, run, "plan")
        ids = extract.plan(context, None, self._stores, max_pixels=_PIXELS_PER_SHARD)
        self._plans += 1
        planned = [(shard_id, run) for shard_id in ids]
        self._shards.update(planned)
        self._on_progress(len(self._done), len(self._shards))
        return planned

    def _finished(self, shard_id: int) -> None:
        self._done.add(shard_id)
        self._on_progress(len(self._done), len(self._shards))


class _Pass:
    """A pipeline that is fed and listened to."""

    def __init__(
        self,
        ray: Any,
        handle: Any,
        layout: Layout,
        left: list[tuple[int, str]],
        plan: Callable[[], list[tuple[int, str]]],
        finished: Callable[[int], None],
    ) -> None:
        self._ray, self._pipeline, self._layout = ray, handle, layout
        self._plan, self._finished = plan, finished
        self._open: dict[int, str] = {}
        self._failed: Counter[int] = Counter()
        self._failed_since_success = 0
        self._more = True
        self._feed(left)

    def to_the_end(self) -> None:
        running = self._pipeline.run.remote()
        while True:
            if self._more and len(self._open) < _PLANNED_AHEAD:
                planned = self._plan()
                self._more = bool(planned)
                self._feed(planned)
            ended, _ = self._ray.wait([running], timeout=_ASK_S)
            for note in self._ray.get(self._pipeline.notes.remote()):
                self._take(note)
            if ended:
                self._ray.get(running)
                return
            if not self._open and not self._more:
                self._ray.get(self._pipeline.close.remote())
            self._require_nodes()

    def _feed(self, planned: list[tuple[int, str]]) -> None:
        if planned:
            self._open.update(planned)
            self._ray.get(self._pipeline.feed.remote(planned))

    def _take(self, note: Note) -> None:
        shard_id = int(note["shard"])
        failure = note.get("failure")
        if failure is None:
            self._open.pop(shard_id, None)
            self._failed_since_success = 0
            self._finished(shard_id)
            return
        error = _error(shard_id, failure)
        if failure["kind"] == ModelsChanged.__name__:
            raise _Ended(error)
        if not failure["retryable"]:
            raise error
        self._failed[shard_id] += 1
        self._failed_since_success += 1
        most = max(self._failed[shard_id], self._failed_since_success)
        if most >= _TRIES_OF_A_SHARD:
            raise _Ended(error)
        logger.warning("%s Trying it again.", error)
        self._feed([(shard_id, self._open[shard_id])])

    def _require_nodes(self) -> None:
        alive = {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
        if lost := self._layout.nodes - alive:
            nodes = "a node" if len(lost) == 1 else f"{len(lost)} nodes"
            raise _Ended(PlatformError("ray", f"the Ray cluster lost {nodes}."))


def _work(stores: Stores, chosen: Champions, layout: Layout) -> Work:
    settings = stores.settings.extract
    detector, embedder = network_of(chosen.detector), network_of(chosen.embedder)
    # Only YuNet takes pictures on a GPU, in full size; see `FaceExtractor`.
    in_full = layout.device == "cuda" and detector == "yunet"
    actors = settings.model_copy(update={"device": layout.device, "threads": layout.cpus})
    return Work(
        models=chosen.ids,
        names=chosen.names,
        networks=(detector, embedder),
        digests=(chosen.detector.weights_sha256, chosen.embedder.weights_sha256),
        extract=actors.model_dump_json(),
        least_px=0 if in_full else max(settings.detect_sides_px),
        limits=(stores.settings.ingest.max_bytes, stores.settings.ingest.max_pixels),
    )


def _weights(stores: Stores, chosen: Champions) -> tuple[bytes, bytes]:
    detector, embedder = (
        (stores.registry.download(version) / WEIGHTS).read_bytes()
        for version in (chosen.detector, chosen.embedder)
    )
    return detector, embedder


def _error(shard_id: int, failure: dict[str, Any]) -> FacecoreError:
    if "trace" in failure:
        logger.error("shard %d: %s", shard_id, failure["trace"])
    words, remedy = f"shard {shard_id}: {failure['message']}", failure["remedy"]
    if failure["usage"]:
        return UsageError(words, remedy=remedy)
    if failure["retryable"]:
        return StoreError(words, remedy=remedy)
    return PlatformError("ray", words, remedy=remedy)
