"""Reading snapshots. Every object is held against the SHA-256 that names it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from facecore.errors import ImageRejected, ObjectMissing, SnapshotDamaged, UsageError
from facecore.lifecycle.datasets import manifest, names
from facecore.lifecycle.datasets.manifest import Kind
from facecore.lifecycle.datasets.splits import SPLITS, Split
from facecore.stores.objects import ObjectStore
from facecore.types import CROP_SIZE, Floats, Image

if TYPE_CHECKING:
    import pandas as pd

    from facecore.lifecycle.datasets.activity import ActivitySeries

Crops = npt.NDArray[np.uint8]
TENSOR = "crops"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An immutable dataset: aligned faces or scenes, split into train, val and test.

    Attributes:
        name, version: the name it was opened by, and the number of the version.
        kind: `faces`, `scenes` or `activity`.
        digest: SHA-256 (hex) of the manifest.
        source: what it was made from, with all parameters.
        splits: split → counts: rows; identities and unlabelled (faces); faces (scenes);
            points of time (activity).
        left_out: why pictures of the source are not in it → how many.
        labels: names of the user's metadata columns.
    """

    name: str
    version: int
    kind: Kind
    digest: str
    source: Mapping[str, Any]
    splits: Mapping[Split, Mapping[str, int]]
    left_out: Mapping[str, int]
    labels: tuple[str, ...]
    _objects: ObjectStore
    _table: pa.Table
    _pairs: Mapping[str, str] | None

    @property
    def reference(self) -> str:
        """`name@digest`, shortened to twelve digits."""
        return f"{self.name}@{self.digest[:12]}"

    @property
    def rows(self) -> int:
        """Crops or scenes of all splits together."""
        return int(self._table.num_rows)

    def frame(self, split: Split | None = None) -> pd.DataFrame:
        """The manifest's rows; the index is the row number within the split, from 0.

        Raises:
            UsageError: no such split.
        """
        frame: pd.DataFrame = self._rows(split).to_pandas()
        return frame

    def crops(self, split: Split | None = None) -> tuple[Crops, list[str | None], pd.DataFrame]:
        """Aligned faces uint8 RGB `[n, 112, 112, 3]`, who they are (None: unknown), and the rows.

        Raises:
            SnapshotDamaged: an object is missing or is not the one that was stored.
            UsageError: no such split, or a snapshot of scenes.
        """
        rows = self._rows(split)
        pixels = np.empty((rows.num_rows, CROP_SIZE, CROP_SIZE, 3), np.uint8)
        for where, part in self._packs(rows):
            pixels[where] = part
        return pixels, rows["identity"].to_pylist(), rows.to_pandas()

    def packs(self, split: Split | None = None) -> Iterator[tuple[npt.NDArray[np.intp], Crops]]:
        """As `crops` for splits that do not fit into memory: (row numbers, crops), pack by pack."""
        yield from self._packs(self._rows(split))

    def scenes(self, split: Split | None = None) -> Iterator[tuple[Image, Floats, Floats]]:
        """Scene by scene: uint8 RGB `[h, w, 3]`, boxes float32 `[n, 4]` (x1 y1 x2 y2, px) and
        landmarks float32 `[n, 5, 2]` (px; NaN where unknown), in the order of `frame`.

        Raises:
            SnapshotDamaged: an object is missing or is not the one that was stored.
            UsageError: no such split, or a snapshot of faces.
        """
        self._require("scenes")
        rows = self._rows(split)
        for number in range(rows.num_rows):
            yield self._scene(rows, number)

    def scene(self, split: Split | None, number: int) -> tuple[Image, Floats, Floats]:
        """One scene of `scenes`, by its row number within the split."""
        self._require("scenes")
        rows = self._rows(split)
        if not 0 <= number < rows.num_rows:
            raise UsageError(f"snapshot {self.reference} has {rows.num_rows} scenes, not {number}.")
        return self._scene(rows, number)

    def series(self, split: Split | None = None) -> Iterator[ActivitySeries]:
        """Series of counts and visits, each with the part of it that is the split's.

        Raises:
            SnapshotDamaged: an object is missing or is not the one that was stored.
            UsageError: no such split, or a snapshot of pictures.
        """
        from facecore.lifecycle.datasets.activity import read_series

        self._require("activity")
        rows = self._rows(split).to_pylist()
        yield from read_series(
            (row, self._read(row["object"], row["object_sha256"])) for row in rows
        )

    def pairs(self, split: Split) -> pd.DataFrame | None:
        """Verification pairs of a split, or None: columns `left`, `right` (row numbers within
        the split), `same` (bool), `fold`.

        Raises:
            SnapshotDamaged: they are missing or altered.
        """
        self._rows(split)  # refuses an unknown split
        if self._pairs is None:
            return None
        data = self._read(self._pairs["object"], self._pairs["sha256"])
        table = pq.read_table(pa.BufferReader(data))
        own = table.filter(pc.equal(table["split"], split)).drop_columns(["split"])
        return own.to_pandas() if own.num_rows else None

    def verify(self) -> int:
        """Read every object once and hold it against its SHA-256; returns how many there are.

        Raises:
            SnapshotDamaged: the first that is missing or altered.
        """
        listed = self._table.select(["object", "object_sha256"]).to_pylist()
        expected = {row["object"]: row["object_sha256"] for row in listed}
        if self._pairs is not None:
            expected[self._pairs["object"]] = self._pairs["sha256"]
        for key, sha256 in sorted(expected.items()):
            self._read(key, sha256)
        return len(expected)

    def _require(self, kind: Kind) -> None:
        if self.kind != kind:
            raise UsageError(
                f"snapshot {self.reference} holds {self.kind}, not {kind}.",
                remedy="Detectors need scenes, forecasters activity, all others faces.",
            )

    def _rows(self, split: Split | None) -> pa.Table:
        if split is None:
            return self._table
        if split not in SPLITS:
            raise UsageError(f"no split {split!r}; there are {', '.join(SPLITS)}.")
        return self._table.filter(pc.equal(self._table["split"], split))

    def _packs(self, rows: pa.Table) -> Iterator[tuple[npt.NDArray[np.intp], Crops]]:
        self._require("faces")
        keys, digests = rows["object"].to_pylist(), rows["object_sha256"].to_pylist()
        index = rows["index"].to_numpy()
        members: dict[tuple[str, str], list[int]] = {}
        for number, pack in enumerate(zip(keys, digests, strict=True)):
            members.setdefault(pack, []).append(number)
        for (key, sha256), numbers in members.items():
            where = np.array(numbers, np.intp)
            yield where, self._pack(key, sha256)[index[where]]

    def _pack(self, key: str, sha256: str) -> Crops:
        from safetensors.numpy import load

        pixels: Crops = load(self._read(key, sha256))[TENSOR]
        return pixels

    def _scene(self, rows: pa.Table, number: int) -> tuple[Image, Floats, Floats]:
        from facecore.stages.decode import Limits, decode

        key = rows["object"][number].as_py()
        data = self._read(key, rows["object_sha256"][number].as_py())
        try:
            image = decode(data, Limits())
        except ImageRejected as rejected:
            raise SnapshotDamaged(self.reference, key, f"cannot be decoded: {rejected}") from None
        boxes = np.array(rows["boxes"][number].as_py(), np.float32).reshape(-1, 4)
        landmarks = np.array(rows["landmarks"][number].as_py(), np.float32).reshape(-1, 5, 2)
        return image, boxes, landmarks

    def _read(self, key: str, sha256: str) -> bytes:
        return _verified(self._objects, self.reference, key, sha256)


def open_snapshot(objects: ObjectStore, reference: str) -> Snapshot:
    """A snapshot by `name` (its newest version) or `name@digest`.

    Raises:
        NotFound: no such name or digest; it lists the known ones.
        SnapshotDamaged: the manifest is missing or altered.
    """
    version = names.resolve(objects, reference)
    key = names.manifest_key(version.digest)
    data = _verified(objects, version.reference, key, version.digest)
    try:
        table, document = manifest.decode(data)
    except ValueError as error:
        raise SnapshotDamaged(version.reference, key, str(error)) from error
    return Snapshot(
        name=version.name,
        version=version.number,
        kind=document["kind"],
        digest=version.digest,
        source=document["source"],
        splits=_in_order(document["splits"]),
        left_out=document["left_out"],
        labels=tuple(document["labels"]),
        _objects=objects,
        _table=table,
        _pairs=document["pairs"],
    )


def _in_order(splits: Mapping[Split, Mapping[str, int]]) -> dict[Split, dict[str, int]]:
    """Splits and counts in the order in which people read them."""
    names = ("rows", "identities", "unlabelled", "faces", "points")
    return {
        split: {name: splits[split][name] for name in names if name in splits[split]}
        for split in SPLITS
        if split in splits
    }


def _verified(objects: ObjectStore, reference: str, key: str, sha256: str) -> bytes:
    try:
        data = objects.get(names.BUCKET, key)
    except ObjectMissing:
        raise SnapshotDamaged(reference, key, "is missing") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise SnapshotDamaged(reference, key, "was altered (its SHA-256 is another)")
    return data
