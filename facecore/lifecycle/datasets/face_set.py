"""A snapshot of faces from a list of pictures: the part that all folders and data sets share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from facecore.errors import UsageError
from facecore.lifecycle.datasets.building import (
    Built,
    Destination,
    PackWriter,
    identities_per_split,
    publish,
)
from facecore.lifecycle.datasets.faces import Framing, Picture, pack_main_faces
from facecore.lifecycle.datasets.labels import read_labels
from facecore.lifecycle.datasets.manifest import Provenance, Rows
from facecore.lifecycle.datasets.splits import Split, SplitPlan, require_splits
from facecore.lifecycle.datasets.spool import Spool
from facecore.pipeline.extract import FaceExtractor

# Given the rows, the spool and the count of what was left out: adds an object with pairs.
AddPairs = Callable[[pa.Table, Spool, dict[str, int]], Mapping[str, str]]


def build_face_set(
    destination: Destination,
    pictures: Sequence[Picture],
    extractor: FaceExtractor,
    *,
    what: str,
    source: Mapping[str, Any],
    plan: SplitPlan,
    groups: Iterable[str] | None = None,
    labels: Path | None = None,
    framing: Framing | None = None,
    add_pairs: AddPairs | None = None,
) -> Built:
    """Detect, align, pack and publish.

    Args:
        what: the dataset in messages.
        source: its kind, name and parameters, for the manifest.
        plan: which splits there must be.
        groups: what the splits were decided by, to suggest a seed.
        framing: for pictures that are crops of faces already.

    Raises:
        UsageError: too few people or pictures, or the labels do not fit. Nothing was written.
    """
    labelled = any(picture.identity for picture in pictures)
    known = read_labels(labels, "faces")
    known.require_some(p.name if known.key == "image" else p.identity for p in pictures)
    listed: dict[Split, set[str | None]] = {}
    for picture in pictures:
        listed.setdefault(picture.split, set()).add(picture.identity if labelled else picture.name)
    numbers = {split: len(names - {None}) for split, names in listed.items()}
    if labelled:
        require_splits(numbers, plan, what=what, groups=groups)
    else:
        require_pictures(numbers, plan, what)
    rows = Rows("faces", known.columns)
    with destination.spool() as spool:
        left_out: dict[str, int] = pack_main_faces(
            pictures,
            extractor,
            PackWriter(spool, rows),
            destination,
            source=str(source["name"]),
            labels=known,
            framing=framing,
        )
        table = rows.table()
        found = f"{what}, counting pictures with a face that was found,"
        if labelled:
            require_splits(identities_per_split(table), plan, what=found)
        else:
            splits = table["split"].to_pylist()
            require_pictures({split: splits.count(split) for split in plan.wanted}, plan, found)
        pairs = add_pairs(table, spool, left_out) if add_pairs else None
        provenance = Provenance(
            kind="faces",
            source={**source, **alignment(extractor)},
            left_out=left_out,
            pairs=pairs,
            labels=known.columns,
        )
        return publish(destination, spool, table, provenance)


def require_pictures(numbers: Mapping[Split, int], plan: SplitPlan, what: str) -> None:
    """Raise `UsageError` unless each wanted split of an unlabelled set has a picture."""
    if empty := [split for split in plan.wanted if not numbers.get(split)]:
        raise UsageError(
            f"{what} has too few pictures: nothing is left for {', '.join(empty)}.",
            remedy="Give more pictures, or other shares (--val, --test; 0 makes no such split).",
        )


def alignment(extractor: FaceExtractor) -> dict[str, str]:
    """What the crops depend on besides the pictures, for the manifest."""
    contract = extractor.contract
    return {"detector_sha256": contract.detector_sha256, "alignment": contract.alignment}


def shares(plan: SplitPlan) -> dict[str, Any]:
    """The plan, for the manifest."""
    return {"val": plan.val, "test": plan.test, "seed": plan.seed}
