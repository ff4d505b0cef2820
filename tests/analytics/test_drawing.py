from __future__ import annotations

from facecore.analytics import drawing
from facecore.analytics.drawing import Bars
from facecore.analytics.theme import LIGHT


def test_axis_of_zeros_still_is_an_axis() -> None:
    drawn = drawing.columns(["a", "b"], [Bars("x", [0, 0], lambda p: p.accept)], LIGHT)
    assert drawn["layout"]["yaxis"]["range"][1] > 1


def test_names_may_repeat_and_be_long() -> None:
    long = "a" * 60
    drawn = drawing.rows([long, long], [Bars("x", [1, 2], lambda p: p.accept)], LIGHT)
    assert drawn["data"][0]["x"] == [1, 2]
    assert all(len(text.strip()) <= 26 for text in drawn["layout"]["yaxis"]["ticktext"])
    assert drawn["data"][0]["customdata"] == [long, long]
