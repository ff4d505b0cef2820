"""Snapshots from any folder: `person/*.jpg`, or pictures of nobody knows whom."""

from __future__ import annotations

from pathlib import Path

from facecore.errors import UsageError
from facecore.lifecycle.datasets.building import Built, Destination
from facecore.lifecycle.datasets.face_set import build_face_set, shares
from facecore.lifecycle.datasets.faces import Picture
from facecore.lifecycle.datasets.splits import SplitPlan
from facecore.lifecycle.pairs import IMAGE_SUFFIXES
from facecore.pipeline.extract import FaceExtractor


def build_from_folder(
    destination: Destination,
    folder: Path,
    extractor: FaceExtractor,
    *,
    plan: SplitPlan | None = None,
    unlabelled: bool = False,
    source: str = "",
    labels: Path | None = None,
) -> Built:
    """One face per picture of a folder of folders, or of a flat folder.

    Folders are people; pictures directly in `folder` are nobody's. Which split a person is in
    is a hash of the folder's name; a nobody's picture is its own group.

    Args:
        unlabelled: take no folder for a person; the split still follows the folders.
        source: name of the dataset in the manifest; the folder's own by default.
        labels: CSV with further columns, see `read_labels`.

    Raises:
        UsageError: no such folder, no pictures, too few people or pictures for the splits.
    """
    plan = plan or SplitPlan()
    pictures, groups = [], set()
    for person, path in list_pictures(folder):
        name = path.relative_to(folder).as_posix()
        group = person or name
        groups.add(group)
        identity = None if unlabelled else person
        pictures.append(Picture(name, path, identity, plan.of(group)))
    name = source or folder.resolve().name
    return build_face_set(
        destination,
        pictures,
        extractor,
        what=f"{folder}",
        source={"kind": "folder", "name": name, "unlabelled": unlabelled, **shares(plan)},
        plan=plan,
        groups=groups,
        labels=labels,
    )


def list_pictures(folder: Path) -> list[tuple[str | None, Path]]:
    """(person or None, file) of all pictures by their names, sorted.

    Raises:
        UsageError: there is no such folder, it may not be read, or it holds no picture.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.")
    found: list[tuple[str | None, Path]] = []
    try:
        for entry in sorted(folder.iterdir()):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                inside = sorted(path for path in entry.iterdir() if _is_picture(path))
                found += [(entry.name, path) for path in inside]
            elif _is_picture(entry):
                found.append((None, entry))
    except PermissionError as error:
        raise UsageError(f"{error.filename} may not be read.") from error
    if not found:
        raise UsageError(
            f"{folder} holds no pictures.",
            remedy="Expected person/*.jpg, or pictures directly in the folder.",
        )
    return found


def _is_picture(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
