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
from functools import partial
from typing import Any

import plotly.graph_objects as go

from facecore.analytics.metrics import Limit
from facecore.analytics.theme import Palette
from facecore.analytics.wording import compact, number

Figure = dict[str, Any]
Cell = str | int | float
Bounds = Sequence[tuple[float | None, float | None]]

_LONGEST_LABEL = 26
_TICKS = 7


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
    ticks = range(len(names)) if every_tick else _spread(len(names), _TICKS)
    return figure(
        [
            go.Bar(
                name=plain(bars.name),
                x=list(range(len(names))),
                y=list(bars.values),
                customdata=[plain(name) for name in names],
                marker=_marker(bars, palette),
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
                "range": [-0.6, len(names) - 0.4],
                "showgrid": False,
                "title": {"text": x_title},
            },
            "yaxis": _count_axis(y_title, series),
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
                marker=_marker(bars, palette),
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
            "xaxis": _count_axis(x_title, series),
        },
    )  # fmt: skip


def histogram(
    bounds: Bounds,
    series: Sequence[Bars],
    limits: Sequence[Limit],
    palette: Palette,
    *,
    unit: str,
    y_title: str,
    height: int = 260,
) -> Figure:
    """Bars of equal width, whatever their bounds; limits are lines at their place between."""
    ticks = _round_ticks(bounds)
    names = [between(low, high) for low, high in bounds]
    lines = _limit_lines(limits, bounds, palette)
    return figure(
        [
            go.Bar(
                name=bars.name,
                x=[i + 0.5 for i in range(len(bounds))],
                y=list(bars.values),
                width=0.94,
                customdata=names,
                marker=_marker(bars, palette),
                hovertemplate="%{customdata}<br><b>%{y:,}</b> " + bars.name + "<extra></extra>",
            )
            for bars in series
        ],
        {
            "height": height,
            "showlegend": len(series) > 1,
            "legend": {"y": -0.2, "yanchor": "top"},  # above stand the names of the limits
            "margin": {"t": 16 + 16 * len(lines["annotations"])},
            "xaxis": {
                "tickvals": [i for i, _ in ticks],
                "ticktext": [text for _, text in ticks],
                "tickangle": 0,
                "range": [-0.2, len(bounds) + 0.2],
                "showgrid": False,
                "title": {"text": unit},
            },
            "yaxis": _count_axis(y_title, series),
            **lines,
        },
    )


def heat_map(
    x_names: Sequence[str],
    y_names: Sequence[str],
    values: Sequence[Sequence[int]],
    palette: Palette,
    *,
    what: str,
    x_title: str,
) -> Figure:
    """Counts as colour; the first row on top."""
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


def between(low: float | None, high: float | None) -> str:
    """A bin in words: `12 – 16`, `below 12`, `256 and more`."""
    if low is None:
        return f"below {number(high or 0.0)}"
    return f"{number(low)} and more" if high is None else f"{number(low)} – {number(high)}"


def position(value: float, bounds: Bounds) -> float | None:
    """Where a value lies on a histogram's axis, in bins from the left; None when outside."""
    for i, (low, high) in enumerate(bounds):
        if (low is None or value >= low) and (high is None or value < high):
            return i + 0.5 if low is None or high is None else i + (value - low) / (high - low)
    return float(len(bounds)) if bounds and value == bounds[-1][1] else None


def _limit_lines(limits: Sequence[Limit], bounds: Bounds, palette: Palette) -> dict[str, Any]:
    shapes, notes = [], []
    placed = sorted(
        (x, limit.label, limit.value)
        for limit in limits
        if (x := position(limit.value, bounds)) is not None
    )
    for row, (x, label, value) in enumerate(placed):
        to_the_left = x > len(bounds) / 2
        shapes.append(
            {
                "type": "line",
                "xref": "x",
                "yref": "paper",
                "x0": x,
                "x1": x,
                "y0": 0,
                "y1": 1,
                "line": {"color": palette.limit, "width": 2, "dash": "dash"},
            }
        )
        notes.append(
            {
                "x": x,
                "xref": "x",
                "xanchor": "right" if to_the_left else "left",
                "xshift": 2 if to_the_left else -2,
                "y": 1,
                "yref": "paper",
                "yanchor": "bottom",
                "yshift": 16 * row,
                "text": f"{label} {number(value)}",
                "showarrow": False,
                "font": {"size": 12, "color": palette.limit},
            }
        )
    return {"shapes": shapes, "annotations": notes}


def _marker(bars: Bars, palette: Palette) -> dict[str, Any]:
    marker: dict[str, Any] = {"color": bars.colour(palette), "line": {"width": 0}}
    if bars.pattern:
        marker["pattern"] = {
            "shape": bars.pattern,
            "fillmode": "overlay",
            "fgcolor": palette.surface,
            "fgopacity": 0.55,
            "size": 6,
            "solidity": 0.25,
        }
    return marker


def _count_axis(title: str, series: Sequence[Bars]) -> dict[str, Any]:
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


def _spread(count: int, at_most: int) -> range:
    """Positions 0, k, 2k … below count, at most so many."""
    return range(0, count, max(1, -(-count // at_most)))


def _round_ticks(bounds: Bounds) -> list[tuple[int, str]]:
    """Positions and texts of those bin edges that are the roundest numbers, at most seven."""
    edges = [low for low, _ in bounds] + [high for _, high in bounds[-1:]]
    known = [(i, edge) for i, edge in enumerate(edges) if edge is not None]
    if not known:
        return []
    step = min(high - low for low, high in bounds if low is not None and high is not None)
    rules: list[Callable[[float], bool]]
    if all(_leading(edge) in _RENARD for _, edge in known) and len(known) > 1 and known[0][1] > 0:
        rules = [partial(_leads_with, digits) for digits in ("1 2 5", "1 4", "1")]
    else:
        rules = [partial(_is_multiple, step * k) for k in (1, 2, 4, 5, 8, 10, 16, 20)]
    for rule in rules:
        chosen = [(i, edge) for i, edge in known if rule(edge)]
        if 2 <= len(chosen) <= _TICKS:
            return [(i, compact(edge)) for i, edge in chosen]
    return [(known[i][0], compact(known[i][1])) for i in _spread(len(known), _TICKS)]


# Preferred numbers (Renard series): steps of a constant factor that read well.
_RENARD = ("1", "1.25", "1.6", "2", "2.5", "3.15", "4", "5", "6.3", "8")


def _leading(value: float) -> str:
    mantissa = f"{value:.2e}".split("e")[0]
    return mantissa.rstrip("0").rstrip(".")


def _leads_with(digits: str, value: float) -> bool:
    return _leading(value) in digits.split()


def _is_multiple(step: float, value: float) -> bool:
    return abs(value / step - round(value / step)) < 1e-6
