"""Reader of verification pairs in the format of Labeled Faces in the Wild.

The first line holds `folds<TAB>n`. Each fold then has n genuine lines `name<TAB>i<TAB>j` (two
images of one person) and n impostor lines `name1<TAB>i<TAB>name2<TAB>j`. Image i of a person
is the file `name/name_000i.jpg` (four digits). Huang et al., *Labeled Faces in the Wild*,
UMass Amherst technical report 07-49, 2007; the ten-fold file is its "View 2".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from facecore.errors import UsageError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class FacePair:
    """Two images, named relative to the image folder, and whether they show one person."""

    left: str
    right: str
    same: bool
    fold: int

    @property
    def left_person(self) -> str:
        """Name of the person on the left image."""
        return self.left.split("/", 1)[0]

    @property
    def right_person(self) -> str:
        """Name of the person on the right image."""
        return self.right.split("/", 1)[0]


@dataclass(frozen=True, slots=True)
class PairList:
    """All pairs of a file, in file order."""

    folds: int
    pairs: tuple[FacePair, ...]

    @property
    def images(self) -> tuple[str, ...]:
        """Every image that some pair names, once, sorted."""
        return tuple(sorted({p.left for p in self.pairs} | {p.right for p in self.pairs}))


def read_pairs(path: Path) -> PairList:
    """Read a pairs file.

    Raises:
        UsageError: the file is missing, or a line is malformed; the message names file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(f"cannot read the pairs file {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a text file in UTF-8.") from error
    while lines and not lines[-1].strip():
        lines.pop()
    folds, count = _header(path, lines)
    expected = 1 + 2 * folds * count
    if len(lines) != expected:
        _malformed(
            path,
            min(len(lines), expected) + 1,
            f"{folds} folds of 2 × {count} pairs need {expected} lines, the file has {len(lines)}",
        )
    pairs = tuple(
        _pair(
            path,
            number,
            line,
            same=(number - 2) % (2 * count) < count,
            fold=(number - 2) // (2 * count),
        )
        for number, line in enumerate(lines[1:], start=2)
    )
    return PairList(folds, pairs)


def image_path(folder: Path, image: str) -> Path:
    """The file of one image of a pair: as named, or with another image suffix.

    Raises:
        UsageError: there is no such file.
    """
    named = folder / image
    for suffix in ("", *IMAGE_SUFFIXES):
        candidate = named.with_suffix(suffix) if suffix else named
        if candidate.is_file():
            return candidate
    raise UsageError(
        f"the pairs name {image}, which is not in {folder}.",
        remedy="Give the folder that holds one folder of images per person.",
    )


def _header(path: Path, lines: list[str]) -> tuple[int, int]:
    fields = lines[0].split() if lines else []
    if len(fields) != 2 or not all(f.isdecimal() for f in fields):
        _malformed(path, 1, "expected the number of folds and of pairs, like '10<TAB>300'")
    folds, count = int(fields[0]), int(fields[1])
    if folds < 2 or count < 1:
        _malformed(
            path, 1, "at least 2 folds are needed: each fold's threshold comes from the others"
        )
    return folds, count


def _pair(path: Path, number: int, line: str, *, same: bool, fold: int) -> FacePair:
    fields = line.rstrip("\r").split("\t")
    if same:
        if len(fields) != 3:
            _malformed(path, number, f"expected 'name<TAB>i<TAB>j', got {line!r}")
        left, right = _image(path, number, *fields[:2]), _image(path, number, fields[0], fields[2])
        if left == right:
            _malformed(path, number, "a genuine pair names one image twice")
    else:
        if len(fields) != 4:
            _malformed(path, number, f"expected 'name1<TAB>i<TAB>name2<TAB>j', got {line!r}")
        if fields[0] == fields[2]:
            _malformed(path, number, f"an impostor pair names one person, {fields[0]!r}, twice")
        left, right = _image(path, number, *fields[:2]), _image(path, number, *fields[2:])
    return FacePair(left, right, same, fold)


def _image(path: Path, number: int, name: str, index: str) -> str:
    if not name or name in {".", ".."} or "/" in name or "\\" in name or "\0" in name:
        _malformed(path, number, f"{name!r} is not the name of a person's folder")
    if not index.isdecimal() or int(index) < 1:
        _malformed(path, number, f"{index!r} is not an image number (1, 2, …)")
    return f"{name}/{name}_{int(index):04d}.jpg"


def _malformed(path: Path, number: int, reason: str) -> NoReturn:
    raise UsageError(f"{path}:{number}: {reason}.")
