"""Grids of pictures: the comparisons and detections that went most wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from facecore.lifecycle.evaluation.detection_examples import DetectionExample
from facecore.lifecycle.evaluation.example_pairs import PairExample
from facecore.lifecycle.evaluation.plot_style import LIMIT, QUIET, Plot, draw
from facecore.types import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PAIR_COLUMNS, _FACE_COLUMNS = 4, 6
_GAP_PX = 4


def pair_grid(
    name: str,
    title: str,
    caption: str,
    pairs: Sequence[PairExample],
    pictures: Mapping[int, Image],
) -> Plot | None:
    """Pairs of crops side by side, with their scores; None without any."""
    shown = [pair for pair in pairs if pair.left in pictures and pair.right in pictures]
    if not shown:
        return None
    rows = math.ceil(len(shown) / _PAIR_COLUMNS)

    def paint(figure: Figure) -> None:
        figure.suptitle(title, x=0.012, ha="left", fontsize=11.5, fontweight="bold")
        grid = figure.subplots(rows, _PAIR_COLUMNS, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, pair in zip(grid.flat, shown, strict=False):
            gap = np.full((pictures[pair.left].shape[0], _GAP_PX, 3), 255, np.uint8)
            axes.imshow(np.concatenate((pictures[pair.left], gap, pictures[pair.right]), axis=1))
            axes.set_title(f"{pair.score:.3f}", fontsize=9, loc="center", pad=3, fontweight="bold")

    return draw(name, title, caption, paint, width=8.2, height=0.45 + 1.28 * rows)


def detection_grid(
    name: str, title: str, caption: str, examples: Sequence[DetectionExample], unit: str
) -> Plot | None:
    """Boxes in their surroundings; None without any.

    Args:
        unit: of the examples' weights: `px` (side) or empty (score).
    """
    if not examples:
        return None
    rows = math.ceil(len(examples) / _FACE_COLUMNS)

    def paint(figure: Figure) -> None:
        from matplotlib.patches import Rectangle

        figure.suptitle(title, x=0.012, ha="left", fontsize=11.5, fontweight="bold")
        grid = figure.subplots(rows, _FACE_COLUMNS, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, example in zip(grid.flat, examples, strict=False):
            axes.imshow(example.picture)
            left, top, right, bottom = example.inner
            for colour, width in (("#ffffff", 3.2), (LIMIT, 1.6)):
                frame = Rectangle((left, top), right - left, bottom - top, fill=False)
                frame.set(edgecolor=colour, linewidth=width)
                axes.add_patch(frame)
            label = f"{example.weight:.0f} px" if unit else f"{example.weight:.2f}"
            axes.set_title(label, fontsize=8.5, loc="center", pad=3, color=QUIET)

    return draw(name, title, caption, paint, width=8.2, height=0.45 + 1.55 * rows)
