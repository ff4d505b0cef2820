"""The page of a drift check: one HTML file that loads nothing, and the same numbers as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from markupsafe import Markup

from facecore.analytics import drawing, page
from facecore.analytics.drawing import Bars, Chart, Table
from facecore.analytics.drift.check import ALL, Measurement
from facecore.analytics.period import Period
from facecore.analytics.report import Rendered
from facecore.analytics.theme import PALETTES, Palette, template
from facecore.analytics.wording import count, listing, number

SCHEMA = "facecore.drift/1"
_MOST_BARS = 20
_FURTHEST = 300  # percent of a limit at which a bar ends


@dataclass(frozen=True, slots=True)
class DriftReport:
    """A finished check: what was compared, with which models, and every measurement."""

    period: Period
    reference: Period
    embedder: str
    code_version: str
    measurements: tuple[Measurement, ...]

    @property
    def drifted(self) -> tuple[Measurement, ...]:
        """Those over their limit."""
        return tuple(one for one in self.measurements if one.state == "drift")


def render(report: DriftReport) -> Rendered:
    """HTML and JSON; the same inputs give the same bytes."""
    said = sentences(report)
    charts = _charts(report)
    figures = {c.id: {p.name: c.draw(p) for p in PALETTES} for c in charts}
    scripts = [page.plotly(), page.resource("report.js.j2")] if figures else []
    data = {"themes": {p.name: template(p) for p in PALETTES}, "charts": figures}
    html = page.environment().get_template("drift.html.j2").render(
        report=report,
        summary=said,
        charts=charts,
        drifted=_table(report.drifted),
        others=_table([one for one in report.measurements if one.state != "drift"]),
        css=Markup(page.css()),  # noqa: S704 - our own file
        scripts=[Markup(script) for script in scripts],  # noqa: S704 - our own, and Plotly's
        heights={key: drawn["light"]["layout"]["height"] for key, drawn in figures.items()},
        script_hashes=[page.csp_hash(script) for script in scripts],
        data=Markup(page.inside_script(data)) if figures else None,  # noqa: S704 - escaped there
    )  # fmt: skip
    document = {**asdict(report), "schema": SCHEMA, "summary": list(said)}
    text = json.dumps(
        document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False,
        default=lambda value: value.isoformat(),
    )  # fmt: skip
    return Rendered(html, text)


def sentences(report: DriftReport) -> tuple[str, ...]:
    """The check in short."""
    compared = [one for one in report.measurements if one.state != "too_few"]
    said = []
    if not compared:
        said.append("There is too little to compare, in this period or in the one before.")
    elif not report.drifted:
        said.append(f"Nothing drifted: all {count(len(compared), 'measure')} are within their "
                    "limits.")  # fmt: skip
    else:
        subjects = sorted({one.subject for one in report.drifted})
        said.append(
            f"{len(report.drifted):,} of {count(len(compared), 'measure')} "
            f"{'is' if len(report.drifted) == 1 else 'are'} over the limit, of: "
            f"{listing([name_of(s) for s in subjects[:6]])}"
            + (f" and {len(subjects) - 6:,} more." if len(subjects) > 6 else ".")
        )
        said += [in_words(one) for one in report.drifted[:5]]
    too_few = len(report.measurements) - len(compared)
    if compared and too_few:
        said.append(f"{count(too_few, 'measure')} had too little to compare.")
    return tuple(said)


def in_words(one: Measurement) -> str:
    """One measurement over its limit, as a sentence."""
    who = name_of(one.subject)
    who = who[0].upper() + who[1:]
    if one.measure == "silent":
        expected = number(float(one.details["expected_images"]))
        return f"{who} delivered nothing; about {expected} images were expected."
    value = "nothing" if one.value is None else number(one.value)
    said = measure_in_words(one.measure)
    return f"{who}: {said} is {value}, the limit is {number(one.upper_limit)}."


def measure_in_words(measure: str) -> str:
    """A measure for reading; its own name is what the JSON, the alerts and the tables hold."""
    kind, _, of = measure.partition(" ")
    if kind == "psi":
        what, _, key = of.partition(".")
        key = key.replace("_", " ")
        named = "faces per image" if (what, key) == ("image", "faces") else f"{key} of {what}s"
        return f"the distribution of {named} (population stability index)"
    if kind == "two-sample":
        return f"how well {of} of both periods are told apart (AUC)"
    if measure == "impostor rate":
        return "the share of pairs of different people that reach the threshold"
    if kind == "impostor":
        return f"the shift of the {of[1:]} % quantile of scores between different people"
    return "the distance of a canary from its pinned vector" if measure == "canary" else measure


def name_of(subject: str) -> str:
    """A subject for reading."""
    if subject == ALL:
        return "all sources together"
    return subject.replace("source/", "source ", 1)


def evidence(one: Measurement) -> dict[str, Any]:
    """A measurement as an alert carries it."""
    plain: Mapping[str, Any] = asdict(one)
    return {key: plain[key] for key in plain if key != "subject"}


def _charts(report: DriftReport) -> tuple[Chart, ...]:
    known = sorted(
        (one for one in report.measurements if one.value is not None),
        key=lambda one: (-(one.value or 0) / one.upper_limit, one.subject, one.measure),
    )
    shown = known[:_MOST_BARS]
    if not shown:
        return ()
    names = [f"{one.measure}, {one.subject}" for one in shown]
    percents = [round(100 * (one.value or 0) / one.upper_limit) for one in shown]
    chart = Chart(
        "closeness",
        "How close each measure is to its limit",
        f"In percent of the limit: 100 is the limit. The {len(shown)} highest of "
        f"{count(len(known), 'measure')}; bars end at {_FURTHEST}.",
        "Horizontal bars. Highest: "
        + "; ".join(f"{n}: {p} %" for n, p in zip(names[:3], percents[:3], strict=True))
        + ".",
        Table(("Measure", "Percent of the limit"), tuple(zip(names, percents, strict=True))),
        lambda palette: _bars(names, percents, palette),
    )
    return (chart,)


def _bars(names: Sequence[str], percents: Sequence[int], palette: Palette) -> drawing.Figure:
    ends = [min(value, _FURTHEST) for value in percents]
    drawn = drawing.rows(
        names,
        [
            Bars("within", [v if v <= 100 else 0 for v in ends], lambda p: p.series[0]),
            Bars("over the limit", [v if v > 100 else 0 for v in ends], lambda p: p.limit, "/"),
        ],
        palette,
        x_title="percent of the limit",
    )
    drawn["layout"]["shapes"] = [
        {
            "type": "line", "xref": "x", "yref": "paper", "x0": 100, "x1": 100, "y0": 0, "y1": 1,
            "line": {"color": palette.limit, "width": 2, "dash": "dash"},
        }
    ]  # fmt: skip
    return drawn


def _table(measurements: Sequence[Measurement]) -> Table:
    def said(value: float | None) -> str:
        return "–" if value is None else number(value)

    return Table(
        ("Measure", "Of", "Value", "Limit", "p", "Before", "Now"),
        tuple(
            (
                one.measure, name_of(one.subject),
                "too little to compare" if one.value is None else said(one.value),
                said(one.upper_limit), said(one.p_value), f"{one.reference_n:,}",
                f"{one.period_n:,}",
            )
            for one in measurements
        ),
    )  # fmt: skip
