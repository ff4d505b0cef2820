"""Render an activity report: one HTML file that needs nothing else, and the same as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from facecore.analytics import charts, page, presence_charts, wording
from facecore.analytics.activity_report import ActivityReport
from facecore.analytics.drawing import Cell, Chart
from facecore.analytics.presence import Trend
from facecore.analytics.section import Section
from facecore.analytics.summary import sentences
from facecore.analytics.theme import PALETTES, template
from facecore.analytics.thumbnails import data_uri

Crop = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A report as text, ready to be stored."""

    html: str
    json: str


@dataclass(frozen=True, slots=True)
class Card:
    """A key figure."""

    title: str
    value: str
    raw: Cell
    note: str = ""


def render(
    report: ActivityReport,
    crops: Mapping[int, Crop] | None = None,
    more: Sequence[Section] = (),
) -> Rendered:
    """HTML and JSON of a report; the same inputs give the same bytes.

    The HTML loads nothing from anywhere: Plotly's script (4.8 MB) and the thumbnails are inside,
    and its content security policy forbids every other script and every request.

    Args:
        crops: face id → uint8 RGB `[112, 112, 3]` for `report.people`; a missing one shows
            initials. Pictures are in the HTML only, never in the JSON.
        more: further sections, shown after the report's own.

    Raises:
        ShapeError: a crop has the wrong shape.
    """
    summary = sentences(report)
    sections = () if report.is_empty else tuple(
        replace(section, charts=page.without_holes(section.charts))
        for section in (*_sections(report), *more)
    )  # fmt: skip
    figures = {
        chart.id: {palette.name: chart.draw(palette) for palette in PALETTES}
        for section in sections
        for chart in section.charts
    }
    scripts = [page.plotly(), page.resource("report.js.j2")] if figures else []
    data = {"themes": {p.name: template(p) for p in PALETTES}, "charts": figures}
    html = page.environment().get_template("report.html.j2").render(
        report=report,
        summary=summary,
        cards=_cards(report),
        sections=sections,
        thumbnails={
            person.face_id: data_uri(crops[person.face_id])
            for person in report.people
            if crops and person.face_id in crops
        },
        css=Markup(page.css()),  # noqa: S704 - our own file
        scripts=[Markup(script) for script in scripts],  # noqa: S704 - our own, and Plotly's
        heights={key: drawn["light"]["layout"]["height"] for key, drawn in figures.items()},
        script_hashes=[page.csp_hash(script) for script in scripts],
        data=Markup(page.inside_script(data)) if figures else None,  # noqa: S704 - escaped there
        pictures={
            section.id: [data_uri(picture.crop) for picture in section.pictures]
            for section in sections
        },
        words=wording,
    )  # fmt: skip
    numbers = {section.id: section.numbers for section in sections if section.numbers}
    return Rendered(html, report.as_json(summary=list(summary), sections=numbers))


def _cards(report: ActivityReport) -> tuple[Card, ...]:
    t = report.totals
    number, percent = "{:,}".format, wording.percent
    cards = [
        Card("Images", number(t.images), t.images, f"{t.sightings:,} deliveries"),
        Card("Quarantined", number(t.quarantined), t.quarantined,
             f"{percent(t.quarantined, t.images)} of images"),
        Card("Faces", number(t.faces), t.faces, f"in {t.images_with_faces:,} images"),
        Card("Recognised", number(t.accept), t.accept,
             f"{percent(t.accept, t.compared)} of compared faces"),
        Card("To review", number(t.review), t.review, "a human should look"),
        Card("Unknown", number(t.unknown), t.unknown, f"{t.not_compared:,} not compared"),
        Card("People", number(t.people), t.people, "recognised at least once"),
    ]  # fmt: skip
    if t.waiting:
        cards.append(Card("Waiting", number(t.waiting), t.waiting, "not processed yet"))
    return tuple(cards)


def _sections(report: ActivityReport) -> tuple[Section, ...]:
    totals, presence = report.totals, report.presence
    searched = sum(report.faces_per_image)
    images = [charts.arrivals(report), charts.sources(report), charts.statuses(report)]
    if totals.quarantined:
        images += [charts.reasons(report), presence_charts.quarantine_trend(report)]
    images.append(charts.duplicates(report))
    faces = [charts.faces_per_image(report), *_measured(report, "face")] if totals.faces else []
    recognised = [charts.outcomes(report)] if totals.compared else []
    if report.scores:
        recognised.append(charts.scores(report))
        recognised += _trends(report, presence.scores, "score", 4)
    return (
        Section("images", "Images", "" if totals.quarantined else "No image was quarantined.",
                tuple(images)),
        Section("image-quality", "Image quality",
                "" if _measured(report, "image") else "No image of this period was measured.",
                (*_measured(report, "image"), *_trends(report, presence.image_trends, "image", 0))),
        Section("faces", "Faces",
                "" if faces else f"No face was found in the {searched:,} images searched.",
                (*faces, *_trends(report, presence.face_trends, "face", 2)) if faces else ()),
        Section("recognition", "Recognition",
                "" if recognised else "No face was compared with a gallery. Enrol people to have "
                "their faces recognised.",
                tuple(recognised)),
        _visits(report),
        Section("when", "Time of the week", "", (
            charts.heat(report),
            *(presence_charts.source_heat(i, one) for i, one in enumerate(presence.heats, 1)
              if len(presence.heats) > 1),
        )),
    )  # fmt: skip


def _visits(report: ActivityReport) -> Section:
    presence = report.presence
    if not presence.people:
        return Section("visits", "Visits", "Nobody was recognised, so there are no visits.")
    made = [presence_charts.newcomers(report), *presence_charts.frequency(presence)]
    if presence.visits > presence.seen_once:
        made.append(presence_charts.dwell(presence))
    made.append(presence_charts.stays(presence))
    if presence.pairs:
        made += [presence_charts.company(presence), presence_charts.companions(presence)]
    text = "" if presence.pairs else "No picture shows two people who were recognised."
    return Section("visits", "Visits and company", text, tuple(made))


def _trends(
    report: ActivityReport, found: Sequence[Trend], what: str, colour: int
) -> tuple[Chart, ...]:
    """Those with at least two points; one point is no trend."""
    return tuple(
        presence_charts.trend(report, one, what, colour)
        for one in found
        if sum(value is not None for value in one.q50) > 1
    )


def _measured(report: ActivityReport, what: str) -> tuple[Chart, ...]:
    histograms = report.image_quality if what == "image" else report.face_quality
    return page.without_holes(charts.quality(one, what) for one in histograms if one.measured)
