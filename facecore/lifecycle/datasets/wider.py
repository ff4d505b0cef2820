"""The annotation format of WIDER FACE (Yang et al., CVPR 2016).

Per picture: its path, the number of faces, and a line per face: `x y w h blur expression
illumination invalid occlusion pose`; a picture without faces has one line of zeros. There are
no landmarks: they are NaN in the snapshot.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from facecore.errors import ImageRejected, UsageError
from facecore.lifecycle.datasets.building import Built, Destination, encode_png
from facecore.lifecycle.datasets.face_set import shares
from facecore.lifecycle.datasets.faces import ORDER, read_picture
from facecore.lifecycle.datasets.labels import Labels, read_labels
from facecore.lifecycle.datasets.manifest import Provenance, Rows
from facecore.lifecycle.datasets.scene_set import Scene, SceneWriter, publish_scenes
from facecore.lifecycle.datasets.splits import Split, SplitPlan
from facecore.stages.decode import Limits, inspect
from facecore.types import Floats

logger = logging.getLogger(__name__)

_NUMBERS = 10  # on the line of a face; older files have only the box
_INVALID = 7
_SUFFIXES = {"JPEG": "jpg", "PNG": "png"}


@dataclass(frozen=True, slots=True)
class Annotated:
    """A picture's faces: boxes float32 `[n, 4]`, x1 y1 x2 y2, and how many were unusable."""

    image: str
    boxes: Floats
    invalid: int


def build_from_wider(
    destination: Destination,
    images: Path,
    annotations: Path,
    *,
    test_annotations: Path | None = None,
    plan: SplitPlan | None = None,
    labels: Path | None = None,
) -> Built:
    """Scenes from pictures and boxes.

    Args:
        images: the paths of the annotations are relative to it.
        annotations: of pictures that are split by a hash of their path.
        test_annotations: of pictures that are the test split; then `plan.test` does not count.
        labels: CSV with further columns per `image`.

    Raises:
        UsageError: a line is malformed (the message names it), a picture is missing, or a split
            would be empty. Nothing was written.
    """
    plan = plan or SplitPlan()
    if test_annotations is not None:
        plan = SplitPlan(plan.val, 0.0, plan.seed)
    listed: list[tuple[Split, Annotated]] = [
        (plan.of(one.image), one) for one in read_annotations(annotations)
    ]
    if test_annotations is not None:
        test = read_annotations(test_annotations)
        if both := {one.image for one in test} & {one.image for _, one in listed}:
            raise UsageError(f"both annotation files name {min(both)}.")
        listed += [("test", one) for one in test]
    known = read_labels(labels, "scenes")
    if known.values and known.key != "image":
        raise UsageError("the labels of scenes are keyed by a column 'image'.")
    known.require_some(one.image for _, one in listed)
    for _, one in listed:
        if not (images / one.image).is_file():
            raise UsageError(f"the annotations name {one.image}, which is not in {images}.")
    listed.sort(key=lambda item: (ORDER.index(item[0]), item[1].image))
    rows = Rows("scenes", known.columns)
    left_out: Counter[str] = Counter()
    with destination.spool() as spool:
        writer = SceneWriter(spool, rows, "wider")
        for done, (split, one) in enumerate(listed, 1):
            scene = _scene(images, split, one, known)
            left_out["faces marked invalid or without an area"] += one.invalid
            if scene is None:
                left_out["not a usable picture"] += 1
            else:
                writer.add(scene)
            destination.progress("scenes", done, len(listed))
        writer.flush()
        source = {"kind": "wider", "name": "wider", **shares(plan)}
        wanted = plan if test_annotations is None else SplitPlan(plan.val, 0.1, plan.seed)
        provenance = Provenance("scenes", source, left_out, labels=known.columns)
        what = f"{images} with {annotations.name}"
        return publish_scenes(destination, spool, rows.table(), provenance, wanted, what)


def read_annotations(path: Path) -> list[Annotated]:
    """Read an annotation file.

    Raises:
        UsageError: it is missing, or a line is malformed; the message names file and line.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise UsageError(f"cannot read the annotations {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a text file in UTF-8.") from error
    numbered = ((n, line.strip()) for n, line in enumerate(lines, 1) if line.strip())
    found = list(_annotated(path, numbered))
    if not found:
        raise UsageError(f"{path} names no picture.")
    names = [one.image for one in found]
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise UsageError(f"{path} names {twice[0]} twice.")
    return found


def _annotated(path: Path, lines: Iterator[tuple[int, str]]) -> Iterator[Annotated]:
    for number, image in lines:
        if image.startswith("/") or ".." in image.split("/"):
            _malformed(path, number, f"{image!r} is not a path within the image folder")
        where, count = next(lines, (number + 1, ""))
        if not count.isdecimal():
            _malformed(path, where, f"expected the number of faces of {image}, got {count!r}")
        boxes, invalid = [], 0
        for _ in range(max(int(count), 1)):  # without faces there is a line of zeros
            where, line = next(lines, (where + 1, ""))
            x, y, width, height, unusable = _face(path, where, line)
            if unusable or width <= 0 or height <= 0:
                invalid += int(count) > 0
            else:
                boxes.append((x, y, x + width, y + height))
        yield Annotated(image, np.array(boxes, np.float32).reshape(-1, 4), invalid)


def _face(path: Path, number: int, line: str) -> tuple[float, float, float, float, bool]:
    try:
        values = [float(word) for word in line.split()]
    except ValueError:
        values = []
    if len(values) not in (4, _NUMBERS) or not np.isfinite(values).all():
        _malformed(path, number, f"expected 'x y w h' and six flags, got {line!r}")
    x, y, width, height = values[:4]
    return x, y, width, height, len(values) == _NUMBERS and bool(values[_INVALID])


def _scene(images: Path, split: Split, one: Annotated, labels: Labels) -> Scene | None:
    path = images / one.image
    try:
        image, data = read_picture(path)
        header = inspect(data, Limits())
    except ImageRejected as rejected:
        logger.warning("%s is left out: %s", path, rejected)
        return None
    height, width = image.shape[:2]
    # As it is, unless a reader would have to know more than JPEG and PNG.
    as_it_is = header.format in _SUFFIXES and header.orientation == 1
    limit = np.array([width, height, width, height], np.float32)
    boxes = np.clip(one.boxes, 0, limit)
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)]
    return Scene(
        name=one.image,
        split=split,
        data=data if as_it_is else encode_png(image),
        suffix=_SUFFIXES[header.format] if as_it_is else "png",
        path=path if as_it_is else None,
        width=width,
        height=height,
        boxes=boxes,
        landmarks=np.full((len(boxes), 5, 2), np.nan, np.float32),
        labels=labels.of(one.image, None),
    )


def _malformed(path: Path, number: int, reason: str) -> NoReturn:
    raise UsageError(f"{path}:{number}: {reason}.")
