"""The best references of each query found so far: what a search keeps, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from facecore.types import Floats

Ints = npt.NDArray[np.int64]

# Queries with more hits at once than this are merged apart from the others.
_MANY_HITS = 256


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Pairs of similar vectors: row `rows[i]` of the queries, the reference `columns[i]`.

    Sorted by row, best first, of equal ones the reference that came first; cosines -1..1 in
    `scores`, float32. All `[m]`.
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


@dataclass(frozen=True, slots=True)
class Hits:
    """Pairs that may be among the best: row, column, score; all `[m]`, each row's by column."""

    rows: Tensor
    columns: Tensor
    scores: Tensor


class Best:
    """Lists of the `k` best of each of `count` queries.

    Args:
        floor: scores below it are not wanted.
        shared: of hits with the same column the best counts.
    """

    def __init__(
        self, count: int, k: int, floor: float, shared: bool, device: torch.device
    ) -> None:
        self.k, self.shared = k, shared
        # What is kept is above a bar: the number before the floor, or the worst of a full list.
        self._floor = float(np.nextafter(np.float32(floor), np.float32(-math.inf)))
        self._scores = torch.full((count, k), -math.inf, device=device)
        self._columns = torch.full_like(self._scores, -1, dtype=torch.int64)

    def bars(self, rows: slice) -> Tensor:
        """What a score must exceed to be among the best, float32 `[rows]`."""
        return self._scores[rows, -1].clamp_min(self._floor)

    def merge(self, first: int, found: Iterable[Hits]) -> None:
        """Take hits in; their row 0 is the query `first`."""
        hits = list(found)
        if not hits:
            return
        rows, order = torch.cat([one.rows for one in hits]).sort(stable=True)
        columns = torch.cat([one.columns for one in hits])[order]
        scores = torch.cat([one.scores for one in hits])[order]
        touched, which, counts = torch.unique_consecutive(
            rows, return_inverse=True, return_counts=True
        )
        place = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[which]
        many = counts > _MANY_HITS
        for some in (~many, many):
            if not some.any():
                continue
            among = some[which]
            line = (some.cumsum(0) - 1)[which[among]]
            self._merge(
                first + touched[some],
                (line, self.k + place[among]),
                Hits(rows[among], columns[among], scores[among]),
                self.k + int(counts[some].max()),
            )

    def _merge(self, rows: Tensor, at: tuple[Tensor, Tensor], hits: Hits, width: int) -> None:
        """A table with a line per query: what it has, then its hits; sorted, and cut off."""
        scores = hits.scores.new_full((len(rows), width), -math.inf)
        columns = torch.full_like(scores, -1, dtype=torch.int64)
        scores[:, : self.k], columns[:, : self.k] = self._scores[rows], self._columns[rows]
        scores[at], columns[at] = hits.scores, hits.columns
        if self.shared:
            _keep_best_of_each(scores, columns)
        # Stable: of equals the one that came first is kept.
        best, order = scores.sort(dim=1, descending=True, stable=True)
        self._scores[rows] = best[:, : self.k]
        self._columns[rows] = columns.gather(1, order[:, : self.k])

    def result(self) -> Neighbours:
        """The lists as they are."""
        found = self._columns >= 0
        return Neighbours(
            found.nonzero()[:, 0].cpu().numpy(),
            self._columns[found].cpu().numpy(),
            self._scores[found].clamp(-1.0, 1.0).cpu().numpy(),
        )


def _keep_best_of_each(scores: Tensor, columns: Tensor) -> None:
    """Blank all but the best of the entries of a line that have the same column, in place."""
    best_first = scores.sort(dim=1, descending=True, stable=True).indices
    named, order = columns.gather(1, best_first).sort(dim=1, stable=True)
    again = torch.zeros_like(named, dtype=torch.bool)
    again[:, 1:] = named[:, 1:] == named[:, :-1]
    again = torch.zeros_like(again).scatter_(1, best_first.gather(1, order), again)
    scores.masked_fill_(again, -math.inf)
    columns.masked_fill_(again, -1)
