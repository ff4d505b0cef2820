"""The manifest of a snapshot: a Parquet table of its rows, and what they were made from.

The SHA-256 of the file is the identity of the snapshot. It depends on the rows and the source
only: not on the name, the time, the machine's paths or who built it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from facecore.lifecycle.datasets.splits import SPLITS, Split

Kind = Literal["faces", "scenes", "activity"]
FORMAT = 1
_KEY = b"facecore"
# Not of fixed size: Parquet files with a null in such a column cannot be read back.
_NUMBERS = pa.list_(pa.float32())

_COMMON = [
    ("object", pa.string()),  # in bucket `snapshots`
    ("object_sha256", pa.string()),
    ("split", pa.string()),
    ("source", pa.string()),  # name of the dataset, camera …
    ("image", pa.string()),  # the picture within it
]
# Columns of the rows, per kind. Metadata columns of the user follow.
COLUMNS: Mapping[Kind, pa.Schema] = {
    "faces": pa.schema(
        [
            *_COMMON,
            ("index", pa.int32()),  # row of the pack
            ("crop_sha256", pa.string()),  # of the crop's pixels
            ("identity", pa.string()),  # null: unknown
            ("image_sha256", pa.string()),
            ("alignment", pa.string()),  # landmarks, template
            ("box", _NUMBERS),  # 4; pixels of the picture the face was looked for in
            ("landmarks", _NUMBERS),  # 10; null: unknown
            ("detection_score", pa.float32()),
            ("quality", pa.float32()),  # stages.face_quality, 0..1
            ("quality_band", pa.string()),
        ]
    ),
    "scenes": pa.schema(
        [
            *_COMMON,
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("faces", pa.int32()),
            ("boxes", _NUMBERS),  # 4 numbers a face
            ("landmarks", _NUMBERS),  # 10 numbers a face; NaN: unknown
            ("identities", pa.list_(pa.string())),
            ("smallest_px", pa.float32()),  # side of the smallest face; null without faces
        ]
    ),
    "activity": pa.schema(
        [
            *_COMMON,  # `image` is the camera or person
            ("series", pa.string()),  # counts, visits
            ("start", pa.string()),  # ISO, wall clock
            ("first", pa.int32()),  # the part [first, last) is the split's
            ("last", pa.int32()),
            ("points", pa.int32()),
        ]
    ),
}

# The column that is counted, per kind.
_COUNTED: Mapping[Kind, str] = {"faces": "identity", "scenes": "faces", "activity": "points"}


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the rows were made from.

    Attributes:
        source: kind and parameters of the source; no paths of this machine.
        left_out: why pictures of the source are not rows → how many.
        pairs: key and SHA-256 of the pairs object, if there are pairs.
        labels: names of the user's metadata columns.
    """

    kind: Kind
    source: Mapping[str, Any]
    left_out: Mapping[str, int] = field(default_factory=dict)
    pairs: Mapping[str, str] | None = None
    labels: Sequence[str] = ()


class Rows:
    """The rows of a manifest that is being made: compact, batch by batch."""

    def __init__(self, kind: Kind, labels: Sequence[str] = ()) -> None:
        self._schema = COLUMNS[kind]
        for name in labels:
            self._schema = self._schema.append(pa.field(name, pa.string()))
        self._batches: list[pa.RecordBatch] = []

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows; a column that a row lacks is null."""
        if rows:
            batch = pa.RecordBatch.from_pylist([dict(row) for row in rows], schema=self._schema)
            self._batches.append(batch)

    def table(self) -> pa.Table:
        """All rows so far."""
        return pa.Table.from_batches(self._batches, schema=self._schema).combine_chunks()


def encode(table: pa.Table, provenance: Provenance) -> bytes:
    """The manifest as a Parquet file; equal rows and provenance give equal bytes."""
    document = {
        "format": FORMAT,
        "kind": provenance.kind,
        "source": dict(provenance.source),
        "splits": counts(table, provenance.kind),
        "left_out": {why: n for why, n in sorted(provenance.left_out.items()) if n},
        "pairs": dict(provenance.pairs) if provenance.pairs else None,
        "labels": list(provenance.labels),
    }
    text = json.dumps(document, sort_keys=True, ensure_ascii=False).encode()
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({_KEY: text}), sink, compression="zstd")
    return bytes(sink.getvalue())


def decode(data: bytes) -> tuple[pa.Table, dict[str, Any]]:
    """Rows and document of a manifest.

    Raises:
        ValueError: the bytes are no manifest, or of a newer format.
    """
    try:
        table = pq.read_table(pa.BufferReader(data))
        document: dict[str, Any] = json.loads(table.schema.metadata[_KEY])
    except (pa.ArrowException, KeyError, TypeError) as error:
        raise ValueError("is no snapshot manifest") from error
    if document["format"] != FORMAT:
        raise ValueError(f"has format {document['format']}; this program reads {FORMAT}")
    return table, document


def digest_of(data: bytes) -> str:
    """SHA-256 (hex)."""
    return hashlib.sha256(data).hexdigest()


def counts(table: pa.Table, kind: Kind) -> dict[Split, dict[str, int]]:
    """Rows, and identities, faces or points of time, of each split that has rows."""
    found: dict[Split, dict[str, int]] = {}
    splits = table["split"].to_pylist()
    values = table[_COUNTED[kind]].to_pylist()
    for split in SPLITS:
        own = [value for value, where in zip(values, splits, strict=True) if where == split]
        if own and kind == "faces":
            people = {name for name in own if name is not None}
            unlabelled = sum(name is None for name in own)
            found[split] = {"rows": len(own), "identities": len(people), "unlabelled": unlabelled}
        elif own:
            found[split] = {"rows": len(own), _COUNTED[kind]: sum(own)}
    return found
