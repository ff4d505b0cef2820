"""The user's own images: a folder per person becomes a gallery and probes.

Nothing is read here but directories, one person's at a time, so that a folder of any size works.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from facecore.errors import UsageError

# Also formats that the platform refuses: they shall show up in its quarantine, with the reason,
# rather than be skipped here without a word.
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff"}
    | {".gif", ".heic", ".heif", ".avif", ".jp2", ".jxl"}
)
_MIN_IMAGES = 3  # people with fewer are not part of the identification accuracy


@dataclass(frozen=True, slots=True)
class FolderImage:
    """One image file.

    Attributes:
        key: object key for the landing bucket: set name, person, path below that person.
        path: the file.
        person: name of the person's folder; None for files directly in the root.
        images_of_person: how many image files that person has; 0 without a person.
        enrolled: whether some of that person's images are in the gallery.
    """

    key: str
    path: Path
    person: str | None
    images_of_person: int
    enrolled: bool


@dataclass(frozen=True, slots=True)
class FolderSet:
    """A folder of images, split into gallery and probes when it is walked.

    The gallery takes the first `gallery_per_person` images of each person, in natural order of
    their names (2 before 10), but leaves at least one as a probe: of two images one is enrolled,
    and a person with a single image stays unknown to the gallery.
    """

    root: Path
    name: str
    gallery_per_person: int

    def gallery(self) -> Iterator[FolderImage]:
        """The images to enrol, person by person."""
        for images, enrolled in self._people():
            yield from images[:enrolled]

    def probes(self) -> Iterator[FolderImage]:
        """The images to identify: those without a person first, then person by person."""
        for entry in _entries(self.root):
            if _is_image(entry):
                yield FolderImage(f"{self.name}/{entry.name}", Path(entry.path), None, 0, False)
        for images, enrolled in self._people():
            yield from images[enrolled:]

    def _people(self) -> Iterator[tuple[list[FolderImage], int]]:
        for folder in _entries(self.root):
            if not folder.is_dir():
                continue
            paths = list(_images_below(Path(folder.path)))
            enrolled = max(0, min(self.gallery_per_person, len(paths) - 1))
            images = [
                FolderImage(
                    f"{self.name}/{path.relative_to(self.root).as_posix()}",
                    path,
                    folder.name,
                    len(paths),
                    enrolled > 0,
                )
                for path in paths
            ]
            yield images, enrolled


def read_folder(path: Path, gallery_per_person: int = 2, *, name: str = "") -> FolderSet:
    """Folder of folders (`person/*.jpg`), or a flat folder, which has probes only.

    Hidden files and files that are not images by their name are left out; links to folders are
    followed, loops are not.

    Args:
        name: first part of the object keys; the folder's own name when empty.

    Raises:
        UsageError: no such folder, not a folder, not readable, no image in it, or
            `gallery_per_person` below 1.
    """
    if gallery_per_person < 1:
        raise UsageError(f"gallery_per_person is {gallery_per_person}; it must be at least 1.")
    root = path.expanduser().absolute()
    if not root.exists():
        raise UsageError(f"{path} does not exist.", remedy="Give a folder with images.")
    if not root.is_dir():
        raise UsageError(f"{path} is not a folder.", remedy="Give the folder it is in.")
    title = re.sub(r"[/\\]+", "-", name or root.resolve().name).strip() or "images"
    folder = FolderSet(root, title, gallery_per_person)
    try:
        if next(folder.probes(), None) is None:
            raise UsageError(
                f"{path} holds no images.",
                remedy="Expected person/*.jpg, or images directly in the folder.",
            )
    except PermissionError as error:
        raise UsageError(f"{error.filename} may not be read.") from error
    return folder


def natural_order(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts `a2` before `a10`."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return (*((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts), (-1, 0, name))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, without hidden entries, in natural order."""
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    return sorted(visible, key=lambda entry: natural_order(entry.name))


def _is_image(entry: os.DirEntry[str]) -> bool:
    return Path(entry.name).suffix.lower() in IMAGE_SUFFIXES and entry.is_file()


def _images_below(folder: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Path]:
    """Image files of a folder and the folders in it; `above` are those we are already inside."""
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    entries = _entries(folder)
    for entry in entries:
        if _is_image(entry):
            yield Path(entry.path)
    for entry in entries:
        if entry.is_dir():
            yield from _images_below(Path(entry.path), above | {identity})


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What identification said of one probe image of known person.

    Attributes:
        person: the true name; None when it is not known (such probes are only counted).
        enrolled: whether this person is in the gallery.
        images_of_person: images of this person in the whole set.
        label: best person of the gallery for the image's main face; None when no face was found.
        outcome: accept, review, unknown, or none when no face was found.
    """

    person: str | None
    enrolled: bool
    images_of_person: int
    label: str | None
    outcome: str


@dataclass(frozen=True, slots=True)
class FolderAccuracy:
    """Identification against the folder names.

    Attributes:
        probes: images looked at.
        people: different people among the probes with a name.
        not_found: images without any face; each counts as wrong below.
        closed_probes: probes of enrolled people with at least three images.
        rank1: share of these whose best gallery person is the right one, whatever the score;
            None without such probes. So for all shares here.
        accepted_right, accepted_wrong: shares of these that were named, by correctness.
        to_review: share of these left to a human.
        open_probes: probes of people who are not enrolled.
        false_accepts: share of these that were given a name.
    """

    probes: int
    people: int
    not_found: int
    closed_probes: int
    rank1: float | None
    accepted_right: float | None
    accepted_wrong: float | None
    to_review: float | None
    open_probes: int
    false_accepts: float | None


def accuracy(results: Iterable[ProbeResult]) -> FolderAccuracy:
    """Summarise probe by probe; only counts are kept."""
    people: set[str] = set()
    probes = missing = closed = best = right = wrong = review = strangers = named = 0
    for result in results:
        probes += 1
        missing += result.label is None
        if result.person is None:
            continue
        people.add(result.person)
        accepted = result.outcome == "accept"
        if not result.enrolled:
            strangers += 1
            named += accepted
        elif result.images_of_person >= _MIN_IMAGES:
            hit = result.label == result.person
            closed += 1
            best += hit
            right += accepted and hit
            wrong += accepted and not hit
            review += result.outcome == "review"
    return FolderAccuracy(
        probes,
        len(people),
        missing,
        closed,
        _share(best, closed),
        _share(right, closed),
        _share(wrong, closed),
        _share(review, closed),
        strangers,
        _share(named, strangers),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
