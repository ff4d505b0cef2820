"""The look of every chart: two palettes (light, dark) and one Plotly template made from each.

Colours are told apart by people with colour-blindness, differ in lightness so that a grey print
works, and have a contrast of at least 3:1 (text 4.5:1) with the surface they are drawn on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif'


@dataclass(frozen=True, slots=True)
class Palette:
    """One colour scheme, as CSS hexadecimal colours.

    Attributes:
        series: for things without an order, such as sources; the ninth starts over.
        muted: sums of everything that is not named.
        accept, review, unknown, not_compared: identification outcomes.
        limit: thresholds and other lines where a decision changes.
        heat: from nothing to most, five steps.
    """

    name: str
    page: str
    surface: str
    border: str
    grid: str
    text: str
    quiet: str
    accent: str
    series: tuple[str, ...]
    muted: str
    accept: str
    review: str
    unknown: str
    not_compared: str
    limit: str
    heat: tuple[str, ...]


LIGHT = Palette(
    name="light",
    page="#f4f6f8",
    surface="#ffffff",
    border="#d5dbe1",
    grid="#e6eaee",
    text="#1b2631",
    quiet="#526070",
    accent="#1f5f99",
    series=(
        "#1f5f99", "#b5680a", "#16806f", "#8a4a9c", "#5c7a14", "#b2443a", "#3f7fb8", "#80591f",
    ),
    muted="#768391",
    accept="#16806f",
    review="#b5680a",
    unknown="#56697c",
    not_compared="#8894a0",
    limit="#a3262a",
    heat=("#f0f4f8", "#bcd3e8", "#7fabd3", "#3f7fb8", "#144b7d"),
)  # fmt: skip

DARK = Palette(
    name="dark",
    page="#11161c",
    surface="#1a2129",
    border="#36414d",
    grid="#2a333d",
    text="#e7ecf1",
    quiet="#a9b6c3",
    accent="#7db4e8",
    series=(
        "#6aa8e0", "#e0a04a", "#4dbda8", "#c393d6", "#a5bf52", "#ea8b80", "#9cc7ef", "#c9a26a",
    ),
    muted="#8d9aa8",
    accept="#4dbda8",
    review="#e0a04a",
    unknown="#93a5b8",
    not_compared="#6f7e8e",
    limit="#ff8f8a",
    heat=("#212a34", "#264b6d", "#2f6fa5", "#5a9bd3", "#b9dcfa"),
)  # fmt: skip

PALETTES = (LIGHT, DARK)


def template(palette: Palette) -> dict[str, Any]:
    """The Plotly template all charts share."""
    axis = {
        "gridcolor": palette.grid,
        "linecolor": palette.border,
        "zerolinecolor": palette.border,
        "tickcolor": palette.border,
        "automargin": True,
        "fixedrange": True,  # dragging a finger scrolls the page, it does not zoom
        "title": {"font": {"size": 12, "color": palette.quiet}, "standoff": 8},
        "tickfont": {"size": 12, "color": palette.quiet},
    }
    return {
        "layout": {
            "font": {"family": FONT, "size": 13, "color": palette.text},
            "paper_bgcolor": palette.surface,
            "plot_bgcolor": palette.surface,
            "colorway": list(palette.series),
            "xaxis": axis,
            "yaxis": axis,
            "margin": {"l": 8, "r": 12, "t": 12, "b": 8},
            "bargap": 0.12,
            "barmode": "stack",
            "dragmode": False,
            "hoverlabel": {
                "bgcolor": palette.text,
                "bordercolor": palette.text,
                "font": {"family": FONT, "size": 13, "color": palette.surface},
                "align": "left",
            },
            "legend": {
                "orientation": "h",
                "x": 0,
                "xanchor": "left",
                "y": 1.02,
                "yanchor": "bottom",
                "traceorder": "normal",
                "font": {"size": 12, "color": palette.text},
            },
        }
    }
