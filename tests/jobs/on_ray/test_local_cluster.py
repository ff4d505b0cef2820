"""A cluster started on this machine: for us alone, and gone afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from facecore.jobs.on_ray import cluster
from facecore.jobs.stores import Stores
from facecore.samples.sources import Portrait
from tests.jobs.on_ray.parity import by_local_engine, catalogued, deliver, emptied

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STRANGER = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False)
print("let in")
"""


def test_it_lets_nobody_in_without_its_token_and_leaves_nothing_behind(tmp_path: Path) -> None:
    before = dict(os.environ)
    with cluster.connected("local") as ray:
        token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
        folder = token.parent
        assert (token.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
        assert ray.get(ray.remote(num_cpus=0)(lambda: os.getpid()).remote()) != os.getpid()  # noqa: PLW0108
        address = ray.get_runtime_context().gcs_address
        wrong = tmp_path / "token"
        wrong.write_text("0" * 64)
        for access in (
            {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(wrong)},
            {"RAY_AUTH_MODE": "disabled"},
        ):
            stranger = subprocess.run(
                [sys.executable, "-c", STRANGER, address],
                env={**before, **access},
                capture_output=True,
                text=True,
                check=False,
                timeout=300,
            )
            assert stranger.returncode != 0
            assert "let in" not in stranger.stdout
            assert "nauthenticated" in stranger.stderr or "uthentication" in stranger.stderr
    assert not folder.exists()
    assert "RAY_AUTH_TOKEN_PATH" not in os.environ


def test_the_command_starts_one_of_its_own_and_leaves_the_same_rows(
    stores: Stores,
    pictures: dict[str, Portrait],
    noisy_jpeg: Callable[..., bytes],
    environment: dict[str, str],
) -> None:
    deliver(stores, pictures, noisy_jpeg, 16)
    expected = by_local_engine(stores)
    emptied(stores)
    deliver(stores, pictures, noisy_jpeg, 16)
    facecore = str(Path(sys.executable).with_name("facecore"))
    done = subprocess.run(
        [facecore, "extract", "--engine", "ray", "--ray-address", "local", "--json"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["faces"] == len(expected[1]) > 0
    assert catalogued(stores) == expected
