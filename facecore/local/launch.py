"""Becomes one process of the platform: `python -I launch.py program.json`.

The supervisor starts every process through this file. It keeps secrets out of the
supervisor's configuration and of process lists (they are in the 0600 program file and then in
the environment), ends whatever a killed predecessor left behind (children that still hold a
port or a data folder), drops root where the program asks for it, and replaces itself with the
program. It is run by path and needs only psutil, so that it starts in milliseconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

MARK = "FACECORE_PROGRAM"


def leftovers(mark: str, data: str | None = None) -> Iterator[psutil.Process]:
    """Processes started under `mark` (`home` or `home:program`), or working in folder `data`.

    PostgreSQL overwrites its environment to show its state in process lists: it is recognised
    by its working directory, which is always its data folder. The caller and the processes
    above it are never among them.
    """
    mine = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    for process in psutil.process_iter():
        if process.pid in mine:
            continue
        with contextlib.suppress(psutil.Error, OSError):
            found = process.environ().get(MARK, "")
            ours = found == mark or found.startswith(f"{mark}:")
            if ours or (data and process.name() == "postgres" and process.cwd() == data):
                yield process


def end(processes: list[psutil.Process], patience_s: float) -> None:
    """Ask them to stop, wait, then kill."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.name() == "postgres":
                process.send_signal(2)  # SIGINT: fast shutdown
            else:
                process.terminate()
    alive = _await_end(processes, patience_s)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    _await_end(alive, 5.0)


def _await_end(processes: list[psutil.Process], patience_s: float) -> list[psutil.Process]:
    """Those that still run afterwards. A zombie has ended, even if nobody asks how."""
    deadline = time.monotonic() + patience_s
    while True:
        alive = []
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    alive.append(process)
        if not alive or time.monotonic() > deadline:
            return alive
        time.sleep(0.05)


def _drop_to(user: str) -> None:
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def main() -> None:
    program: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    end(list(leftovers(program["mark"], program["data"])), patience_s=5)
    for stale in program["stale"]:
        Path(stale).unlink(missing_ok=True)
    if program["user"]:
        _drop_to(program["user"])
    os.umask(0o077)
    os.chdir(program["cwd"])
    os.execve(program["argv"][0], program["argv"], program["env"])  # noqa: S606


if __name__ == "__main__":
    main()
