"""The steps behind one another, without Ray between them: the rows are the local engine's."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from facecore.config import settings
from facecore.errors import ConfigError
from facecore.jobs.faces import extract
from facecore.jobs.lineage import RunContext
from facecore.jobs.models.champions import champions
from facecore.jobs.on_ray import backfill, steps
from facecore.jobs.on_ray.cluster import Layout
from facecore.jobs.on_ray.rows import Note, note_of, to_row
from facecore.jobs.stores import Stores
from facecore.samples.sources import Portrait
from facecore.stores.catalog.work import shards
from tests.jobs.on_ray.parity import LANES, by_local_engine, catalogued, deliver, emptied

RUN = "ray__steps/0"


@pytest.fixture
def node(
    stores: Stores, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stores]:
    """This process has the settings of these stores in its environment, as a node has."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    steps._stores.cache_clear()
    yield stores
    settings.cache_clear()
    steps._stores.cache_clear()


class Steps:
    """What an actor and tasks do with a shard."""

    def __init__(self, stores: Stores) -> None:
        chosen = champions(stores)
        layout = Layout(actors=1, gpus=0, cpus=LANES, nodes=frozenset())
        self.work = backfill._work(stores, chosen, layout)
        self.extraction = steps.Extraction(self.work, backfill._weights(stores, chosen))

    def __call__(self, shard_id: int, run: str = RUN) -> Note:
        row = steps.read_shard(to_row({"shard": shard_id, "run": run}), self.work)
        return note_of(steps.write_shard(self.extraction(row), self.work))


def plan(stores: Stores) -> list[int]:
    return extract.plan(RunContext("ray", RUN, "plan"), stores=stores, max_pixels=64_000_000)


def test_rows_are_those_of_the_local_engine_and_are_made_once(
    node: Stores, pictures: dict[str, Portrait], noisy_jpeg: Callable[..., bytes]
) -> None:
    deliver(node, pictures, noisy_jpeg, 12)
    local = by_local_engine(node)
    emptied(node)
    deliver(node, pictures, noisy_jpeg, 12)
    step = Steps(node)
    ids = plan(node)
    for shard_id in ids:
        assert "failure" not in step(shard_id)
    assert catalogued(node) == local

    late = step(ids[0])  # as a task that Ray repeats
    assert late["done"]["images"] > 0
    with node.catalog.transaction() as tx:
        assert shards.get(tx, ids[0]).attempts == 1
        counts = shards.totals(tx, ids)
    assert counts["images_rejected"] == 2
    assert counts["images"] + 2 == 12 + 2 * len(pictures)
    assert catalogued(node) == local


def test_a_node_of_another_catalogue_writes_nothing(
    node: Stores, pictures: dict[str, Portrait], noisy_jpeg: Callable[..., bytes]
) -> None:
    node.objects.put("landing", "door/1.jpg", noisy_jpeg(1))
    with node.catalog.transaction() as tx:
        (shard_id,) = shards.plan(tx, "extract", RUN, [[1]])
    step = Steps(node)
    failure = step(shard_id, run="ray__of-another-catalogue/0")["failure"]
    assert (failure["kind"], failure["usage"]) == (ConfigError.__name__, True)
    assert "works with is not the one" in failure["message"]
    assert "FACECORE_DATABASE__" in failure["remedy"]
    with node.catalog.transaction() as tx:
        assert shards.get(tx, shard_id).attempts == 0
