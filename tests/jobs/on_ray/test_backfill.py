"""The engine on Ray leaves the rows that the local engine leaves, whatever dies meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from facecore.jobs.stores import Stores
from facecore.samples.sources import Portrait
from facecore.stores.catalog.pages.summary import summarise
from tests.jobs.on_ray.conftest import Cluster
from tests.jobs.on_ray.parity import by_local_engine, catalogued, deliver, emptied, rows

FACECORE = str(Path(sys.executable).with_name("facecore"))
NOISY = 160

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def cluster(ray_folder: Path, environment: dict[str, str]) -> Iterator[Cluster]:
    cluster = Cluster(ray_folder, environment)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def done(stores: Stores) -> tuple[int, int]:
    """Extraction shards that are done, and all."""
    ((finished, every),) = rows(
        stores,
        "SELECT count(*) FILTER (WHERE state = 'done'), count(*) FROM shard "
        "WHERE stage = 'extract'",
    )
    return finished, every


def command(address: str, env: dict[str, str], log: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [FACECORE, "extract", "--engine", "ray", "--ray-address", address, "--json"],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=log.open("w"),
        text=True,
    )


def wait_until(condition: Callable[[], bool], running: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 900
    while not condition():
        assert running.poll() is None, "the command ended"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_node_and_the_command_killed_half_way_change_no_row(
    stores: Stores,
    pictures: dict[str, Portrait],
    noisy_jpeg: Callable[..., bytes],
    cluster: Cluster,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    deliver(stores, pictures, noisy_jpeg, NOISY)
    images, faces = by_local_engine(stores)
    assert len(faces) >= 2 * len(pictures)
    assert [i[1] for i in images].count("quarantined") == 2
    emptied(stores)
    deliver(stores, pictures, noisy_jpeg, NOISY)

    cluster.add_node(4)
    dying = cluster.add_node(4)
    access = {**environment, **cluster.access}
    log = tmp_path / "command.log"
    running = command(cluster.address, access, log)
    try:
        wait_until(lambda: done(stores)[0] >= 3, running)
        cluster.kill(dying)
        at_kill, every = done(stores)
        assert at_kill < every
        wait_until(lambda: done(stores)[0] >= at_kill + 3, running)
        running.kill()  # now the command itself
        running.wait()
        left = done(stores)[1] - done(stores)[0]
        again = command(cluster.address, access, log)
        answer = json.loads(again.communicate(timeout=900)[0])
    finally:
        running.kill()
    assert again.returncode == 0, log.read_text()
    # What was done is not done again. (Ray notices after half a minute that the command is gone,
    # and may have done a part of what was left.)
    assert answer["shards"] <= left
    assert catalogued(stores) == (images, faces)
    with stores.catalog.transaction() as tx:
        assert summarise(tx).images["accepted"] == 0

    said = cluster.logs() + log.read_text()
    for secret in ("DATABASE__PASSWORD", "S3__SECRET_KEY", "MLFLOW__PASSWORD"):
        assert environment[f"FACECORE_{secret}"] not in said
