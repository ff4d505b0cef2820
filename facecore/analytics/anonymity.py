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
    for together in _connected(sums):
        table = _Table(known, together, k)
        table.hide_companions(hidden, together)
        while table.exposed(hidden):
            hidden.add(table.next_to_hide(hidden))
    return frozenset(key for key in hidden if known[key].shown)


def _connected(sums: Sequence[Sum]) -> list[list[Sum]]:
    """Sums that share cells, directly or through others; what one group tells no other knows."""
    groups: list[tuple[set[str], list[Sum]]] = []
    for one in sorted(sums, key=lambda one: (one.total, one.parts)):
        cells, members = {one.total, *one.parts}, [one]
        apart = []
        for group in groups:
            if group[0] & cells:
                cells |= group[0]
                members = [*group[1], *members]
            else:
                apart.append(group)
        groups = [*apart, (cells, members)]
    return [members for _, members in groups]


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

    def hide_companions(self, hidden: set[str], sums: Sequence[Sum]) -> None:
        """Where one sum by itself tells about few people, withhold its smallest larger cell."""
        before = -1
        while len(hidden) != before:
            before = len(hidden)
            for one in sums:
                members = (one.total, *one.parts)
                kept = [m for m in members if self.known[m].people >= self.k]
                if any(m in hidden and m not in kept for m in members) and not any(
                    m in hidden for m in kept
                ):
                    hidden |= set(sorted(kept, key=lambda m: (self.known[m].value, m))[:1])

    def exposed(self, hidden: set[str]) -> int:
        """How much the published cells tell about cells of fewer than k people alone.

        An equation is any combination of the sums in which the withheld cells of k people and
        more cancel out. Those that hold whatever the numbers are tell nothing. 0: nothing is told.
        """
        few = self._columns(key for key in hidden if self.known[key].people < self.k)
        if not few:
            return 0
        many = self._columns(key for key in hidden if self.known[key].people >= self.k)
        public = self._columns(
            key for key in self.keys if key not in hidden and self.known[key].people >= self.k
        )
        told = _left_null_space(self.matrix[:, many]).T @ self.matrix[:, few]
        known_anyway = _left_null_space(self.matrix[:, many + public]).T @ self.matrix[:, few]
        return _rank(told) - _rank(known_anyway)

    def next_to_hide(self, hidden: set[str]) -> str:
        """The smallest published cell of k people or more that, withheld, lets less be told."""
        candidates = sorted(
            (self.known[key].value, self.known[key].people, key)
            for key in self.keys
            if key not in hidden and self.known[key].people >= self.k
        )
        told = self.exposed(hidden)
        for _, _, key in candidates:
            if self.exposed({*hidden, key}) < told:
                return key
        return candidates[0][2]

    def _columns(self, keys: Iterable[str]) -> list[int]:
        return sorted(self.column[key] for key in keys if key in self.column)


def _left_null_space(matrix: Matrix) -> Matrix:
    """Orthonormal columns y with yᵀ · matrix = 0; float64 `[rows, nullity]`."""
    values, vectors = np.linalg.eigh(matrix @ matrix.T)
    return np.asarray(vectors[:, values < _NOTHING * max(1.0, float(values[-1]))], np.float64)


def _rank(matrix: Matrix) -> int:
    if 0 in matrix.shape:
        return 0
    return int(np.linalg.matrix_rank(matrix, tol=1e-8))
