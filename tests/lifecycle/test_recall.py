"""Recall over queries, and its interval."""

from __future__ import annotations

import numpy as np
import pytest

from facecore.lifecycle.recall import recall


def test_equally_near_ones_count_whichever_was_found() -> None:
    exact = np.array([[0.9, 0.8, 0.8]], np.float32)
    assert recall(exact, np.array([[0.9, 0.8, 0.8 - 1e-6]], np.float32)).value == 1.0
    assert recall(exact, np.array([[0.9, 0.8, 0.7]], np.float32)).value == pytest.approx(2 / 3)


def test_where_there_are_fewer_neighbours_fewer_are_wanted() -> None:
    exact = np.array([[0.9, 0.8, -np.inf]], np.float32)
    assert recall(exact, exact).value == 1.0
    assert recall(exact, np.array([[0.9, -np.inf, -np.inf]], np.float32)).value == 0.5


def test_without_a_miss_the_interval_is_one_of_as_many_queries() -> None:
    exact = np.tile(np.linspace(0.9, 0.5, 10, dtype=np.float32), (500, 1))
    found = recall(exact, exact)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.9924, abs=1e-4)  # Wilson's for 500 of 500


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Queries miss several neighbours at once, which a count of neighbours would not notice."""
    rng = np.random.default_rng(0)
    exact = np.tile(np.linspace(0.9, 0.5, 10, dtype=np.float32), (200, 1))
    covered = 0
    for _ in range(400):
        missed = np.where(rng.random(200) < 0.1, rng.integers(1, 8, 200), 0)
        found = np.where(np.arange(10) < 10 - missed[:, None], exact, -np.inf)
        one = recall(exact, found)
        covered += one.low <= 1 - 0.1 * 0.4 <= one.high
    assert 0.92 <= covered / 400 <= 0.98
