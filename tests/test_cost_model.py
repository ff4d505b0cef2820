"""The cost model: docs/scale.md shows what it computes, and it behaves as costs do."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def model() -> ModuleType:
    path = ROOT / "benchmarks" / "cost_model.py"
    spec = importlib.util.spec_from_file_location("cost_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_what_the_model_computes(model: ModuleType) -> None:
    page = (ROOT / "docs" / "scale.md").read_text("utf-8")
    for table in model.tables([model.planned(n) for n in model.SIZES]).split("\n\n"):
        assert table in page, "run `python benchmarks/cost_model.py` and paste its tables"
    assert model.sources() in page


def test_every_constant_says_where_it_comes_from(model: ModuleType) -> None:
    for name, constant in model.CONSTANTS.items():
        assert constant.value > 0, name
        assert constant.source, name
        assert constant.unit, name


def test_machines_meet_the_deadline_and_never_shrink_with_the_load(model: ModuleType) -> None:
    plans = [model.plan(model.planned(n)) for n in model.SIZES]
    for made in plans:
        assert made.hours["computing"] <= made.load.deadline_h
        assert made.hours["S3 requests"] <= made.load.deadline_h
    assert [p.cores for p in plans] == sorted(p.cores for p in plans)
    assert [p.s3_servers for p in plans] == sorted(p.s3_servers for p in plans)


def test_storage_is_linear_and_clustering_is_not(model: ModuleType) -> None:
    small, large = model.Load(10_000), model.Load(100_000)
    for kind, count in model.storage_bytes(small).items():
        assert model.storage_bytes(large)[kind] == pytest.approx(10 * count)
    assert model.cluster_hours(large) == pytest.approx(100 * model.cluster_hours(small))


def test_the_bottleneck_is_what_has_to_be_mended_first(model: ModuleType) -> None:
    named = [model.plan(model.planned(n)).bottleneck for n in model.SIZES]
    assert named[0] == "computing"
    assert named[-1] == "memory of the index"
    many_faces = model.plan(model.Load(10_000_000, faces=30.0, deadline_h=24.0))
    assert many_faces.bottleneck in {"memory of the index", "full clustering"}


def test_larger_shards_cost_less(model: ModuleType) -> None:
    hours = [model.core_hours(model.Load(1_000_000, shard=size)) for size in (128, 512, 4096)]
    assert hours == sorted(hours, reverse=True)
