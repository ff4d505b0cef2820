"""Where the embedded platform keeps things: `$FACECORE_HOME`, `var` by default.

::

    var/
    ├── platform.json      ports and versions in use; marks the folder as ours
    ├── credentials.json   generated once, mode 0600
    ├── facecore.env       settings for facecore's commands and tasks, mode 0600
    ├── run/               sockets, generated configuration of the parts, mode 0700
    ├── log/               one rotated log per process; log/airflow holds the task logs
    ├── data/              postgres/ and objects/
    └── cache/             downloaded weights and samples; safe to delete

Run by root, PostgreSQL works under another user, who must be able to reach its data: when a
folder above `var` is closed to other users, they move to `/var/lib/facecore/<id>`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facecore.errors import PlatformError, UsageError

FORMAT = "facecore-platform-1"
PRIVATE = 0o600
SYSTEM_STATE = Path("/var/lib/facecore")
_SOCKET_PATH_MAX = 100  # the kernel's limit is 107 bytes


def write_private(path: Path, text: str) -> None:
    """Write `text` at once (a reader never sees half of it), readable by the owner only."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(PRIVATE)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def open_to_others(path: Path) -> bool:
    """Whether any user may pass through `path` and every folder above it."""
    return all(
        folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents) if folder.exists()
    )


@dataclass(frozen=True)
class Layout:
    """Paths under one home; `home` is absolute."""

    home: Path

    @property
    def id(self) -> str:
        """Short name of this home, unique on this machine."""
        return hashlib.sha256(str(self.home).encode()).hexdigest()[:12]

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def log(self) -> Path:
        return self.home / "log"

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def programs(self) -> Path:
        return self.run / "programs"

    @property
    def state_file(self) -> Path:
        return self.home / "platform.json"

    @property
    def credentials_file(self) -> Path:
        return self.home / "credentials.json"

    @property
    def env_file(self) -> Path:
        return self.home / "facecore.env"

    @property
    def system_state(self) -> Path:
        """Used instead of `data` where root's home is closed to PostgreSQL's user."""
        return SYSTEM_STATE / self.id

    @property
    def socket(self) -> Path:
        """The supervisor's socket; in a short private folder when home's path is too long."""
        inside = self.run / "supervisor.sock"
        if len(str(inside).encode()) <= _SOCKET_PATH_MAX:
            return inside
        return Path(tempfile.gettempdir()) / f"facecore-{os.getuid()}-{self.id}" / "supervisor.sock"

    def create(self) -> None:
        """Make the folders. Raises `PlatformError` when that is not possible."""
        shared = 0o711 if os.geteuid() == 0 else 0o700
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            for folder, mode in (
                (self.run, 0o700),
                (self.programs, 0o700),
                (self.log, 0o700),
                (self.data, shared),
                (self.socket.parent, 0o700),
            ):
                folder.mkdir(exist_ok=True)
                folder.chmod(mode)
        except OSError as error:
            raise PlatformError(
                "platform",
                f"cannot create {error.filename}: {error.strerror}.",
                remedy="Set FACECORE_HOME to a folder you may write to.",
            ) from error
        if self.socket.parent.stat().st_uid != os.geteuid():
            raise PlatformError("platform", f"{self.socket.parent} belongs to another user.")

    def load_state(self) -> dict[str, Any]:
        """What the last start remembered; empty before the first one."""
        if not self.state_file.exists():
            return {}
        try:
            state = json.loads(self.state_file.read_text(encoding="utf-8"))
        except ValueError:
            state = None
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise PlatformError(
                "platform",
                f"{self.state_file} is damaged or not of this version.",
                remedy="Move it away; the ports are then chosen anew.",
            )
        return state

    def save_state(self, state: Mapping[str, Any]) -> None:
        write_private(self.state_file, json.dumps({"format": FORMAT, **state}, indent=2) + "\n")

    def require_ours(self) -> None:
        """Raise `UsageError` unless home was made by this platform (checked before removal)."""
        if self.state_file.is_file() and self.load_state():
            return
        raise UsageError(
            f"{self.home} does not look like a facecore home (it has no platform.json); "
            "nothing was removed.",
            remedy="Check FACECORE_HOME.",
        )

    def remove(self) -> None:
        """Delete home and what belongs to it elsewhere."""
        self.require_ours()
        for path in (self.system_state, self.home):
            if path.exists():
                shutil.rmtree(path)
        if self.socket.parent != self.run and self.socket.parent.exists():
            shutil.rmtree(self.socket.parent)
