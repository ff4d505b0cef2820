"""Immutable dataset snapshots: what models are trained and judged on.

A snapshot is a Parquet manifest whose SHA-256 is its identity, and the objects it names by
SHA-256: packs of aligned crops (`faces`), or pictures with boxes and landmarks (`scenes`), in
bucket `snapshots`. `open_snapshot(objects, "name")` reads one, `build_from_…` make them.
"""

from facecore.lifecycle.datasets.building import Built, Destination
from facecore.lifecycle.datasets.names import Listed
from facecore.lifecycle.datasets.names import every as list_snapshots
from facecore.lifecycle.datasets.snapshot import Snapshot, open_snapshot
from facecore.lifecycle.datasets.splits import SPLITS, Split, SplitPlan
from facecore.lifecycle.datasets.tracking import dataset_input, log_input

__all__ = [
    "SPLITS",
    "Built",
    "Destination",
    "Listed",
    "Snapshot",
    "Split",
    "SplitPlan",
    "dataset_input",
    "list_snapshots",
    "log_input",
    "open_snapshot",
]
