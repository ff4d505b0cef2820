"""The nearest faces of each face above a similarity, exactly, in bounded memory.

Similarities are computed block by block and only those above a floor are kept, at most `k` per
face: memory is faces × k, never faces × faces, also where everybody is the same person.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from facecore.errors import ShapeError
from facecore.types import Floats

Ints = npt.NDArray[np.int64]

_QUERY_ROWS = 2048
_REFERENCE_ROWS = 8192


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Pairs of similar faces: row `rows[i]` of the queries, row `columns[i]` of the references.

    Sorted by row, best first; cosines -1..1 in `scores`, float32. All `[m]`.
    """

    rows: Ints
    columns: Ints
    scores: Floats

    def __len__(self) -> int:
        return len(self.rows)

    def above(self, floor: float) -> Neighbours:
        """Those with at least this cosine."""
        kept = self.scores >= floor
        return Neighbours(self.rows[kept], self.columns[kept], self.scores[kept])


class NearestAbove:
    """Collects each query's `k` nearest references from blocks that arrive one after the other.

    Args:
        queries: float32 `[q, d]`, unit length.
        floor: pairs below this cosine are not kept.
        k: most references per query.
        device: where the products are computed.
    """

    def __init__(
        self, queries: Floats, floor: float, k: int, device: torch.device | None = None
    ) -> None:
        if queries.ndim != 2 or not np.isfinite(queries).all():
            raise ShapeError("queries", "finite [q, d]", str(list(queries.shape)))
        self.floor, self.k = floor, k
        self.device = device or torch.device("cpu")
        self._queries = torch.from_numpy(np.ascontiguousarray(queries, np.float32)).to(self.device)
        self._found = _nothing()

    def add(self, references: Floats, columns: Ints, own: Ints | None = None) -> None:
        """Compare with a block of references.

        Args:
            references: float32 `[r, d]`, unit length.
            columns: int64 `[r]`: what they are called in the result.
            own: int64 `[q]`: the column that is the query itself, which is left out; -1: none.
        """
        if not len(references) or not len(self._queries):
            return
        if references.ndim != 2 or references.shape[1] != self._queries.shape[1]:
            expected = f"[r, {self._queries.shape[1]}]"
            raise ShapeError("references", expected, str(list(references.shape)))
        found = [self._found]
        for start in range(0, len(references), _REFERENCE_ROWS):
            part = slice(start, start + _REFERENCE_ROWS)
            block = torch.from_numpy(np.ascontiguousarray(references[part], np.float32))
            found.append(self._block(block.to(self.device), columns[part], own))
        self._found = _best(found, self.k)

    def result(self) -> Neighbours:
        """What was found so far."""
        return self._found

    def _block(self, block: torch.Tensor, columns: Ints, own: Ints | None) -> Neighbours:
        with torch.inference_mode():
            scores = self._queries @ block.T
            if own is not None:
                place = np.searchsorted(columns, own) if len(columns) else own
                place = np.minimum(place, len(columns) - 1)
                mine = np.flatnonzero(columns[place] == own)
                scores[torch.from_numpy(mine), torch.from_numpy(place[mine])] = -2.0
            width = scores.shape[1]
            flat = _where(scores >= self.floor)
            rows = flat // width
            crowded = torch.bincount(rows, minlength=len(scores)) > self.k
            full = crowded.nonzero().squeeze(1)
            if len(full):  # rows that are as long as the block
                at = scores[full].topk(self.k, dim=1).indices
                flat = flat[~crowded[rows]]
                flat = torch.cat([flat, (full[:, None] * width + at).flatten()])
            found = scores.view(-1)[flat]
            places, values = flat.cpu().numpy(), found.cpu().numpy()
        return Neighbours(places // width, columns[places % width], values.clip(-1, 1))


def _where(hits: torch.Tensor) -> torch.Tensor:
    """Places of the true values, row after row, int64 `[m]`; few are expected."""
    if hits.device.type == "cpu":  # seven times as fast as torch's
        return torch.from_numpy(np.flatnonzero(hits.numpy()))
    return hits.view(-1).nonzero().squeeze(1)


def nearest_above(
    vectors: npt.NDArray[Any],
    floor: float,
    k: int,
    *,
    device: torch.device | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Neighbours:
    """The `k` nearest others of each face with a cosine of at least `floor`; exact.

    Args:
        vectors: float32 or float16 `[n, d]`, unit length; may be mapped from a file.
        on_progress: called with the number of faces that are done.
    """
    found: list[Neighbours] = []
    for start in range(0, len(vectors), _QUERY_ROWS):
        queries = np.asarray(vectors[start : start + _QUERY_ROWS], np.float32)
        own = np.arange(start, start + len(queries), dtype=np.int64)
        search = NearestAbove(queries, floor, k, device)
        step = 8 * _REFERENCE_ROWS
        for other in range(0, len(vectors), step):
            block = np.asarray(vectors[other : other + step], np.float32)
            search.add(block, np.arange(other, other + len(block), dtype=np.int64), own)
        part = search.result()
        found.append(Neighbours(part.rows + start, part.columns, part.scores))
        on_progress(start + len(queries))
    return _joined(found)


def _nothing() -> Neighbours:
    return Neighbours(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))


def _joined(parts: list[Neighbours]) -> Neighbours:
    if not parts:
        return _nothing()
    return Neighbours(
        np.concatenate([p.rows for p in parts]),
        np.concatenate([p.columns for p in parts]),
        np.concatenate([p.scores for p in parts]),
    )


def _best(parts: list[Neighbours], k: int) -> Neighbours:
    """The `k` best of each row; equal ones by column, so that the answer is always the same."""
    every = _joined(parts)
    order = np.lexsort((every.columns, -every.scores, every.rows))
    rows = every.rows[order]
    first = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]]) if len(rows) else np.zeros(0, int)
    rank = np.arange(len(rows)) - np.repeat(first, np.diff(np.r_[first, len(rows)]))
    kept = order[rank < k]
    return Neighbours(every.rows[kept], every.columns[kept], every.scores[kept])
