"""The few kinds of drawing the charts are made of, as Plotly figures in plain JSON values.

Text from users (sources, labels) is escaped here, because Plotly reads a little HTML in texts.
Categories are drawn by position with their names as tick texts, so that names may repeat, be
dates, or be long without changing the axis.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from facecore.analytics.theme import Palette

Figure = dict[str, Any]
Cell = str | int | float

_LONGEST_LABEL = 26
_TIME_TICKS = 6  # fit a phone without turning the texts
_STRIDES = (1, 2, 3, 4, 6, 12, 24, 48, 96)  # hours and days people can count along


@dataclass(frozen=True, slots=True)
class Table:
    """The numbers behind a chart. The first cell of each row names the row."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart with everything a reader needs who cannot see it.

    Attributes:
        id: unique in the page, fit for an HTML id.
        alt: what the chart shows, in a sentence or two.
        draw: palette → figure (`data` and `layout`, without the template).
        width: wide (the whole row), half or small (a third).
    """

    id: str
    title: str
    caption: str
    alt: str
    table: Table
    draw: Callable[[Palette], Figure]
    width: str = "wide"


@dataclass(frozen=True, slots=True)
class Bars:
    """One series of bars; `colour` picks it from the palette, `pattern` helps without colour."""

    name: str
    values: Sequence[int]
    colour: Callable[[Palette], str]
    pattern: str = ""


def plain(text: str) -> str:
    """User text as Plotly text that reads the same."""
    return html.escape(text, quote=False)


def shortened(text: str) -> str:
    """A label that fits beside an axis; the whole text stands in the table."""
    return text if len(text) <= _LONGEST_LABEL else text[: _LONGEST_LABEL - 1].rstrip() + "…"


def figure(traces: Sequence[Any], layout: dict[str, Any]) -> Figure:
    """Validate with Plotly and return plain JSON values, without Plotly's default template."""
    made: Figure = json.loads(go.Figure(data=list(traces), layout=layout).to_json())
    made["layout"].pop("template", None)
    return made


def columns(
    names: Sequence[str],
    series: Sequence[Bars],
    palette: Palette,
    *,
    x_title: str = "",
    y_title: str = "",
    height: int = 320,
    every_tick: bool = False,
    short_names: Sequence[str] = (),
) -> Figure:
    """Stacked vertical bars over named positions; short names, where given, go on the axis."""
    ticks = range(len(names)) if every_tick else spread(len(names), _TIME_TICKS)
    return figure(
        [
            go.Bar(
                name=plain(bars.name),
                x=list(range(len(names))),
                y=list(bars.values),
                customdata=[plain(name) for name in names],
                marker=marker(bars, palette),
                hovertemplate="%{customdata}<br><b>%{y:,}</b> " + plain(bars.name)
                + "<extra></extra>",
            )
            for bars in series
        ],
        {
            "height": height,
            "showlegend": len(series) > 1,
            "xaxis": {
                "tickvals": list(ticks),
                "ticktext": [plain(shortened((short_names or names)[i])) for i in ticks],
                "tickangle": 0,
                "range": [-0.6, len(names) - 0.4],
                "showgrid": False,
                "title": {"text": x_title},
            },
            "yaxis": count_axis(y_title, series),
        },
    )  # fmt: skip


def rows(
    names: Sequence[str], series: Sequence[Bars], palette: Palette, *, x_title: str = ""
) -> Figure:
    """Stacked horizontal bars, the first name on top."""
    return figure(
        [
            go.Bar(
                name=plain(bars.name),
                orientation="h",
                x=list(bars.values),
                y=list(range(len(names))),
                customdata=[plain(name) for name in names],
                marker=marker(bars, palette),
                hovertemplate="%{customdata}<br><b>%{x:,}</b> " + plain(bars.name)
                + "<extra></extra>",
            )
            for bars in series
        ],
        {
            "height": 96 + 30 * len(names),
            "showlegend": len(series) > 1,
            "yaxis": {
                "tickvals": list(range(len(names))),
                "ticktext": [plain(shortened(name)) + "  " for name in names],
                "range": [len(names) - 0.4, -0.6],
                "showgrid": False,
            },
            "xaxis": {**count_axis(x_title, series), "nticks": 4, "tickangle": 0},
        },
    )  # fmt: skip


def heat_map(
    x_names: Sequence[str],
    y_names: Sequence[str],
    values: Sequence[Sequence[int | None]],
    palette: Palette,
    *,
    what: str,
    x_title: str,
) -> Figure:
    """Counts as colour; the first row on top. None leaves a hole."""
    steps = len(palette.heat) - 1
    return figure(
        [
            go.Heatmap(
                x=list(range(len(x_names))),
                y=list(range(len(y_names))),
                z=[list(row) for row in values],
                customdata=[[f"{day}, {hour}" for hour in x_names] for day in y_names],
                colorscale=[[i / steps, colour] for i, colour in enumerate(palette.heat)],
                zmin=0,
                zmax=max([value or 0 for row in values for value in row] or [0]) or 1,
                xgap=2,
                ygap=2,
                hovertemplate="%{customdata}<br><b>%{z:,}</b> " + what + "<extra></extra>",
                colorbar={
                    "thickness": 10,
                    "outlinewidth": 0,
                    "tickformat": ",d",
                    "nticks": 4,
                    "tickfont": {"size": 12, "color": palette.quiet},
                },
            )
        ],
        {
            "height": 110 + 30 * len(y_names),
            "xaxis": {
                "tickvals": list(range(0, len(x_names), 6)),
                "ticktext": list(x_names)[::6],
                "showgrid": False,
                "zeroline": False,
                "title": {"text": x_title},
            },
            "yaxis": {
                "tickvals": list(range(len(y_names))),
                "ticktext": [name[:3] for name in y_names],
                "range": [len(y_names) - 0.5, -0.5],
                "showgrid": False,
                "zeroline": False,
            },
        },
    )


def marker(bars: Bars, palette: Palette) -> dict[str, Any]:
    """How bars are filled, with a pattern for those who cannot tell the colours apart."""
    fill: dict[str, Any] = {"color": bars.colour(palette), "line": {"width": 0}}
    if bars.pattern:
        fill["pattern"] = {
            "shape": bars.pattern,
            "fillmode": "overlay",
            "fgcolor": palette.surface,
            "fgopacity": 0.55,
            "size": 6,
            "solidity": 0.25,
        }
    return fill


def count_axis(title: str, series: Sequence[Bars]) -> dict[str, Any]:
    """An axis of counts for stacked bars: from zero, in whole numbers."""
    most = max((sum(stack) for stack in zip(*(b.values for b in series), strict=True)), default=0)
    axis: dict[str, Any] = {
        "rangemode": "tozero",
        "minallowed": 0,
        "tickformat": ",d",
        "nticks": 6,
        "title": {"text": title},
    }
    if most <= 5:  # whole numbers only, and an axis even when all counts are 0
        axis |= {"dtick": 1, "range": [0, max(most, 1) * 1.08]}
    return axis


def spread(count: int, at_most: int) -> range:
    """Positions 0, k, 2k … below count, at most so many."""
    return range(0, count, next((k for k in _STRIDES if k * at_most >= count), count))
