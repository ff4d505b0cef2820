"""`launch.py` becomes the program, after ending what an earlier one left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from facecore.local import launch

SLEEP = "import time; print('ready', flush=True); time.sleep(60)"


def sleeper(mark: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEP],
        env={**os.environ, launch.MARK: mark},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def program(tmp_path: Path, code: str, **changes: object) -> list[str]:
    spec = {
        "mark": f"{tmp_path}:one",
        "argv": [sys.executable, "-c", code],
        "cwd": str(tmp_path),
        "env": {"SECRET": "in the environment"},
        "user": None,
        "data": None,
        "stale": [],
        **changes,
    }
    path = tmp_path / "program.json"
    path.write_text(json.dumps(spec))
    return [sys.executable, "-I", str(Path(launch.__file__)), str(path)]


def test_becomes_the_program_with_its_environment_folder_and_umask(tmp_path: Path) -> None:
    code = "import os; print(os.getpid(), os.environ['SECRET'], os.getcwd(), os.umask(0))"
    with subprocess.Popen(program(tmp_path, code), stdout=subprocess.PIPE, text=True) as process:
        out, _ = process.communicate(timeout=30)
    assert out.split(maxsplit=1)[0] == str(process.pid)  # replaced, not a child
    assert out.split(maxsplit=1)[1].strip() == f"in the environment {tmp_path} {0o077}"


def test_ends_its_own_leftovers_only(tmp_path: Path) -> None:
    old, other = sleeper(f"{tmp_path}:one"), sleeper(f"{tmp_path}:two")
    stale = tmp_path / "stale.pid"
    stale.write_text("1")
    try:
        subprocess.run(program(tmp_path, "pass", stale=[str(stale)]), check=True, timeout=30)
        assert old.wait(timeout=5) != 0
        assert other.poll() is None
        assert not stale.exists()
        assert [p.pid for p in launch.leftovers(str(tmp_path))] == [other.pid]
    finally:
        for process in (old, other):
            process.kill()
            process.communicate()


def test_one_that_ignores_the_request_is_killed() -> None:
    code = "import signal; signal.signal(15, signal.SIG_IGN);" + SLEEP
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    launch.end([psutil.Process(process.pid)], patience_s=0.3)
    assert process.wait(timeout=5) == -signal.SIGKILL
    process.communicate()
