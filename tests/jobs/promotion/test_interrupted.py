"""Interrupted anywhere, a promotion goes on where it stopped, and nothing is done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from facecore.errors import PromotionRefused, RegistryUnavailable
from facecore.jobs.models import model_aliases
from facecore.jobs.promotion import reembed, shadow, switching
from facecore.jobs.stores import Stores
from facecore.stores.catalog import audit
from facecore.stores.catalog.models import active, promotions
from facecore.stores.catalog.pages.summary import summarise
from facecore.stores.registry import Registry

InUse = Callable[[], tuple[int, int]]
ROOT = Path(__file__).resolve().parents[3]


class Unplugged(BaseException):
    """The process ends here."""


# Where it ends → (module, function): just after the function's work, which is inside a
# transaction but for the last.
POINTS = {
    "while filling": (reembed.coverage, "cover"),
    "while indexing": (reembed.faces, "build_index"),
    "while staging": (reembed, "compare_with_gallery"),
    "while publishing the comparison": (shadow.reports, "record"),
    "inside the switch": (switching.active, "switch"),
    "before the aliases": (switching, "_switch"),
}


_MORE = ("while indexing", "while staging", "while publishing the comparison")


@pytest.mark.parametrize(
    "point",
    [pytest.param(point, marks=pytest.mark.slow if point in _MORE else ()) for point in POINTS],
)
def test_it_goes_on_where_it_ended(
    stores: Stores,
    steps,
    challengers,
    in_use: InUse,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
) -> None:
    before = steps.named()
    promotion_id = steps.want(challengers.rotated)
    module, name = POINTS[point]
    work = getattr(module, name)

    def then_unplugged(*arguments, **options):
        work(*arguments, **options)
        raise Unplugged

    with monkeypatch.context() as patch:
        patch.setattr(module, name, then_unplugged)
        with pytest.raises(Unplugged):
            steps.do(promotion_id)
    assert steps.named() == before
    switched = point == "before the aliases"
    assert in_use()[1] == (challengers.rotated.version if switched else 1)

    later = steps.again()
    assert later.start() == (None if switched else promotion_id)
    later.until_compared(promotion_id)
    later.switch(promotion_id)
    assert in_use() == (1, challengers.rotated.version)
    assert steps.named() == before
    assert steps.aliases() == (challengers.rotated.version, 1)
    with stores.catalog.transaction() as tx:
        state = summarise(tx)
        done = [e.action for e in audit.newest(tx, limit=100)]
        assert [p.state for p in promotions.newest(tx)] == ["active"]
        assert audit.verify(tx).first_fault is None
    assert state.faces == state.embeddings
    assert state.shards["reembed"].keys() <= {"done"}
    assert done.count("promotion.active") == 1


def test_killed_inside_the_switch_nothing_is_switched(
    stores: Stores, steps, challengers, in_use: InUse
) -> None:
    before = steps.named()
    promotion_id = steps.want(challengers.rotated)
    steps.until_compared(promotion_id)
    document = stores.settings.model_dump(mode="json")
    for group, name in (("database", "password"), ("s3", "secret_key"), ("mlflow", "password")):
        secret = getattr(getattr(stores.settings, group), name)
        document[group][name] = secret.get_secret_value()
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(promotion_id)],
        cwd=ROOT,
        env={**os.environ, "FACECORE_TEST_SETTINGS": json.dumps(document)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert in_use() == (1, 1)
    assert steps.named() == before
    steps.again().switch(promotion_id)
    assert in_use() == (1, challengers.rotated.version)
    assert steps.named() == before


_KILLED = """
import os, signal, sys
from facecore.config import Settings
from facecore.jobs.promotion import switching
from facecore.jobs.lineage import RunContext
from facecore.jobs.stores import Stores
stores = Stores(Settings.model_validate_json(os.environ["FACECORE_TEST_SETTINGS"]))
switch = switching.active.switch
def then_killed(*arguments):
    switch(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
switching.active.switch = then_killed
switching.switch(RunContext("test", "killed", "switch"), int(sys.argv[1]), stores)
"""


def test_a_registry_that_is_down_does_not_stop_a_rollback(
    stores: Stores, steps, challengers, in_use: InUse, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps.whole(challengers.rotated)

    def down(*_) -> None:
        raise RegistryUnavailable("MLflow is down")

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "set_alias", down)
        steps.rollback()
    assert in_use() == (1, 1)
    assert steps.aliases()[0] == challengers.rotated.version
    # What facecore decided is written before the alias is read as a wish.
    assert steps.start() is None
    assert steps.aliases() == (1, challengers.rotated.version)


def test_an_alias_moved_away_before_the_switch_stops_it(
    stores: Stores, steps, challengers, in_use: InUse
) -> None:
    promotion_id = steps.want(challengers.rotated)
    steps.until_compared(promotion_id)
    stores.registry.set_alias(challengers.rotated.name, "champion", 1)
    with pytest.raises(PromotionRefused, match="version 1"):
        steps.switch(promotion_id)
    assert in_use() == (1, 1)
    with stores.catalog.transaction() as tx:
        assert promotions.get(tx, promotion_id).state == "abandoned"
        assert active.current(tx).embedder.version == 1
    assert steps.start() is None
    assert model_aliases.wanted(stores, challengers.rotated.name) == 1
