"""What the platform says of itself; every type turns into JSON with `dataclasses.asdict`."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field

import psutil
from pydantic import SecretStr

from facecore.local.supervision import ProcessInfo


@dataclass(frozen=True)
class ProcessStatus:
    """One supervised process.

    Attributes:
        state: stopped, starting, running, backoff, stopping, exited or fatal.
        memory_bytes: with its children; memory shared between processes is divided among
            them (PSS) where the system tells, so that totals are true.
    """

    name: str
    state: str
    pid: int | None
    uptime_s: float
    memory_bytes: int


@dataclass(frozen=True)
class PartStatus:
    """One part: `healthy` only if its own check passed just now; `detail` says why not."""

    name: str
    state: str
    healthy: bool
    version: str
    port: int
    pid: int | None
    uptime_s: float
    memory_bytes: int
    detail: str
    processes: tuple[ProcessStatus, ...] = field(default=())


@dataclass(frozen=True)
class PlatformStatus:
    """All parts, started or not."""

    home: str
    running: bool
    healthy: bool
    memory_bytes: int
    supervisor_pid: int | None
    parts: tuple[PartStatus, ...]


@dataclass(frozen=True)
class Endpoint:
    """Where a person or a program finds a part. The password never shows in `repr`."""

    name: str
    url: str
    username: str
    password: SecretStr


def memory_of(pid: int) -> int:
    """Memory of a process and its descendants in bytes; 0 for what has ended meanwhile."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                try:
                    memory = process.memory_full_info()
                    total += getattr(memory, "pss", memory.rss)
                except psutil.AccessDenied:
                    total += process.memory_info().rss
    return total


def process_status(info: ProcessInfo) -> ProcessStatus:
    """A process as the supervisor sees it, with what it uses."""
    alive = info.pid > 0
    return ProcessStatus(
        name=info.name,
        state=info.state.lower(),
        pid=info.pid if alive else None,
        uptime_s=round(max(0.0, time.time() - info.since), 1) if alive else 0.0,
        memory_bytes=memory_of(info.pid) if alive else 0,
    )


def part_state(processes: list[ProcessStatus]) -> str:
    """The state all processes share, or the one that keeps the part from running."""
    states = {process.state for process in processes}
    for state in ("fatal", "backoff", "exited", "starting", "stopping", "stopped"):
        if state in states:
            return state
    return "running" if states else "stopped"
