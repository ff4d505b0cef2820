"""Objects of a snapshot that wait on the local disk until all of it is known to be good.

Nothing is written to the store before the last picture was looked at, so a dataset that turns
out to be too small leaves nothing behind, and memory holds one pack at a time.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from facecore.errors import ObjectMissing, UsageError
from facecore.lifecycle.datasets.names import BUCKET
from facecore.stores.objects import ObjectStore

_AT_ONCE = 8
_TYPES = {"jpg": "image/jpeg", "png": "image/png", "parquet": "application/vnd.apache.parquet"}


class Spool:
    """A folder of content-addressed objects, removed in the end. A context manager.

    Args:
        within: folder to make it in; the system's for temporary files by default.
    """

    def __init__(self, within: Path | None = None) -> None:
        if within is not None:
            within.mkdir(parents=True, exist_ok=True)
        self._folder = tempfile.TemporaryDirectory(prefix="facecore-snapshot-", dir=within)
        self._waiting: dict[str, tuple[str, Path]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._folder.cleanup()

    @property
    def scratch(self) -> Path:
        """Room for other temporary files."""
        folder = Path(self._folder.name) / "scratch"
        folder.mkdir(exist_ok=True)
        return folder

    def add(self, folder: str, data: bytes, suffix: str) -> tuple[str, str]:
        """Take bytes; returns their key, `folder/<sha256>.<suffix>`, and SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        key = f"{folder}/{sha256}.{suffix}"
        if key not in self._waiting:
            path = Path(self._folder.name) / sha256
            path.write_bytes(data)
            self._waiting[key] = (sha256, path)
        return key, sha256

    def add_file(self, folder: str, path: Path, data: bytes, suffix: str) -> tuple[str, str]:
        """As `add`, of bytes that were read from `path`, which are not copied."""
        sha256 = hashlib.sha256(data).hexdigest()
        key = f"{folder}/{sha256}.{suffix}"
        self._waiting.setdefault(key, (sha256, path))
        return key, sha256

    def upload(self, objects: ObjectStore, progress: Callable[[int, int], None]) -> int:
        """Store what the bucket does not hold intact; returns how many objects were written.

        Raises:
            UsageError: a file changed since it was added.
        """
        waiting = sorted(self._waiting.items())

        def store(item: tuple[str, tuple[str, Path]]) -> bool:
            key, (sha256, path) = item
            if _stored(objects, key) == sha256:
                return False
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != sha256:
                raise UsageError(f"{path} changed while the snapshot was built.")
            objects.put(BUCKET, key, data, _content_type(key))
            return True

        written = 0
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for done, new in enumerate(pool.map(store, waiting), 1):
                written += new
                progress(done, len(waiting))
        return written


def _stored(objects: ObjectStore, key: str) -> str:
    """SHA-256 of what the bucket holds; empty when it holds nothing."""
    try:
        return objects.sha256(BUCKET, key)
    except ObjectMissing:
        return ""


def _content_type(key: str) -> str:
    return _TYPES.get(key.rpartition(".")[2], "application/octet-stream")
