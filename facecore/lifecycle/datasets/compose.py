"""Snapshots of composed scenes: real faces on other backgrounds, for training detectors.

Boxes and landmarks are those of the detector on the original photograph, moved with the face:
as exact as they were there. A split is made of photographs of its own people only, backgrounds
included.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np

from facecore.errors import UsageError
from facecore.lifecycle.datasets.building import Built, Destination
from facecore.lifecycle.datasets.composing.photos import Photo, find_photos
from facecore.lifecycle.datasets.composing.scene import Style, compose
from facecore.lifecycle.datasets.face_set import alignment, shares
from facecore.lifecycle.datasets.faces import ORDER, Picture
from facecore.lifecycle.datasets.folder import list_pictures
from facecore.lifecycle.datasets.lfw import FoldSplits
from facecore.lifecycle.datasets.manifest import Provenance, Rows
from facecore.lifecycle.datasets.scene_set import Scene, SceneWriter, publish_scenes
from facecore.lifecycle.datasets.splits import Split, SplitPlan, require_splits
from facecore.lifecycle.pairs import read_pairs
from facecore.pipeline.extract import FaceExtractor

_LEAST_PEOPLE = 1  # nobody is compared with anybody
_THREADS = 2
_AT_ONCE = 64
_JPEG_QUALITY = (60, 96)


def compose_scenes(
    destination: Destination,
    folder: Path,
    extractor: FaceExtractor,
    *,
    count: int,
    style: Style | None = None,
    plan: SplitPlan | None = None,
    pairs: Path | None = None,
    test_folds: Collection[int] = (),
    source: str = "",
) -> Built:
    """`count` scenes from the pictures of a folder (`person/*.jpg`, or flat).

    Args:
        plan: shares of the people, and of the scenes; its seed decides everything.
        pairs, test_folds: take who is in test from the folds of a pairs file, as
            `build_from_lfw` does, so that detector and embedder are tested on the same people.
        source: name of the dataset in the manifest; the folder's own by default.

    Raises:
        UsageError: too few scenes, people or clear faces. Nothing was written.
    """
    style, plan = style or Style(), plan or SplitPlan()
    split_of = _folds(pairs, test_folds, plan)
    numbers = _scenes_per_split(count, plan)
    pictures, groups = [], {}
    for person, path in list_pictures(folder):
        name = path.relative_to(folder).as_posix()
        group = person or name
        groups[name] = group
        pictures.append(
            Picture(name, path, person, split_of(group) if split_of else plan.of(group))
        )
    what = f"{folder}"
    require_splits(
        _people(pictures, groups),
        plan,
        what=what,
        least=_LEAST_PEOPLE,
        groups=_unless(split_of, groups),
    )
    rows = Rows("scenes", ("background",))
    with destination.spool() as spool:
        photos, left_out = find_photos(
            pictures,
            extractor,
            spool.scratch,
            lambda done, of: destination.progress("photos", done, of),
        )
        people = {split: _by_person(photos, groups, split) for split in ORDER}
        require_splits(
            {split: len(own) for split, own in people.items()},
            plan,
            what=f"{what}, counting people with a clear face,",
            least=_LEAST_PEOPLE,
        )
        writer = SceneWriter(spool, rows, source or folder.resolve().name)
        done = 0
        for split in ORDER:
            for scene in _composed(split, numbers[split], people[split], style, plan.seed):
                writer.add(scene)
                done += 1
                destination.progress("scenes", done, count)
        writer.flush()
        parameters = {
            "kind": "scenes",
            "name": source or folder.resolve().name,
            "count": count,
            "style": asdict(style),
            "test_folds": sorted(test_folds),
            **shares(plan),
            **alignment(extractor),
        }
        provenance = Provenance("scenes", parameters, left_out, labels=("background",))
        return publish_scenes(destination, spool, rows.table(), provenance, plan, what)


def _folds(pairs: Path | None, test_folds: Collection[int], plan: SplitPlan) -> FoldSplits | None:
    if (pairs is None) != (not test_folds):
        raise UsageError("a pairs file and test folds are given together or not at all.")
    if pairs is None:
        return None
    return FoldSplits(read_pairs(pairs), test_folds, val=plan.val, seed=plan.seed)


def _scenes_per_split(count: int, plan: SplitPlan) -> dict[Split, int]:
    val, test = round(count * plan.val), round(count * plan.test)
    numbers: dict[Split, int] = {"test": test, "val": val, "train": count - val - test}
    if any(numbers[split] < 1 for split in plan.wanted):
        raise UsageError(f"{count} scenes are too few for the splits {', '.join(plan.wanted)}.")
    return numbers


def _people(pictures: Sequence[Picture], groups: dict[str, str]) -> dict[Split, int]:
    return {
        split: len({groups[picture.name] for picture in pictures if picture.split == split})
        for split in ORDER
    }


def _unless(split_of: FoldSplits | None, groups: dict[str, str]) -> set[str] | None:
    """The groups, where another seed would split them otherwise."""
    return None if split_of else set(groups.values())


def _by_person(photos: Sequence[Photo], groups: dict[str, str], split: Split) -> list[list[Photo]]:
    """Photos of each person of a split who has a clear one, in the order of their names."""
    people: dict[str, list[Photo]] = {}
    for photo in photos:
        if photo.split == split:
            people.setdefault(groups[photo.name], []).append(photo)
    return [own for _, own in sorted(people.items()) if any(photo.pasteable for photo in own)]


def _composed(
    split: Split, count: int, people: Sequence[Sequence[Photo]], style: Style, seed: int
) -> Iterator[Scene]:
    def one(number: int) -> Scene:
        # Each scene has a generator of its own: the order of the threads does not matter.
        rng = np.random.default_rng([seed, ORDER.index(split), number])
        made = compose(people, style, rng)
        return Scene(
            name=f"{split}-{number:06d}",
            split=split,
            data=made.jpeg(int(rng.integers(*_JPEG_QUALITY))),
            suffix="jpg",
            width=style.size,
            height=style.size,
            boxes=made.boxes,
            landmarks=made.landmarks,
            identities=made.identities,
            labels={"background": made.background},
        )

    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, count, _AT_ONCE):
            yield from pool.map(one, range(start, min(start + _AT_ONCE, count)))
