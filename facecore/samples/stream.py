"""A simulated stream: four cameras over two weeks, from real portraits, with its ground truth.

The same seed, days and last day give the same objects, byte for byte, with the same versions of
Pillow and numpy. Made once, then kept in the cache.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

from facecore.errors import UsageError
from facecore.samples.faults import broken, odd_but_good
from facecore.samples.figures import Figure, cut_out
from facecore.samples.frames import Studio, render, sensor_noise
from facecore.samples.ground_truth import CapturedFrom, ExpectedFace, ExpectedImage, GroundTruth
from facecore.samples.rooms import rooms
from facecore.samples.schedule import CAMERAS, Visit, visits
from facecore.samples.sources import Portrait, portraits

log = logging.getLogger(__name__)

CAPTURED_AT_METADATA = "captured-at"
_CONTENT_TYPES = {
    "jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "bmp": "image/bmp",
    "tiff": "image/tiff", "gif": "image/gif",
}  # fmt: skip
_FORMATS = ("jpg", "png", "webp", "tiff", "bmp")
_FORMAT_SHARES = (0.92, 0.02, 0.03, 0.015, 0.015)
_KEPT_STREAMS = 2
_DUPLICATES = 6
_NOTES = (
    "Simulated camera frames: real portraits cut out and put into drawn rooms.",
    "Barack Obama is enrolled with one portrait; his frames show two other photographs of him "
    "and, rarely, half of the enrolled one.",
    "Of Joe Biden and Eileen Collins there is a single portrait each: it is enrolled, and their "
    "frames show augmented versions of it. Naming them is easier than with another photograph.",
    "Grace Hopper is not enrolled: she must get nobody else's name, and clustering must make one "
    "person of her.",
    "Faces at least 60 px wide are marked identifiable; of people far away nothing is expected.",
    "Figures from so few people say that the pipeline works, not how accurate it is: for that, "
    "run DATASET=lfw.",
)


@dataclass(frozen=True, slots=True)
class SampleObject:
    """One object for the landing bucket: key, file with its bytes, content type, metadata."""

    key: str
    path: Path
    content_type: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class GalleryPhoto:
    """One picture to enrol a person with."""

    person: str
    path: Path


@dataclass(frozen=True, slots=True)
class SampleSet:
    """A stream on disk: its objects in order of time, the gallery, and the truth."""

    folder: Path
    objects: tuple[SampleObject, ...]
    gallery: tuple[GalleryPhoto, ...]
    truth: GroundTruth


def simulate(
    cache: Path, *, end: date | None = None, days: int = 14, seed: int = 20, workers: int = 0
) -> SampleSet:
    """The stream of `days` days up to and including `end`, made on first use.

    Args:
        cache: portraits are kept in `cache/portraits`, the stream in `cache/stream-<digest>`.
        end: last day; yesterday (UTC) when not given.
        workers: threads; as many as this process may use cores when 0.

    Raises:
        UsageError: fewer than one day.
        DownloadFailed, DigestMismatch: the portraits cannot be had.
    """
    if days < 1:
        raise UsageError(f"a stream of {days} days cannot be made; ask for at least one day.")
    last = end or (datetime.now(UTC).date() - timedelta(days=1))
    people = portraits(cache)
    folder = cache / f"stream-{_digest(last, days, seed, people)}"
    if not (folder / "truth.json").is_file():
        scratch = Path(tempfile.mkdtemp(prefix="stream-part-", dir=cache))
        try:
            _Writer(scratch, last, days, seed, people).run(workers)
            _publish(scratch, folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        _prune(cache)
    return _load(folder, people)


def _digest(last: date, days: int, seed: int, people: Sequence[Portrait]) -> str:
    """Changes with the parameters, the portraits, this package's code and the libraries."""
    parts = [last.isoformat(), str(days), str(seed), version("pillow"), version("numpy")]
    parts += [person.sha256 for person in people]
    digest = hashlib.sha256("|".join(parts).encode())
    for path in sorted(Path(__file__).parent.glob("*.*")):
        if path.suffix in {".py", ".json"}:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _publish(scratch: Path, folder: Path) -> None:
    try:
        os.rename(scratch, folder)  # noqa: PTH104 - atomic: a folder with truth.json is complete
    except OSError:
        if not (folder / "truth.json").is_file():
            raise  # otherwise another process was faster with the same content


def _prune(cache: Path) -> None:
    """Streams end at yesterday by default, so one is made per day: keep the newest few."""
    streams = [path.parent for path in cache.glob("stream-*/truth.json")]
    streams.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
    for old in streams[_KEPT_STREAMS:]:
        shutil.rmtree(old, ignore_errors=True)


def _load(folder: Path, people: Sequence[Portrait]) -> SampleSet:
    entries = json.loads((folder / "objects.json").read_text("utf-8"))
    objects = tuple(
        SampleObject(e["key"], folder / e["file"], e["content_type"], e["metadata"])
        for e in entries
    )
    gallery = tuple(GalleryPhoto(p.person, p.path) for p in people if p.role == "gallery")
    return SampleSet(folder, objects, gallery, GroundTruth.load(folder / "truth.json"))


@dataclass(frozen=True, slots=True)
class _Made:
    """One object as it is written: the truth, its file and its metadata."""

    truth: ExpectedImage
    file: str
    content_type: str
    metadata: Mapping[str, str]


class _Writer:
    """Renders and writes every object of one stream into a folder."""

    def __init__(
        self, folder: Path, last: date, days: int, seed: int, people: Sequence[Portrait]
    ) -> None:
        self._folder, self._last, self._days, self._seed = folder, last, days, seed
        self._enrolled = tuple(dict.fromkeys(p.person for p in people if p.role == "gallery"))
        self._unknown = tuple(dict.fromkeys(p.person for p in people if p.role == "unknown"))
        self._studio = self._open_studio(people)

    def _open_studio(self, people: Sequence[Portrait]) -> Studio:
        """Frames show probe pictures; the gallery picture only of people who have no other."""
        probes = {p.person for p in people if p.role == "probe"}
        figures: dict[str, list[list[Figure]]] = {}
        for portrait in people:
            if portrait.role != "gallery" or portrait.person not in probes:
                figures.setdefault(portrait.person, []).append(cut_out(portrait))
        noise = sensor_noise(np.random.default_rng([self._seed, 1]), (1360, 800))
        return Studio(rooms(self._seed), figures, noise)

    def run(self, workers: int) -> None:
        """Write all objects, then the index, then the truth: complete once that is there."""
        schedule = visits(self._last, self._days, np.random.default_rng([self._seed, 2]))
        count = workers or _usable_cores()
        with ThreadPoolExecutor(count) as pool:
            made = list(pool.map(self._frame, range(len(schedule)), schedule))
        made += self._faults(made, schedule)
        made += self._duplicates(made)
        made.sort(key=lambda one: one.truth.key.split("/", 1)[1])
        index = [
            {"key": m.truth.key, "file": m.file, "content_type": m.content_type,
             "metadata": dict(m.metadata)} for m in made
        ]  # fmt: skip
        (self._folder / "objects.json").write_text(json.dumps(index, ensure_ascii=False), "utf-8")
        GroundTruth(
            "simulated cameras", self._seed, self._days, self._last.isoformat(), self._enrolled,
            self._unknown, _NOTES, tuple(m.truth for m in made),
        ).save(self._folder / "truth.json")  # fmt: skip
        log.info("%d sample objects written", len(made))

    def _frame(self, number: int, visit: Visit) -> _Made:
        rng = np.random.default_rng([self._seed, 3, number])
        picture, faces = render(visit, self._studio, self._enrolled, rng)
        kind = str(rng.choice(_FORMATS, p=_FORMAT_SHARES))
        if picture.width > 1000 and kind in {"bmp", "tiff", "png"}:
            kind = "jpg"  # large frames only in formats that real cameras send them in
        told: CapturedFrom = ("exif", "metadata", "key")[rng.choice(3, p=(0.72, 0.16, 0.12))]
        if kind == "bmp" and told == "exif":
            told = "metadata"  # BMP has no place for EXIF
        turned = kind == "jpg" and told == "exif" and rng.random() < 0.06
        data = _encode(picture, kind, visit.at if told == "exif" else None, turned, rng)
        name = f"{number:04d}.{kind}"
        key = f"{visit.camera}/{visit.at:%Y/%m/%d/%H%M%S}-{name}"
        return self._write(key, name, data, visit, told, faces=faces)

    def _write(
        self,
        key: str,
        file: str,
        data: bytes,
        visit: Visit,
        told: CapturedFrom,
        *,
        reason: str = "",
        faces: tuple[ExpectedFace, ...] = (),
    ) -> _Made:
        (self._folder / file).write_bytes(data)
        metadata = {CAPTURED_AT_METADATA: visit.at.isoformat()} if told == "metadata" else {}
        truth = ExpectedImage(
            key,
            hashlib.sha256(data).hexdigest(),
            visit.camera,
            visit.at,
            told,
            "quarantined" if reason else "extracted",
            (reason,) if reason else (),
            faces,
        )
        return _Made(truth, file, _CONTENT_TYPES[file.rsplit(".", 1)[1]], metadata)

    def _faults(self, made: Sequence[_Made], schedule: Sequence[Visit]) -> Iterator[_Made]:
        """Broken files, rare but good ones, and a key that is hard to spell; all on one day."""
        rng = np.random.default_rng([self._seed, 4])
        alone = [
            number
            for number, (one, visit) in enumerate(zip(made, schedule, strict=True))
            if one.truth.faces and one.truth.faces[0].identifiable and visit.camera == "cafeteria"
            if len(visit.people) == 1 and visit.people[0] in self._enrolled
        ]
        number = alone[len(alone) // 2] if alone else 0
        # rendered again with other dice, so that nothing here equals a frame of the stream
        picture, faces = render(schedule[number], self._studio, self._enrolled, rng)
        moment = datetime.combine(self._last, time(3, 10), UTC)
        for ordinal, fault in enumerate([*broken(picture, rng), *odd_but_good(picture)]):
            at = moment + timedelta(minutes=ordinal)
            visit = Visit(at, CAMERAS[ordinal % len(CAMERAS)] if fault.reason else "cafeteria")
            key = f"{visit.camera}/{at:%Y/%m/%d/%H%M%S}-{fault.name}"
            yield self._write(key, f"fault-{fault.name}", fault.data, visit, "key",
                              reason=fault.reason, faces=() if fault.reason else faces)  # fmt: skip
        at = moment + timedelta(hours=1)
        picture, faces = render(replace(schedule[number], at=at), self._studio, self._enrolled, rng)
        data = _encode(picture, "jpg", at, False, rng)
        key = f"cafeteria/{at:%Y/%m/%d/%H%M%S}-Gäste & Besucher 訪客 (1)..v2.jpg"
        yield self._write(key, "fault-key.jpg", data, Visit(at, "cafeteria"), "exif", faces=faces)

    def _duplicates(self, made: Sequence[_Made]) -> Iterator[_Made]:
        """The same bytes delivered again under another key."""
        rng = np.random.default_rng([self._seed, 5])
        candidates = [m for m in made if m.truth.captured_from == "exif" and m.truth.faces]
        count = min(_DUPLICATES, len(candidates))
        for index in sorted(rng.choice(len(candidates), count, replace=False).tolist()):
            original = candidates[index]
            stem, extension = original.truth.key.rsplit(".", 1)
            key = f"{stem}-again.{extension}"
            truth = replace(original.truth, key=key, duplicate_of=original.truth.key)
            yield replace(original, truth=truth)


def _encode(
    picture: Image.Image, kind: str, at: datetime | None, turned: bool, rng: np.random.Generator
) -> bytes:
    """The frame as a file; with EXIF time when `at` is given, stored on its side when `turned`."""
    exif = Image.Exif()
    if at is not None:
        exif[0x010F], exif[0x0110] = "facecore", "simulated camera"  # make, model
        details = exif.get_ifd(0x8769)
        details[0x9003] = at.strftime("%Y:%m:%d %H:%M:%S")  # DateTimeOriginal
        details[0x9011] = "+00:00"  # OffsetTimeOriginal
    if turned:
        exif[0x0112] = 6  # orientation: turn clockwise by 90° to see it upright
        picture = picture.transpose(Image.Transpose.ROTATE_90)
    options: Mapping[str, object] = {
        "jpg": {"quality": int(rng.integers(48, 93))},
        "png": {"compress_level": 1},
        "webp": {"quality": int(rng.integers(60, 90)), "method": 1},
    }.get(kind, {})
    buffer = io.BytesIO()
    extra = {"exif": exif.tobytes()} if at is not None else {}
    picture.save(buffer, {"jpg": "JPEG"}.get(kind, kind.upper()), **options, **extra)
    return buffer.getvalue()
