"""(face id, halfvec) rows ↔ PostgreSQL's binary COPY format, without a loop per row.

Layout of COPY BINARY: https://www.postgresql.org/docs/current/sql-copy.html (Binary Format);
of a halfvec: int16 dimension, int16 unused, then big-endian float16 (pgvector, halfvec.c).
All rows have the same size, so one numpy record type describes the whole stream.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from facecore.types import Floats

_HEADER = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
_TRAILER = struct.pack(">h", -1)


def _row_type(dimension: int) -> np.dtype[Any]:
    return np.dtype(
        [
            ("fields", ">i2"),
            ("face_bytes", ">i4"),
            ("face", ">i8"),
            ("vector_bytes", ">i4"),
            ("dimension", ">i2"),
            ("unused", ">i2"),
            ("vector", ">f2", (dimension,)),
        ]
    )


def encode(face_ids: Sequence[int] | npt.NDArray[np.int64], vectors: Floats) -> bytes:
    """COPY BINARY of (bigint, halfvec) rows from ids `[n]` and float32 vectors `[n, d]`."""
    count, dimension = vectors.shape
    rows = np.zeros(count, _row_type(dimension))
    rows["fields"] = 2
    rows["face_bytes"] = 8
    rows["face"] = face_ids
    rows["vector_bytes"] = 4 + 2 * dimension
    rows["dimension"] = dimension
    rows["vector"] = vectors
    return _HEADER + rows.tobytes() + _TRAILER


def decode(data: bytes, dimension: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """Ids int64 `[n]` and vectors float32 `[n, d]` from COPY BINARY of (bigint, halfvec)."""
    (extension,) = struct.unpack_from(">i", data, len(_HEADER) - 4)
    start = len(_HEADER) + extension
    kind = _row_type(dimension)
    count = (len(data) - start - len(_TRAILER)) // kind.itemsize
    rows = np.frombuffer(data, kind, count=count, offset=start)
    return rows["face"].astype(np.int64), rows["vector"].astype(np.float32)


def as_text(vector: Floats) -> str:
    """A vector as PostgreSQL reads it."""
    return "[" + ",".join(f"{value:.8g}" for value in vector.tolist()) + "]"
