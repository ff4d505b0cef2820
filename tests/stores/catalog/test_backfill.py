"""A back-fill is one at a time, and leaves behind what the next one goes on with."""

from __future__ import annotations

import pytest

from facecore.errors import CatalogBusy
from facecore.stores.catalog import Catalog
from facecore.stores.catalog.work import backfill, shards


def test_a_second_back_fill_is_refused_until_the_first_ended(catalog: Catalog) -> None:
    with (
        backfill.alone(catalog),
        pytest.raises(CatalogBusy, match="another back-fill"),
        backfill.alone(catalog),
    ):
        pass
    with backfill.alone(catalog):
        pass


def test_open_shards_are_those_of_back_fills_tried_least_first(catalog: Catalog) -> None:
    with catalog.transaction() as tx:
        tried, done, failed = shards.plan(tx, "extract", "ray__1/0", [[1], [2], [3]])
        (new,) = shards.plan(tx, "extract", "ray__2/0", [[4]])
        shards.plan(tx, "extract", "rays", [[5]])
        shards.plan(tx, "extract", "scheduled__1", [[6]])
        shards.plan(tx, "ingest", "ray__1/0", [[7]])
        shards.complete(tx, done, {})
    for _ in range(2):
        shards.note_attempt(catalog, tried)
    shards.note_attempt(catalog, failed)
    shards.fail(catalog, failed, "no")
    with catalog.transaction() as tx:
        assert backfill.open_shards(tx, "ray__") == [
            (new, "ray__2/0"),
            (failed, "ray__1/0"),
            (tried, "ray__1/0"),
        ]
