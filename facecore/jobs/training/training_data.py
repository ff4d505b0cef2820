"""What a training run needs from the stores: its snapshot, its teacher, its folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facecore.errors import ContractMismatch, UsageError
from facecore.jobs.models.champions import Champions, pair_of
from facecore.jobs.stores import Stores
from facecore.lifecycle.thresholds import require_enough
from facecore.stores.registry import WEIGHTS

if TYPE_CHECKING:
    from facecore.lifecycle.datasets.snapshot import Snapshot
    from facecore.lifecycle.datasets.splits import Split
    from facecore.lifecycle.training.teacher import Teacher


def runs_folder(stores: Stores) -> Path:
    """Where runs lie: a folder each."""
    return stores.settings.home.absolute() / "training"


def teaching_pair(stores: Stores, run: Path, in_use: Champions) -> Champions:
    """The pair whose embedder a run learns from: the one in use when the run began, also where
    another came into use between two of its tries.

    Args:
        run: the run's folder.

    Raises:
        NotFound: that version is gone.
        ContractMismatch: it is not what it was then.
        WeightsError: the run's record is damaged.
    """
    from facecore.lifecycle.training.run_folder import RunFolder

    record = RunFolder(run).read()
    if record is None or not record.teacher:
        return in_use
    name, _, version = record.teacher.rpartition("/")
    found = pair_of(stores, name, int(version))
    if found.embedder_row.contract != record.teacher_contract:
        raise ContractMismatch(record.teacher_contract, found.embedder_row.contract)
    return found


def teacher_of(stores: Stores, pair: Champions, precision: str) -> Teacher:
    """The embedder of a pair, as a teacher that computes in the run's precision.

    Raises:
        DigestMismatch: its weights are not the registered ones.
    """
    from facecore.lifecycle.training.teacher import Teacher
    from facecore.zoo import registry

    info = pair.embedder
    network = registry.load(
        info.contract["model"], stores.registry.download(info) / WEIGHTS, info.weights_sha256
    )
    return Teacher(
        network,
        f"{info.name}/{info.version}",
        pair.embedder_row.contract,
        precision=precision,
    )


def open_for(stores: Stores, reference: str, kind: str) -> Snapshot:
    """A snapshot of the kind that is needed.

    Raises:
        NotFound: no such snapshot; the known ones are listed.
        UsageError: it is of the other kind.
    """
    from facecore.lifecycle.datasets.snapshot import open_snapshot

    snapshot = open_snapshot(stores.objects, reference)
    if snapshot.kind != kind:
        raise UsageError(
            f"data set {snapshot.reference} holds {snapshot.kind}; {kind} are needed.",
            remedy="`facecore dataset list` shows the data sets of each kind.",
        )
    return snapshot


def require_judgeable(snapshot: Snapshot, split: Split = "test") -> None:
    """Whether the labelled faces of a split can tell how good an embedder is.

    Raises:
        UsageError: it has too few people or images.
    """
    counts = np.asarray(snapshot.frame(split)["identity"].value_counts(), np.int64)
    try:
        require_enough(counts)
    except UsageError as error:
        raise UsageError(
            f"split {split} of {snapshot.reference} cannot judge a model: {error.message}",
            remedy="Name another data set to judge it on (--evaluate-on), with more labelled "
            "people.",
        ) from None
