"""Which numbers of a shared table are withheld, so that no cell tells about fewer than k people.

A cell about 1 … k - 1 people is withheld. That alone does not protect it: what is published may
give it back by subtraction. So further cells are withheld until every equation that follows from
the published numbers contains, besides withheld cells, at least one withheld cell about k people
or more (complementary suppression; Hundepool et al., Statistical Disclosure Control, 2012, ch. 4).

How many people a cell is about is a lower bound, so too much is withheld rather than too little.
A cell about nobody (0 people) is published. Within a period this is exact linear disclosure, not
an estimate of what somebody could guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facecore.errors import ShapeError

Matrix = npt.NDArray[np.float64]
_NOTHING = 1e-9  # entries of the matrices are whole numbers; anything below is rounding


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of a table.

    Attributes:
        key: unique among all cells that are published together.
        value: what would be shown.
        people: at least so many different people it is about.
        shown: False for a sum that is not printed but follows from printed ones.
    """

    key: str
    value: int
    people: int
    shown: bool = True


@dataclass(frozen=True, slots=True)
class Sum:
    """What readers know of the cells: `total` = the sum of `parts`."""

    total: str
    parts: tuple[str, ...]


def withheld(cells: Iterable[Cell], sums: Sequence[Sum], k: int) -> frozenset[str]:
    """Keys of the cells not to show; those with `shown` False are never among them.

    Args:
        sums: every equation between the cells that readers can know.
        k: smallest number of people a published cell may be about.

    Raises:
        ShapeError: a sum names an unknown cell, or does not hold.
    """
    known = {cell.key: cell for cell in cells}
    _check(known, sums)
    hidden = {key for key, cell in known.items() if 0 < cell.people < k}
    hidden |= {key for key, cell in known.items() if not cell.shown and cell.people >= k}
    table = _Table(known, sums, k)
    while True:
        exposed = table.exposed(hidden)
        if not exposed:
            break
        hidden.add(table.next_to_hide(hidden, exposed))
    return frozenset(key for key in hidden if known[key].shown)


def _check(known: Mapping[str, Cell], sums: Sequence[Sum]) -> None:
    for one in sums:
        if missing := [key for key in (one.total, *one.parts) if key not in known]:
            raise ShapeError("sums", "known cells", f"unknown {missing[:3]}")
        found = sum(known[key].value for key in one.parts)
        if found != known[one.total].value:
            raise ShapeError(f"sum {one.total}", f"{known[one.total].value}", f"{found}")


class _Table:
    """The equations as a matrix: one row per sum, one column per cell, and the row sums are 0."""

    def __init__(self, known: Mapping[str, Cell], sums: Sequence[Sum], k: int) -> None:
        self.known, self.k = known, k
        self.keys = sorted({key for one in sums for key in (one.total, *one.parts)})
        self.column = {key: i for i, key in enumerate(self.keys)}
        self.matrix: Matrix = np.zeros((len(sums), len(self.keys)))
        for row, one in enumerate(sums):
            self.matrix[row, self.column[one.total]] += 1
            for key in one.parts:
                self.matrix[row, self.column[key]] -= 1

    def exposed(self, hidden: set[str]) -> list[int]:
        """Equations that tell something about cells of fewer than k people and nothing else.

        An equation is any combination of the sums in which the withheld cells of k people and
        more cancel out. Those that hold whatever the numbers are tell nothing.
        """
        few = self._columns(key for key in hidden if self.known[key].people < self.k)
        if not few:
            return []
        many = self._columns(key for key in hidden if self.known[key].people >= self.k)
        public = self._columns(
            key for key in self.keys if key not in hidden and self.known[key].people >= self.k
        )
        free = _left_null_space(self.matrix[:, many])
        trivial = _left_null_space(self.matrix[:, many + public])
        told = free.T @ self.matrix[:, few]
        known_anyway = trivial.T @ self.matrix[:, few]
        if _rank(told) <= _rank(known_anyway):
            return []
        useful = np.abs(free).max(axis=1) > _NOTHING
        touches = np.abs(self.matrix[:, few]).sum(axis=1) > 0
        return [int(row) for row in np.flatnonzero(useful & touches)] or [
            int(row) for row in np.flatnonzero(useful)
        ]

    def next_to_hide(self, hidden: set[str], rows: Sequence[int]) -> str:
        """The published cell of k people or more that costs least, in the first row that has one.

        Rows in which no withheld cell of k people stands yet come first.
        """
        candidates: list[tuple[bool, int, int, str]] = []
        for row in rows:
            members = [self.keys[i] for i in np.flatnonzero(self.matrix[row])]
            covered = any(m in hidden and self.known[m].people >= self.k for m in members)
            candidates += [
                (covered, self.known[m].value, self.known[m].people, m)
                for m in members
                if m not in hidden and self.known[m].people >= self.k
            ]
        if not candidates:  # an equation made of others: any cell that is left will do
            candidates = [
                (True, self.known[m].value, self.known[m].people, m)
                for m in self.keys
                if m not in hidden and self.known[m].people >= self.k
            ]
        return min(candidates)[3]

    def _columns(self, keys: Iterable[str]) -> list[int]:
        return sorted(self.column[key] for key in keys if key in self.column)


def _left_null_space(matrix: Matrix) -> Matrix:
    """Orthonormal columns y with yᵀ · matrix = 0; float64 `[rows, nullity]`."""
    rows = matrix.shape[0]
    if matrix.shape[1] == 0:
        return np.eye(rows)
    left, values, _ = np.linalg.svd(matrix, full_matrices=True)
    rank = int((values > _NOTHING * max(1.0, float(values[0]))).sum()) if values.size else 0
    return np.asarray(left[:, rank:], np.float64)


def _rank(matrix: Matrix) -> int:
    if 0 in matrix.shape:
        return 0
    return int(np.linalg.matrix_rank(matrix, tol=1e-8))
