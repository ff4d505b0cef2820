"""Waiting until a part really works, and saying what happened when it does not."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import httpx
import minio.error
import psycopg2
import urllib3.exceptions

from facecore.errors import PlatformError
from facecore.local.supervision import Supervisor

Answer = TypeVar("Answer")

# What a check raises while the server is not ready yet.
NOT_READY = (
    OSError,
    psycopg2.Error,
    urllib3.exceptions.HTTPError,
    minio.error.MinioException,
    httpx.HTTPError,
)
# A process that had to be started this often is not going to work.
_MAX_STARTS = 4


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a log file; reads at most 32 KiB."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 32 * 1024))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return "\n".join(lines[-count:])


def failure(part: str, reason: str, log: Path) -> PlatformError:
    """The error for a part that does not start, with the end of its log."""
    return PlatformError(
        part,
        f"{part} did not start: {reason}.\n--- last lines of {log} ---\n{last_lines(log)}\n---\n",
        log=str(log),
        remedy="Mend what the log names and repeat `facecore up`; what runs already stays up.",
    )


def wait_until(
    part: str,
    check: Callable[[], Answer],
    supervisor: Supervisor,
    processes: Iterable[str],
    timeout_s: float,
) -> Answer:
    """Repeat `check` until it returns, and return what it says.

    Raises:
        PlatformError: a process of the part gave up, keeps crashing, or time is over.
    """
    processes = list(processes)
    starts: dict[str, set[float]] = defaultdict(set)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return check()
        except NOT_READY as error:
            problem = f"{type(error).__name__}: {str(error).strip()}"
        states = supervisor.processes()
        for name in processes:
            log = supervisor.layout.log / f"{name}.log"
            info = states.get(name)
            if info is None or info.state in ("FATAL", "STOPPED"):
                raise failure(part, f"its process {name} ended", log)
            starts[name].add(info.since)
            if len(starts[name]) >= _MAX_STARTS:
                raise failure(part, f"its process {name} crashed {_MAX_STARTS - 1} times", log)
        if time.monotonic() > deadline:
            log = supervisor.layout.log / f"{processes[0]}.log"
            raise failure(part, f"not healthy after {timeout_s:.0f} s ({problem})", log)
        time.sleep(0.2)
