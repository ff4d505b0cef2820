"""From rows, packs and pictures to a published snapshot."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from facecore.lifecycle.datasets import manifest, names
from facecore.lifecycle.datasets.manifest import Provenance, Rows
from facecore.lifecycle.datasets.snapshot import TENSOR, Crops, Snapshot, open_snapshot
from facecore.lifecycle.datasets.splits import Split
from facecore.lifecycle.datasets.spool import Spool
from facecore.stores.objects import ObjectStore

Progress = Callable[[str, int, int], None]
CROPS_PER_PACK = 2048  # 77 MB: what a builder and a reader hold at a time


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a snapshot goes.

    Attributes:
        name: of the snapshot.
        workdir: for what waits to be uploaded; the system's temporary folder by default.
        progress: called with (step, done, of).
    """

    objects: ObjectStore
    name: str
    workdir: Path | None = None
    progress: Progress = lambda step, done, of: None

    def __post_init__(self) -> None:
        names.require_name(self.name)

    def spool(self) -> Spool:
        """A place for objects that wait."""
        return Spool(self.workdir)


@dataclass(frozen=True, slots=True)
class Built:
    """A snapshot that was asked for.

    Attributes:
        new: False when the name already had a version with this digest.
        written: objects that were stored; 0 when all were there already.
    """

    snapshot: Snapshot
    new: bool
    written: int


class PackWriter:
    """Fills packs of crops, split by split, and keeps the rows that point into them."""

    def __init__(self, spool: Spool, rows: Rows) -> None:
        self._spool, self._rows = spool, rows
        self._split: Split | None = None
        self._crops: list[Crops] = []
        self._waiting: list[dict[str, Any]] = []

    def add(self, split: Split, crop: Crops, row: Mapping[str, Any]) -> None:
        """One crop uint8 `[112, 112, 3]` with its row; splits come one after another."""
        if split != self._split or len(self._crops) == CROPS_PER_PACK:
            self.flush()
        self._split = split
        index = len(self._crops)
        crop_sha256 = manifest.digest_of(np.ascontiguousarray(crop).tobytes())
        self._crops.append(crop)
        self._waiting.append({**row, "split": split, "index": index, "crop_sha256": crop_sha256})

    def flush(self) -> None:
        """Close the open pack."""
        from safetensors.numpy import save

        if not self._crops:
            return
        key, sha256 = self._spool.add("crops", save({TENSOR: np.stack(self._crops)}), "safetensors")
        self._rows.add([{**row, "object": key, "object_sha256": sha256} for row in self._waiting])
        self._crops, self._waiting = [], []


def encode_pairs(pairs: Iterable[tuple[str, int, int, bool, int]]) -> bytes:
    """(split, left, right, same, fold) → a Parquet file."""
    listed = list(pairs)
    types = [pa.string(), pa.int32(), pa.int32(), pa.bool_(), pa.int32()]
    columns = zip(*listed, strict=True) if listed else ([] for _ in types)
    arrays = [pa.array(list(values), kind) for values, kind in zip(columns, types, strict=True)]
    table = pa.table(arrays, names=["split", "left", "right", "same", "fold"])
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def encode_png(image: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """uint8 RGB `[h, w, 3]` → PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def publish(
    destination: Destination, spool: Spool, table: pa.Table, provenance: Provenance
) -> Built:
    """Store what is not there yet: objects, then the manifest, then the name.

    A reader never meets a name without its objects; an interruption leaves unnamed objects,
    which the next build of the same data uses.
    """
    data = manifest.encode(table, provenance)
    digest = manifest.digest_of(data)
    objects = destination.objects
    written = spool.upload(objects, lambda done, of: destination.progress("upload", done, of))
    key = names.manifest_key(digest)
    with Spool(destination.workdir) as last:
        assert last.add("manifests", data, "parquet") == (key, digest)  # noqa: S101
        written += last.upload(objects, lambda _done, _of: None)
    summary = {
        "kind": provenance.kind,
        "source": str(provenance.source["kind"]),
        "rows": int(table.num_rows),
        "splits": manifest.counts(table, provenance.kind),
    }
    version, new = names.record(objects, destination.name, digest, summary)
    return Built(open_snapshot(objects, f"{version.name}@{digest}"), new, written)


def identities_per_split(table: pa.Table) -> dict[Split, int]:
    """How many different known people each split has."""
    counted = manifest.counts(table, "faces")
    return {split: numbers["identities"] for split, numbers in counted.items()}


def positions(table: pa.Table, splits: Sequence[Split]) -> dict[str, tuple[Split, int]]:
    """Picture → (split, row number within the split), for the splits given."""
    found: dict[str, tuple[Split, int]] = {}
    next_row = dict.fromkeys(splits, 0)
    images, where = table["image"].to_pylist(), table["split"].to_pylist()
    for image, split in zip(images, where, strict=True):
        if split in next_row:
            found[image] = (split, next_row[split])
            next_row[split] += 1
    return found
