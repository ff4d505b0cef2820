"""A shard on its way from one step to the next: a row of plain numbers and bytes.

A row is an Arrow table with one line: a note (JSON) and arrays as binary columns, which are read
without a copy where they lie in Ray's object store. Nothing in it is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Row: TypeAlias = Any  # pyarrow.Table, which is not typed
Note: TypeAlias = dict[str, Any]
Array: TypeAlias = npt.NDArray[Any]

_NOTE = "note"


def to_row(note: Mapping[str, Any], arrays: Mapping[str, Array] | None = None) -> Row:
    """A row of a note and arrays of any shape."""
    kept = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
    shapes = {name: [array.dtype.str, *array.shape] for name, array in kept.items()}
    columns = {name: _binary(array) for name, array in kept.items()}
    return pa.table({_NOTE: [json.dumps({**note, "shapes": shapes})], **columns})


def note_of(row: Row) -> Note:
    """The note alone."""
    note: Note = json.loads(row.column(_NOTE)[0].as_py())
    return note


def from_row(row: Row) -> tuple[Note, dict[str, Array]]:
    """Note and arrays, which are read-only views of the row."""
    note = note_of(row)
    arrays = {
        name: np.frombuffer(row.column(name)[0].as_buffer(), np.dtype(kind)).reshape(shape)
        for name, (kind, *shape) in note.pop("shapes").items()
    }
    return note, arrays


def _binary(array: Array) -> Any:
    buffers = [None, pa.py_buffer(np.array([0, array.nbytes], np.int64)), pa.py_buffer(array)]
    return pa.Array.from_buffers(pa.large_binary(), 1, buffers)
