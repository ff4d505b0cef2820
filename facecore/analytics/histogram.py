"""Histograms, drawn with bins of equal width whatever their bounds, and limits between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from facecore.analytics.drawing import Bars, Figure, count_axis, figure, marker, spread
from facecore.analytics.metrics import Limit
from facecore.analytics.theme import Palette
from facecore.analytics.wording import compact, number

Bounds = Sequence[tuple[float | None, float | None]]

_TICKS = 7
# Preferred numbers (Renard series): steps of a constant factor that read well.
_RENARD = ("1", "1.25", "1.6", "2", "2.5", "3.15", "4", "5", "6.3", "8")


def draw(
    bounds: Bounds,
    series: Sequence[Bars],
    limits: Sequence[Limit],
    palette: Palette,
    *,
    unit: str,
    y_title: str,
    height: int = 260,
) -> Figure:
    """Counts per bin, in stacked series; limits are lines at their place between the edges."""
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
                marker=marker(bars, palette),
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
            "yaxis": count_axis(y_title, series),
            **lines,
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


def _round_ticks(bounds: Bounds) -> list[tuple[int, str]]:
    """Positions and texts of those bin edges that are the roundest numbers, at most seven."""
    edges = [low for low, _ in bounds] + [high for _, high in bounds[-1:]]
    known = [(i, edge) for i, edge in enumerate(edges) if edge is not None]
    if not known:
        return []
    rules: list[Callable[[float], bool]]
    if known[0][1] > 0 and all(_leading(edge) in _RENARD for _, edge in known):
        rules = [partial(_leads_with, digits) for digits in ("1 2 5", "1 4", "1")]
    else:
        step = min((b[1] - a[1] for a, b in pairwise(known)), default=1.0)
        rules = [partial(_is_multiple, step * k) for k in (1, 2, 4, 5, 8, 10, 16, 20)]
    sets = [[(i, edge) for i, edge in known if rule(edge)] for rule in rules]
    fitting = [ticks for ticks in sets if 2 <= len(ticks) <= _TICKS]
    if not fitting:
        fitting = [[known[i] for i in spread(len(known), _TICKS)]]
    return [(i, compact(edge)) for i, edge in max(fitting, key=len)]


def _leading(value: float) -> str:
    mantissa = f"{value:.2e}".split("e")[0]
    return mantissa.rstrip("0").rstrip(".")


def _leads_with(digits: str, value: float) -> bool:
    return _leading(value) in digits.split()


def _is_multiple(step: float, value: float) -> bool:
    return abs(value / step - round(value / step)) < 1e-6
