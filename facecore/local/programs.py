"""What the supervisor runs: one `Program` per process, and the configuration made of them."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from facecore.config import no_proxy
from facecore.local import launch
from facecore.local.layout import Layout, write_private

# Variables of the caller that would redirect a part to another server.
_FOREIGN = (
    *("AIRFLOW", "MLFLOW", "_MLFLOW", "AWS_", "PG", "WEED_", "PYTHON", "COVERAGE", "PYTEST"),
    *("FACECORE_DATABASE", "FACECORE_S3", "FACECORE_MLFLOW", "FACECORE_HOME", "FACECORE_PROGRAM"),
)


@dataclass(frozen=True)
class Program:
    """One process.

    Attributes:
        name: the supervisor's name for it, and of its log.
        argv: absolute command; never holds a secret, since anyone can read it.
        env: added to the inherited environment; may hold secrets.
        order: started lowest first, stopped highest first.
        stop_signal, stop_wait_s: how it is asked to end, and how long before it is killed.
        data: folder by which a leftover of this program is recognised, beside its environment.
        stale: files a killed process leaves behind, removed before it starts and after it ended.
    """

    name: str
    argv: tuple[str, ...]
    cwd: Path
    order: int
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    user: str | None = None
    stop_signal: str = "TERM"
    stop_wait_s: int = 10
    data: Path | None = None
    stale: tuple[Path, ...] = ()


def inherited_environment() -> dict[str, str]:
    """The caller's environment without what configures one of the parts.

    The parts talk to each other directly, also where a proxy leads out of this machine.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return kept | {"no_proxy": no_proxy(), "NO_PROXY": no_proxy()}


def write_program(layout: Layout, program: Program) -> None:
    """Store what `launch.py` needs to become `program`; replaces an earlier version."""
    mark = f"{layout.home}:{program.name}"
    document = {
        "mark": mark,
        "argv": program.argv,
        "cwd": str(program.cwd),
        "env": {**inherited_environment(), **program.env, launch.MARK: mark},
        "user": program.user,
        "data": str(program.data) if program.data else None,
        "stale": [str(path) for path in program.stale],
    }
    write_private(layout.programs / f"{program.name}.json", json.dumps(document))


def _escape(text: str) -> str:
    return text.replace("%", "%%")


def supervisor_configuration(layout: Layout, password: str, programs: Iterable[Program]) -> str:
    """The text of supervisord.conf. Programs are started by us, in order, not by themselves."""
    run, log = _escape(str(layout.run)), _escape(str(layout.log))
    lines = [
        "[unix_http_server]",
        f"file={_escape(str(layout.socket))}",
        "chmod=0700",
        "username=facecore",
        f"password={password}",
        "",
        "[supervisord]",
        f"logfile={log}/supervisord.log",
        "logfile_maxbytes=5MB",
        "logfile_backups=1",
        f"pidfile={run}/supervisord.pid",
        f"childlogdir={log}",
        f"directory={run}",
        "umask=077",
        "minfds=4096",
        f"identifier=facecore-{layout.id}",
        *(["user=root"] if os.geteuid() == 0 else []),
        "",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
    ]
    for program in programs:
        command = shlex.join(
            [
                sys.executable,
                "-I",
                str(Path(launch.__file__)),
                str(layout.programs / f"{program.name}.json"),
            ]
        )
        lines += [
            "",
            f"[program:{program.name}]",
            f"command={_escape(command)}",
            f"directory={run}",
            f"priority={program.order}",
            "autostart=false",
            "autorestart=true",
            "startsecs=2",
            # Waits 1, 2, 3 … seconds between tries: about three minutes before it gives up.
            "startretries=20",
            f"stopsignal={program.stop_signal}",
            f"stopwaitsecs={program.stop_wait_s}",
            "killasgroup=true",
            "redirect_stderr=true",
            f"stdout_logfile={log}/{_escape(program.name)}.log",
            "stdout_logfile_maxbytes=10MB",
            "stdout_logfile_backups=2",
        ]
    return "\n".join(lines) + "\n"
