"""What every page is made of: environment, style, scripts; nothing is loaded from anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib.resources import files

import jinja2

from facecore.analytics import wording
from facecore.analytics.drawing import Cell, Chart
from facecore.analytics.theme import FONT, PALETTES

_SIXTHS = {"wide": 6, "half": 3, "small": 2}


def environment() -> jinja2.Environment:
    """Jinja with the filters the pages use."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("facecore.analytics"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., object]] = {
        "cell": _cell,
        "initials": _initials,
        "moment": _moment,
    }
    environment.filters.update(filters)
    return environment


def css() -> str:
    """The style sheet, in both palettes."""

    def variables(names: Iterable[str], index: int) -> str:
        return "".join(f"--{name.replace('_', '-')}:{getattr(PALETTES[index], name)};"
                       for name in names)  # fmt: skip

    names = ("page", "surface", "border", "text", "quiet", "accent", "review", "limit")
    return (
        f":root{{--font:{FONT};{variables(names, 0)}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{variables(names, 1)}}}}}\n"
        + resource("report.css")
    )


def without_holes(charts: Iterable[Chart]) -> tuple[Chart, ...]:
    """Widen charts that would leave a hole at the end of a row of the grid."""
    rows: list[list[Chart]] = [[]]
    for chart in charts:
        if sum(_SIXTHS[one.width] for one in rows[-1]) + _SIXTHS[chart.width] > 6:
            rows.append([])
        rows[-1].append(chart)
    return tuple(
        chart
        if sum(_SIXTHS[one.width] for one in row) == 6
        else replace(chart, width={1: "wide", 2: "half", 3: "small"}[len(row)])
        for row in rows
        for chart in row
    )


def resource(name: str) -> str:
    """A file of `templates`, as text."""
    return files("facecore.analytics").joinpath("templates", name).read_text("utf-8")


def plotly() -> str:
    """Plotly's own script."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def csp_hash(script: str) -> str:
    """What a content security policy calls a script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def inside_script(data: object) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _cell(value: Cell) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else wording.number(value)


def _initials(label: str) -> str:
    return "".join(word[0] for word in label.replace("_", " ").split()[:2]).upper()


def _moment(iso: str) -> str:
    return iso[:16].replace("T", " ")
