"""Numbers over time with their spread, and graphs of who belongs to whom, as Plotly figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from facecore.analytics.drawing import Figure, figure, plain, shortened, spread
from facecore.analytics.theme import Palette
from facecore.analytics.wording import number

_TIME_TICKS = 6
_NODE_LABEL = 14  # fits beside a node on a phone


@dataclass(frozen=True, slots=True)
class Course:
    """A middle value per bin with the range from `low` to `high`; None: nothing there."""

    name: str
    middle: Sequence[float | None]
    low: Sequence[float | None]
    high: Sequence[float | None]
    colour: Callable[[Palette], str]


def course(
    names: Sequence[str],
    series: Sequence[Course],
    palette: Palette,
    *,
    y_title: str,
    short_names: Sequence[str] = (),
    height: int = 260,
) -> Figure:
    """Middle values as points joined by lines; where a bin is empty the line has a gap."""
    ticks = spread(len(names), _TIME_TICKS)
    return figure(
        [_trace(one, names, palette) for one in series],
        {
            "height": height,
            "showlegend": len(series) > 1,
            "xaxis": {
                "tickvals": list(ticks),
                "ticktext": [plain(shortened((short_names or names)[i])) for i in ticks],
                "tickangle": 0,
                "range": [-0.6, len(names) - 0.4],
                "showgrid": False,
            },
            "yaxis": {"title": {"text": y_title}, "nticks": 5},
        },
    )


def _trace(one: Course, names: Sequence[str], palette: Palette) -> Any:
    colour = one.colour(palette)

    def apart(other: Sequence[float | None]) -> list[float | None]:
        return [
            None if m is None or o is None else abs(m - o)
            for m, o in zip(one.middle, other, strict=True)
        ]

    return go.Scatter(
        name=plain(one.name),
        mode="lines+markers",
        x=list(range(len(names))),
        y=list(one.middle),
        connectgaps=False,
        line={"color": colour, "width": 2},
        marker={"color": colour, "size": 6},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": apart(one.high),
            "arrayminus": apart(one.low),
            "color": colour,
            "thickness": 1.2,
            "width": 0,
        },
        customdata=[
            [
                plain(name),
                "–" if low is None else number(low),
                "–" if high is None else number(high),
            ]
            for name, low, high in zip(names, one.low, one.high, strict=True)
        ],
        hovertemplate="%{customdata[0]}<br><b>%{y:.3g}</b> (%{customdata[1]} to "
        "%{customdata[2]})<extra></extra>",
    )


def graph(
    nodes: Sequence[str],
    edges: Sequence[tuple[int, int, int]],
    palette: Palette,
    *,
    what: str,
    height: int = 420,
) -> Figure:
    """Nodes on a circle, joined by lines that are the thicker the more they have in common.

    Args:
        edges: positions of two nodes, and how much they share (at least 1).
    """
    at = [
        (math.cos(2 * math.pi * i / len(nodes)), math.sin(2 * math.pi * i / len(nodes)))
        for i in range(len(nodes))
    ]
    most = max((weight for _, _, weight in edges), default=1)
    lines = [
        go.Scatter(
            mode="lines",
            x=[round(at[a][0], 4), round(at[b][0], 4)],
            y=[round(at[a][1], 4), round(at[b][1], 4)],
            line={"color": palette.series[0], "width": 1 + 7 * weight / most},
            opacity=0.45,
            hoverinfo="skip",
            showlegend=False,
        )
        for a, b, weight in edges
    ]
    degree = [0] * len(nodes)
    for a, b, weight in edges:
        degree[a] += weight
        degree[b] += weight
    points = go.Scatter(
        mode="markers+text",
        x=[round(x, 4) for x, _ in at],
        y=[round(y, 4) for _, y in at],
        text=[plain(_cut(name)) for name in nodes],
        textposition=[_beside(x, y) for x, y in at],
        textfont={"size": 12, "color": palette.text},
        marker={"color": palette.series[0], "size": 13, "line": {"width": 0}},
        customdata=[[plain(name), count] for name, count in zip(nodes, degree, strict=True)],
        hovertemplate="%{customdata[0]}<br><b>%{customdata[1]:,}</b> " + what + "<extra></extra>",
        showlegend=False,
        cliponaxis=False,
    )
    hidden = {"visible": False, "fixedrange": True}
    return figure(
        [*lines, points],
        {
            "height": height,
            "showlegend": False,
            "xaxis": {**hidden, "range": [-1.9, 1.9]},
            "yaxis": {**hidden, "range": [-1.25, 1.25]},
        },
    )


def _said(value: float | None) -> str:
    return "–" if value is None else number(value)


def _cut(name: str) -> str:
    return name if len(name) <= _NODE_LABEL else name[: _NODE_LABEL - 1].rstrip() + "…"


def _beside(x: float, y: float) -> str:
    if abs(x) < 0.35:
        return "top center" if y > 0 else "bottom center"
    return "middle right" if x > 0 else "middle left"
