"""Mistakes with the engine are told in a sentence; how work is spread over nodes."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from facecore.config import ExtractSettings, RaySettings
from facecore.errors import ConfigError, DeviceUnavailable, PlatformError
from facecore.jobs.on_ray import cluster
from facecore.jobs.on_ray.cluster import Layout, layout, require

CPU = ExtractSettings()


def call(program: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=cwd
    )


def test_without_the_extra_a_sentence_says_how_to_get_it(tmp_path: Path) -> None:
    done = call(
        "import sys; sys.modules['ray'] = None\n"
        "sys.argv = ['facecore', 'extract', '--engine', 'ray']\n"
        "from facecore.cli import main; main()",
        tmp_path,
    )
    assert done.returncode == 2
    assert "the engine ray is not installed" in done.stderr
    assert "requirements-ray.txt" in done.stderr
    assert "Traceback" not in done.stderr


def test_ray_is_imported_by_its_engine_only_and_torch_where_it_computes(tmp_path: Path) -> None:
    for modules, absent in (
        ("facecore.cli, facecore.jobs.faces.extract, facecore.jobs.on_ray.backfill", "ray"),
        ("facecore.jobs.on_ray.pipeline", "torch"),
    ):
        done = call(f"import sys, {modules}; sys.exit({absent!r} in sys.modules)", tmp_path)
        assert done.returncode == 0, done.stderr


def test_it_is_not_imported_before_its_token_is_made(tmp_path: Path) -> None:
    """Ray reads at import which token to use, and would use none."""
    (tmp_path / "ray.py").write_text("raise SystemExit('it was imported')")
    done = call("from facecore.jobs.on_ray.cluster import require; require('local')", tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("address", ["", "head", "http://head:1", "ray://head", "head:0", "a b:1"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(ConfigError, match="address of a Ray cluster") as caught:
        require(address)
    assert "ray://host:port" in caught.value.remedy


def test_nobody_answers_at_the_address() -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"ray://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"no Ray cluster answers at {address}"):
            require(address)


def test_a_cluster_that_takes_the_connection_and_does_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As Ray's client when the cluster's server for it died at its start: that takes a crash."""
    never = Event()
    ray = SimpleNamespace(
        init=lambda **_: never.wait(), exceptions=SimpleNamespace(AuthenticationError=KeyError)
    )
    monkeypatch.setattr(cluster, "engine", lambda: ray)
    monkeypatch.setattr(cluster, "_CLIENT_S", 0.1)
    with (
        pytest.raises(PlatformError, match="did nothing with it") as caught,
        cluster.connected("ray://head:10001"),
    ):
        pytest.fail("there is no cluster")
    never.set()
    assert "GRPC_ENABLE_FORK_SUPPORT=0" in caught.value.remedy


def test_the_address_belongs_to_the_engine(tmp_path: Path) -> None:
    done = call(
        "import sys; sys.argv = ['facecore', 'extract', '--ray-address', 'auto']\n"
        "from facecore.cli import main; main()",
        tmp_path,
    )
    assert (done.returncode, "--ray-address is for --engine ray" in done.stderr) == (2, True)


def nodes(*resources: dict[str, float]) -> list[dict[str, Any]]:
    found = [{"NodeID": str(i), "Alive": True, "Resources": own} for i, own in enumerate(resources)]
    return [*found, {"NodeID": "dead", "Alive": False, "Resources": {"CPU": 64, "GPU": 8}}]


def test_actors_on_cores_leave_some_for_reading() -> None:
    spread = layout(nodes({"CPU": 16}, {"CPU": 16}), RaySettings(cpus_per_actor=2), CPU)
    assert spread == Layout(actors=12, gpus=0, cpus=2, nodes=frozenset({"0", "1"}))
    assert spread.device == "cpu"
    small = layout(nodes({"CPU": 4}), RaySettings(cpus_per_actor=2), CPU)
    assert small.actors == 1
    # Cores of two nodes make no actor.
    assert layout(nodes({"CPU": 3}, {"CPU": 3}), RaySettings(cpus_per_actor=2), CPU).actors == 2
    assert layout(nodes({"CPU": 8}), RaySettings(cpus_per_actor=2, actors=2), CPU).actors == 2


def test_an_actor_for_every_gpu_takes_no_core() -> None:
    gpus = nodes({"CPU": 16}, {"GPU": 8}, {"GPU": 8, "CPU": 2})
    spread = layout(gpus, RaySettings(), CPU)
    assert (spread.actors, spread.gpus, spread.cpus, spread.device) == (16, 1, 0, "cuda")
    assert layout(gpus, RaySettings(), ExtractSettings(device="cpu")).gpus == 0


@pytest.mark.parametrize(
    ("small", "settings"),
    [
        (nodes({"CPU": 3}), RaySettings(cpus_per_actor=2)),  # too few to read and to write
        (nodes({"CPU": 2}, {"CPU": 2}), RaySettings(cpus_per_actor=3)),
        (nodes({"GPU": 8, "CPU": 1}), RaySettings()),
        (nodes(), RaySettings()),
    ],
)
def test_a_cluster_too_small(small: list[dict[str, Any]], settings: RaySettings) -> None:
    with pytest.raises(ConfigError, match="the cluster has") as caught:
        layout(small, settings, CPU)
    assert "FACECORE_RAY__CPUS_PER_ACTOR" in caught.value.remedy


def test_gpus_that_were_asked_for_and_are_not_there() -> None:
    with pytest.raises(DeviceUnavailable, match="none of the cluster's 1 nodes has one"):
        layout(nodes({"CPU": 8}), RaySettings(), ExtractSettings(device="cuda"))
