"""The page of a shared report: one HTML file that loads nothing and names nobody."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markupsafe import Markup

from facecore.analytics import drawing, page
from facecore.analytics.drawing import Bars, Chart, Figure, Table
from facecore.analytics.report import Card, Rendered
from facecore.analytics.shared import SharedReport, SharedTable
from facecore.analytics.theme import PALETTES, Palette, template
from facecore.analytics.wording import count

WITHHELD = "withheld"
_PATTERNS = ("", "/")
_SECTIONS = {
    "Images and faces": ("faces-by-day", "images-by-day", "sources", "outcomes", "hours"),
    "Visits": ("newcomers", "visits", "days", "dwell", "companions"),
}


def render(report: SharedReport) -> Rendered:
    """HTML and JSON of a shared report; the same inputs give the same bytes."""
    tables = {one.key: one for one in report.tables}
    sections = [
        (
            title,
            page.without_holes(_chart(tables[key]) for key in keys if tables[key].says_something),
            [tables[key].title for key in keys if not tables[key].says_something],
        )
        for title, keys in _SECTIONS.items()
    ]
    figures = {
        chart.id: {p.name: chart.draw(p) for p in PALETTES}
        for _, made, _ in sections
        for chart in made
    }
    scripts = [page.plotly(), page.resource("report.js.j2")]
    data = {"themes": {p.name: template(p) for p in PALETTES}, "charts": figures}
    said = sentences(report)
    html = page.environment().get_template("shared.html.j2").render(
        report=report,
        summary=said,
        cards=_cards(report),
        sections=sections,
        css=Markup(page.css()),  # noqa: S704 - our own file
        scripts=[Markup(script) for script in scripts],  # noqa: S704 - our own, and Plotly's
        heights={key: drawn["light"]["layout"]["height"] for key, drawn in figures.items()},
        script_hashes=[page.csp_hash(script) for script in scripts],
        data=Markup(page.inside_script(data)),  # noqa: S704 - escaped there
    )  # fmt: skip
    return Rendered(html, report.as_json(summary=list(said)))


def sentences(report: SharedReport) -> tuple[str, ...]:
    """The report in short, from what is shown only."""
    said = []
    if report.people is None:
        said.append(f"Some people were recognised, but fewer than {report.k}, or a number that "
                    "would give a smaller one away.")  # fmt: skip
    else:
        said.append(f"{count(report.people, 'person was', 'people were')} recognised.")
    if report.newcomers is not None and report.people:
        new = f"{report.newcomers:,}" if report.newcomers else "None"
        said.append(f"{new} of them had never been seen before.")
    if report.faces is not None and report.images is not None:
        said.append(
            f"{count(report.faces, 'face')} on {count(report.images, 'image')} were counted."
        )
    said.append(
        f"No number here is about fewer than {report.k} people. {report.withheld:,} of "
        f"{report.cells:,} numbers are withheld for that, some of them because they would give "
        "another one away by subtraction."
    )
    return tuple(said)


def _cards(report: SharedReport) -> tuple[Card, ...]:
    def card(title: str, value: int | None, note: str) -> Card:
        if value is None:
            return Card(title, WITHHELD, "", note)
        return Card(title, f"{value:,}", value, note)

    return (
        card("Images", report.images, "distinct"),
        card("Quarantined", report.quarantined, "not searched for faces"),
        card("Faces", report.faces, "found"),
        card("People", report.people, "recognised at least once"),
        card("New", report.newcomers, "never seen before"),
        card("Returning", report.returning, "seen before"),
    )


def _chart(table: SharedTable) -> Chart:
    hidden = sum(value is None for _, values in table.rows for value in values)
    caption = (
        "Every number is shown." if not hidden else
        f"{count(hidden, 'number is', 'numbers are')} withheld: "
        + ("crossed out here." if table.key == "hours" else "a grey band stands in their place.")
    )  # fmt: skip
    return Chart(
        table.key,
        table.title,
        caption,
        f"{table.title}. {caption}",
        Table(
            (table.corner, *table.columns),
            tuple(
                (name, *(WITHHELD if value is None else value for value in values))
                for name, values in table.rows
            ),
        ),
        lambda palette: _draw(table, palette),
        width="wide" if table.key in ("hours", "newcomers") else "half",
    )


def _draw(table: SharedTable, palette: Palette) -> Figure:
    if table.key == "hours":
        return _hours(table, palette)
    names = [name for name, _ in table.rows]
    if table.key in ("sources", "outcomes"):
        faces = [values[-1] for _, values in table.rows]
        series = [Bars("faces", [value or 0 for value in faces], _nth(0))]
        drawn = drawing.rows(names, series, palette, x_title="faces")
        return _hatched(drawn, [value is None for value in faces], palette, "y")
    series = [
        Bars(column.lower(), [values[i] or 0 for _, values in table.rows], _nth(i), _PATTERNS[i])
        for i, column in enumerate(table.columns)
    ]
    drawn = drawing.columns(
        names, series, palette, height=280,
        y_title="people" if table.key == "newcomers" else table.columns[0].lower(),
        every_tick=table.corner in ("Visits", "Days", "Companions", "Length"),
        short_names=table.ticks,
    )  # fmt: skip
    return _hatched(drawn, [None in values for _, values in table.rows], palette, "x")


def _nth(place: int) -> Callable[[Palette], str]:
    return lambda palette: palette.series[place]


def _hours(table: SharedTable, palette: Palette) -> Figure:
    drawn = drawing.heat_map(
        table.columns, [name for name, _ in table.rows], [values for _, values in table.rows],
        palette, what="faces", x_title="hour of the day",
    )  # fmt: skip
    hidden = [
        (x, y)
        for y, (_, values) in enumerate(table.rows)
        for x, value in enumerate(values)
        if value is None
    ]
    drawn["data"].append(
        {
            "type": "scatter",
            "mode": "markers",
            "x": [x for x, _ in hidden],
            "y": [y for _, y in hidden],
            "marker": {"symbol": "x", "size": 6, "color": palette.muted},
            "hovertemplate": f"{WITHHELD}<extra></extra>",
            "showlegend": False,
        }
    )
    return drawn


def _hatched(figure: Figure, hidden: Sequence[bool], palette: Palette, axis: str) -> Figure:
    """A grey band where a number is withheld, so that it is not taken for nothing."""
    other = "y" if axis == "x" else "x"
    figure["layout"]["shapes"] = [
        {
            "type": "rect", "layer": "below", "line": {"width": 1, "color": palette.border,
                                                       "dash": "dot"},
            "fillcolor": palette.grid, f"{axis}ref": axis, f"{other}ref": "paper",
            f"{axis}0": place - 0.45, f"{axis}1": place + 0.45, f"{other}0": 0, f"{other}1": 1,
        }
        for place, is_hidden in enumerate(hidden)
        if is_hidden
    ]  # fmt: skip
    return figure
