from __future__ import annotations

from itertools import pairwise

import pytest

from facecore.analytics import histogram
from facecore.analytics.drawing import Bars
from facecore.analytics.metrics import Limit
from facecore.analytics.theme import LIGHT


def drawn(bounds, values, limits=()):
    return histogram.draw(
        bounds, [Bars("faces", values, lambda p: p.accept)], limits, LIGHT, unit="", y_title=""
    )


def ticks(bounds) -> list[str]:
    return drawn(bounds, [1] * len(bounds))["layout"]["xaxis"]["ticktext"]


@pytest.mark.parametrize(
    ("value", "at"),
    [(0.0, 0.0), (5.0, 0.5), (10.0, 1.0), (15.0, 1.25), (30.0, 2.0), (-1.0, None), (31.0, None)],
)
def test_position_interpolates_inside_a_bin(value, at) -> None:
    assert histogram.position(value, [(0.0, 10.0), (10.0, 30.0)]) == at


def test_position_in_an_unbounded_bin_is_its_middle() -> None:
    bounds = [(None, 0.0), (0.0, 1.0), (1.0, None)]
    assert (histogram.position(-7, bounds), histogram.position(99, bounds)) == (0.5, 2.5)


def test_ticks_are_round_numbers() -> None:
    steps = [(round(0.05 * i, 2), round(0.05 * i + 0.05, 2)) for i in range(11, 20)]
    assert ticks(steps) == ["0.6", "0.7", "0.8", "0.9", "1"]
    decades = [1.0, 1.6, 2.5, 4.0, 6.3, 10.0, 16.0, 25.0, 40.0, 63.0, 100.0]
    assert ticks(list(pairwise(decades))) == ["1", "4", "10", "40", "100"]


def test_one_bin_alone_is_drawn() -> None:
    assert ticks([(None, 1.0)]) == ["1"]
    assert ticks([(1.0, None)]) == ["1"]


def test_limit_outside_the_axis_is_not_drawn() -> None:
    figure = drawn([(0.0, 1.0)], [3], [Limit(0.5, "kept from"), Limit(9.0, "far away")])
    assert [note["text"] for note in figure["layout"]["annotations"]] == ["kept from 0.5"]
