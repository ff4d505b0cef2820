"""Snapshots of the platform's own faces: whom humans named, and for distillation the others.

The crops are those that extraction packed; nothing is detected again. People are called by
their number in the catalogue, not by name: a snapshot never changes, a name may have to.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from facecore.errors import NotFound
from facecore.lifecycle.datasets.building import (
    Built,
    Destination,
    PackWriter,
    identities_per_split,
    publish,
)
from facecore.lifecycle.datasets.face_set import require_pictures, shares
from facecore.lifecycle.datasets.faces import ORDER, quality_band
from facecore.lifecycle.datasets.labels import Labels, read_labels
from facecore.lifecycle.datasets.manifest import Provenance, Rows
from facecore.lifecycle.datasets.splits import Split, SplitPlan, require_splits
from facecore.stores.catalog.connection import Catalog
from facecore.stores.catalog.faces.training_faces import TrainingFace, Which, training_faces
from facecore.types import FaceCrops

ReadPack = Callable[[str], FaceCrops]
SplitBy = Literal["person", "picture"]
SPLIT_BY: tuple[str, ...] = get_args(SplitBy)


def build_from_catalog(
    destination: Destination,
    catalog: Catalog,
    read_pack: ReadPack,
    *,
    which: Which = "confirmed",
    plan: SplitPlan | None = None,
    labels: Path | None = None,
    split_by: SplitBy = "person",
) -> Built:
    """All faces of the catalogue that a human named, or did not.

    A face that no human named has no identity, but is split with the person the machine takes
    it for, if any; otherwise with its picture and near-copies of that.

    Args:
        read_pack: key in bucket "crops" → its crops.
        split_by: "picture" splits all faces that no human named with their picture, whoever is
            on it: for an autoencoder where few people come. What is measured then is of people
            whom the model knows.
        labels: CSV with further columns per `image` (SHA-256 of the picture) or `identity`
            (`person-<number>`).

    Raises:
        NotFound: there is no such face at all.
        UsageError: too few people or faces for the splits. Nothing was written.
        ObjectMissing: a pack of the platform is gone.
    """
    plan = plan or SplitPlan()
    known = read_labels(labels, "faces")
    what = f"the catalogue's {which} faces"
    by_split: dict[Split, list[TrainingFace]] = {split: [] for split in ORDER}
    groups = set()
    with catalog.transaction() as tx:
        for face in training_faces(tx, which):
            groups.add(group := _group(face, split_by))
            by_split[plan.of(group)].append(face)
    if not groups:
        raise NotFound(
            "face to learn from",
            which,
            remedy="`facecore enroll` or a human's confirmation names faces; ingest and "
            "extract pictures for unlabelled ones.",
        )
    known.require_some(
        face.image_sha256 if known.key == "image" else identity(face)
        for faces in by_split.values()
        for face in faces
    )
    people = {s: len({f.person_id for f in faces} - {None}) for s, faces in by_split.items()}
    if which == "confirmed":
        require_splits(people, plan, what=what, groups=groups)
    else:
        require_pictures({s: len(faces) for s, faces in by_split.items()}, plan, what)
    rows = Rows("faces", known.columns)
    with destination.spool() as spool:
        writer = PackWriter(spool, rows)
        total, done = sum(map(len, by_split.values())), 0
        for split, faces in by_split.items():
            key, pack = "", None
            for face in faces:
                if pack is None or face.crop_key != key:
                    key, pack = face.crop_key, read_pack(face.crop_key)
                writer.add(split, pack.pixels[face.crop_index].copy(), _row(face, known))
                done += 1
                destination.progress("faces", done, total)
        writer.flush()
        table = rows.table()
        if which == "confirmed":
            require_splits(identities_per_split(table), plan, what=what)
        provenance = Provenance(
            kind="faces",
            source={
                "kind": "catalog",
                "name": "catalogue",
                "faces": which,
                **({} if split_by == "person" else {"split_by": split_by}),
                **shares(plan),
            },
            labels=known.columns,
        )
        return publish(destination, spool, table, provenance)


def identity(face: TrainingFace) -> str | None:
    """What the manifest calls the person on a face."""
    return None if face.person_id is None else f"person-{face.person_id}"


def _group(face: TrainingFace, split_by: SplitBy) -> str:
    person = face.likely_person_id if split_by == "person" else face.person_id
    if person is not None:
        return f"person-{person}"
    return f"image-{face.first_image_id}"


def _row(face: TrainingFace, labels: Labels) -> dict[str, object]:
    return {
        **labels.of(face.image_sha256, identity(face)),
        "source": face.source,
        "image": face.image_sha256,
        "image_sha256": face.image_sha256,
        "identity": identity(face),
        "alignment": "landmarks",
        "box": list(face.box),
        "landmarks": None if face.landmarks is None else list(face.landmarks),
        "detection_score": face.score,
        "quality": face.quality,
        "quality_band": quality_band(face.quality),
    }
