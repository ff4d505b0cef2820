"""A cluster started on this machine: for us alone, and gone afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from facecore.jobs.on_ray import cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STRANGER = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False)
print("let in")
"""


def process_id() -> int:
    return os.getpid()  # Ray takes no builtin


def test_it_lets_nobody_in_without_its_token_and_leaves_nothing_behind(tmp_path: Path) -> None:
    before = dict(os.environ)
    with cluster.connected("local") as ray:
        token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
        folder = token.parent
        assert (token.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
        assert ray.get(ray.remote(num_cpus=0)(process_id).remote()) != os.getpid()
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
