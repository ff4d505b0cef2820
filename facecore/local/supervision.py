"""The process supervisor (supervisord): start it, talk to it, end it and whatever it left."""

from __future__ import annotations

import http.client
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psutil
from supervisor.xmlrpc import Faults, SupervisorTransport

from facecore.errors import PlatformError
from facecore.local import launch
from facecore.local.layout import Layout, write_private
from facecore.local.programs import Program, supervisor_configuration, write_program

_DOWN = ("STOPPED", "EXITED", "FATAL")
_START_S = 20.0


@dataclass(frozen=True)
class ProcessInfo:
    """What the supervisor says of one process; `state` is its word for it (RUNNING, …)."""

    name: str
    state: str
    pid: int
    since: float
    error: str


class Supervisor:
    """The supervisord of one home."""

    def __init__(self, layout: Layout, password: str) -> None:
        self.layout = layout
        self._password = password

    def _server(self) -> Any:
        transport = SupervisorTransport("facecore", self._password, f"unix://{self.layout.socket}")
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=cast(Any, transport))
        return proxy.supervisor

    def running(self) -> bool:
        """Whether it answers."""
        if not self.layout.socket.exists():
            return False
        try:
            return str(self._server().getState()["statename"]) == "RUNNING"
        except (OSError, http.client.HTTPException):
            return False
        except (xmlrpc.client.ProtocolError, xmlrpc.client.Fault) as error:
            raise PlatformError(
                "supervisor",
                f"the supervisor at {self.layout.socket} refuses our credentials.",
                remedy="Restore credentials.json, or stop that supervisord by hand.",
            ) from error

    def pid(self) -> int | None:
        """Its process id, if it runs."""
        return int(self._server().getPID()) if self.running() else None

    def start(self, programs: Iterable[Program]) -> None:
        """Start supervisord with all programs known and none running.

        Raises:
            PlatformError: it does not come up.
        """
        programs = list(programs)
        self.configure(programs)
        configuration = self.layout.run / "supervisord.conf"
        write_private(
            configuration, supervisor_configuration(self.layout, self._password, programs)
        )
        log = self.layout.log / "supervisord.log"
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)]
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            cwd=self.layout.run,
            stdin=subprocess.DEVNULL,
            timeout=_START_S,
        )
        deadline = time.monotonic() + _START_S
        while done.returncode == 0 and time.monotonic() < deadline:
            if self.running():
                return
            time.sleep(0.05)
        raise PlatformError(
            "supervisor",
            f"supervisord did not start: {(done.stderr or done.stdout).strip()[-500:]}",
            log=str(log),
        )

    def configure(self, programs: Iterable[Program]) -> None:
        """Rewrite what the programs start with; takes effect when they are next started."""
        for program in programs:
            write_program(self.layout, program)

    def processes(self) -> dict[str, ProcessInfo]:
        """Every process by name; empty when the supervisor does not run."""
        if not self.running():
            return {}
        return {
            info["name"]: ProcessInfo(
                name=info["name"],
                state=info["statename"],
                pid=int(info["pid"]),
                since=float(info["start"]),
                error=str(info["spawnerr"]),
            )
            for info in self._server().getAllProcessInfo()
        }

    def start_processes(self, names: Iterable[str]) -> None:
        """Ask for the processes to be started; does not wait for them."""
        server = self._server()
        for name in names:
            try:
                server.startProcess(name, False)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != Faults.ALREADY_STARTED:
                    raise PlatformError(
                        name, f"{name} was not started: {fault.faultString}"
                    ) from None

    def stop_processes(self, names: Iterable[str], timeout_s: float = 60.0) -> None:
        """Stop the processes side by side and wait until they are gone."""
        server = self._server()
        wanted = set(names)
        for name in wanted:
            try:
                server.stopProcess(name, False)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != Faults.NOT_RUNNING:
                    raise PlatformError(
                        name, f"{name} was not stopped: {fault.faultString}"
                    ) from None
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            alive = {n for n, p in self.processes().items() if n in wanted and p.state not in _DOWN}
            if not alive:
                return
            time.sleep(0.1)
        raise PlatformError("platform", f"still running after {timeout_s:.0f} s: {sorted(alive)}.")

    def shut_down(self, timeout_s: float = 60.0) -> None:
        """End supervisord itself and every process it still runs."""
        if not self.running():
            return
        pid = int(self._server().getPID())
        self._server().shutdown()
        try:
            psutil.Process(pid).wait(timeout_s)
        except psutil.NoSuchProcess:
            return
        except psutil.TimeoutExpired:
            raise PlatformError("supervisor", f"supervisord ({pid}) does not end.") from None

    def end_orphans(self, data: Path | None) -> int:
        """End what runs under this home without a supervisor (it was killed); says how many."""
        orphans = list(launch.leftovers(str(self.layout.home), str(data) if data else None))
        launch.end(orphans, patience_s=10)
        return len(orphans)
