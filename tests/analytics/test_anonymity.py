"""No published table tells about fewer than k people, nor does any difference of its numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from facecore.analytics.anonymity import Cell, Sum, withheld
from facecore.errors import ShapeError

K = 5


def grid(values: np.ndarray, people: np.ndarray) -> tuple[list[Cell], list[Sum]]:
    """A table with the sums of its rows and columns, and of all."""
    rows, columns = values.shape
    cells = [
        Cell(f"{r},{c}", int(values[r, c]), int(people[r, c]))
        for r in range(rows)
        for c in range(columns)
    ]

    def total(key: str, keys: list[str]) -> Sum:
        parts = [cell for cell in cells if cell.key in keys]
        most = max(part.people for part in parts)
        cells.append(Cell(key, sum(part.value for part in parts), most))
        return Sum(key, tuple(keys))

    of_rows = [total(f"{r},*", [f"{r},{c}" for c in range(columns)]) for r in range(rows)]
    of_columns = [total(f"*,{c}", [f"{r},{c}" for r in range(rows)]) for c in range(columns)]
    everything = total("*,*", [f"{r},*" for r in range(rows)])
    return cells, [*of_rows, *of_columns, everything]


def bounds(cells: list[Cell], sums: list[Sum], hidden: frozenset[str], key: str) -> tuple:
    """The range an attacker can work out for a cell: everything published, nothing negative."""
    place = {cell.key: i for i, cell in enumerate(cells)}
    equations, right = [], []
    for one in sums:
        row = np.zeros(len(cells))
        row[place[one.total]] = 1
        for part in one.parts:
            row[place[part]] -= 1
        equations.append(row)
        right.append(0)
    limits = [
        (0, None) if cell.key in hidden or not cell.shown else (cell.value, cell.value)
        for cell in cells
    ]
    aim = np.zeros(len(cells))
    aim[place[key]] = 1
    low = linprog(aim, A_eq=np.array(equations), b_eq=right, bounds=limits)
    high = linprog(-aim, A_eq=np.array(equations), b_eq=right, bounds=limits)
    return low.fun, np.inf if high.status == 3 else -high.fun


def test_a_small_cell_takes_a_companion_with_it() -> None:
    cells = [Cell("a", 9, 2), Cell("b", 40, 12), Cell("c", 60, 20), Cell("all", 109, 30)]
    assert withheld(cells, [Sum("all", ("a", "b", "c"))], K) == {"a", "b"}


def test_two_small_cells_do_not_hide_each_other() -> None:
    # Their sum would be about the same three people.
    cells = [Cell("a", 9, 3), Cell("b", 4, 3), Cell("c", 60, 20), Cell("all", 73, 20)]
    assert withheld(cells, [Sum("all", ("a", "b", "c"))], K) == {"a", "b", "c"}


def test_nobody_is_no_secret_and_enough_people_are_shown() -> None:
    cells = [Cell("a", 0, 0), Cell("b", 40, 5), Cell("all", 40, 5)]
    assert withheld(cells, [Sum("all", ("a", "b"))], K) == frozenset()


def test_too_few_people_in_all_withholds_everything_about_them() -> None:
    cells = [Cell("a", 7, 2), Cell("b", 9, 3), Cell("c", 0, 0), Cell("all", 16, 4)]
    assert withheld(cells, [Sum("all", ("a", "b", "c"))], K) == {"a", "b", "all"}


def test_a_sum_that_is_not_printed_can_still_be_worked_out() -> None:
    cells = [
        Cell("new", 6, 6), Cell("known", 8, 8), Cell("both", 3, 3, shown=False),
        Cell("x", 20, 20), Cell("all", 23, 23),
    ]  # fmt: skip
    hidden = withheld(cells, [Sum("all", ("both", "x"))], K)
    assert hidden
    assert "both" not in hidden


def test_tables_that_share_a_total_are_protected_together() -> None:
    # The days give the total, the total minus the other source gives the small source.
    cells = [
        Cell("mon", 30, 9), Cell("tue", 33, 9), Cell("gate", 60, 12), Cell("yard", 3, 2),
        Cell("all", 63, 14, shown=False),
    ]  # fmt: skip
    sums = [Sum("all", ("mon", "tue")), Sum("all", ("gate", "yard"))]
    hidden = withheld(cells, sums, K)
    assert "yard" in hidden
    assert hidden & {"mon", "tue", "gate"}


@pytest.mark.parametrize("seed", range(12))
def test_no_difference_reveals_a_small_cell(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(2, 6, 2))
    people = rng.poisson(6, shape) * (rng.random(shape) > 0.25)
    values = people * rng.integers(1, 9, shape)
    cells, sums = grid(values, people)
    hidden = withheld(cells, sums, K)
    for cell in cells:
        if cell.people >= K or cell.people == 0:
            continue
        assert cell.key in hidden
        low, high = bounds(cells, sums, hidden, cell.key)
        assert high - low > 1e-6, f"{cell.key} can be worked out to be {low}"


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_same_every_time_and_leaves_something(seed: int) -> None:
    rng = np.random.default_rng(seed)
    people = rng.poisson(9, (7, 24))
    cells, sums = grid(people * 2, people)
    hidden = withheld(cells, sums, K)
    assert hidden == withheld(reversed(cells), list(reversed(sums)), K)
    assert len(hidden) < len(cells) / 2


def test_wrong_sums_are_refused() -> None:
    with pytest.raises(ShapeError, match="sum all"):
        withheld([Cell("a", 1, 1), Cell("all", 2, 2)], [Sum("all", ("a",))], K)
    with pytest.raises(ShapeError, match="unknown"):
        withheld([Cell("a", 1, 1)], [Sum("all", ("a",))], K)
