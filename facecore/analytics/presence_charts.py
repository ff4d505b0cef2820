"""Charts of who was there, with whom, for how long, and of trends over time."""

from __future__ import annotations

from collections.abc import Sequence

from facecore.analytics import drawing, lines
from facecore.analytics.activity_report import ActivityReport, HeatRow
from facecore.analytics.drawing import Bars, Cell, Chart, Table
from facecore.analytics.presence import (
    COMPANY_NAMES,
    COUNT_NAMES,
    DWELL_NAMES,
    Pair,
    Presence,
    SourceHeat,
    Trend,
)
from facecore.analytics.wording import (
    WEEKDAYS,
    bin_label,
    count,
    duration,
    number,
    percent,
    source_name,
)

HOURS = tuple(f"{hour:02d}:00" for hour in range(24))
_MOST_NODES = 16


def newcomers(report: ActivityReport) -> Chart:
    """New and returning people per time bin."""
    presence, unit = report.presence, report.period.bin_unit
    names = [bin_label(name, unit) for name in report.bins]
    series = (
        Bars("seen before", presence.returning_by_bin, lambda p: p.series[0]),
        Bars("new", presence.newcomers_by_bin, lambda p: p.series[1], "/"),
    )
    return Chart(
        "newcomers",
        "New and returning people",
        f"Each person counts once per {unit}. New: never recognised before, in any period.",
        f"Stacked bars per {unit}. Of {count(presence.people, 'person', 'people')} in the period "
        f"{presence.newcomers:,} were new.",
        Table(
            (unit.capitalize(), "Seen before", "New"),
            tuple(
                zip(names, presence.returning_by_bin, presence.newcomers_by_bin, strict=True)
            ),
        ),
        lambda palette: drawing.columns(
            names, series, palette, y_title="people",
            short_names=[bin_label(name, unit, short=True) for name in report.bins],
        ),
    )  # fmt: skip


def frequency(presence: Presence) -> tuple[Chart, Chart]:
    """How often people came: visits, and days."""
    gap = duration(presence.visit_gap_s)
    return (
        _people_by(
            "visits-per-person",
            "Visits per person",
            f"A visit ends when somebody is not seen for more than {gap}. "
            f"{count(presence.visits, 'visit')} in all.",
            "Visits",
            COUNT_NAMES,
            presence.visits_per_person,
        ),
        _people_by(
            "days-per-person",
            "Days per person",
            "On how many different days a person was seen.",
            "Days",
            COUNT_NAMES,
            presence.days_per_person,
        ),
    )


def dwell(presence: Presence) -> Chart:
    """How long visits lasted."""
    timed = presence.visits - presence.seen_once
    return Chart(
        "dwell",
        "How long visits lasted",
        "From the first to the last picture of a visit, so a lower bound. "
        f"{count(presence.seen_once, 'visit')} of a single moment "
        f"({percent(presence.seen_once, presence.visits)}) have no length and are not drawn.",
        f"Bars by length, of {count(timed, 'visit')}. "
        + "; ".join(f"{n}: {v:,}" for n, v in zip(DWELL_NAMES, presence.dwell, strict=True) if v)
        + ".",
        Table(
            ("Length", "Visits", "People"),
            tuple(zip(DWELL_NAMES, presence.dwell, presence.dwell_people, strict=True)),
        ),
        lambda palette: drawing.columns(
            DWELL_NAMES,
            [Bars("visits", presence.dwell, lambda p: p.series[2])],
            palette,
            y_title="visits",
            height=280,
            every_tick=True,
            short_names=("<1 min", "1–5", "5–15", "15–60", "1–4 h", "≥4 h"),
        ),
        width="half",
    )


def stays(presence: Presence) -> Chart:
    """Visits and their length at each source."""
    names = [source_name(one.source) for one in presence.stays]
    series = (
        Bars("longer", [s.stays - s.seen_once for s in presence.stays], lambda p: p.series[2]),
        Bars("of one moment", [s.seen_once for s in presence.stays], lambda p: p.series[3], "/"),
    )
    return Chart(
        "stays",
        "Stays per source",
        "A stay is a visit at one source. Half of the timed stays are no longer than the median, "
        "nine of ten no longer than the 90th percentile.",
        "Horizontal bars per source. "
        + "; ".join(
            f"{n}: {count(s.stays, 'stay')} of {count(s.people, 'person', 'people')}"
            for n, s in zip(names, presence.stays, strict=True)
        )
        + ".",
        Table(
            ("Source", "Stays", "People", "Of one moment", "Median", "90th percentile"),
            tuple(
                (n, s.stays, s.people, s.seen_once, _lasting(s.median_s), _lasting(s.p90_s))
                for n, s in zip(names, presence.stays, strict=True)
            ),
        ),
        lambda palette: drawing.rows(names, series, palette, x_title="stays"),
        width="half",
    )


def company(presence: Presence) -> Chart:
    """Who was seen together with whom."""
    nodes, edges = _strongest(presence.pairs)
    drawn = f"The {len(nodes)} people with the strongest ties" if len(presence.pairs) > len(
        edges
    ) else count(len(nodes), "person", "people")  # fmt: skip
    left_out = (
        f" {count(presence.crowded, 'picture')} with too many people were left out."
        if presence.crowded
        else ""
    )
    return Chart(
        "company",
        "Who was seen together",
        "A line joins two people who are on the same picture; the thicker, the more pictures. "
        f"Being on one picture does not mean that they know each other.{left_out}",
        f"Graph of {drawn} and {count(len(edges), 'line')}. Most often: "
        + "; ".join(
            f"{p.a_label} and {p.b_label} on {count(p.images, 'picture')}"
            for p in presence.pairs[:3]
        )
        + ".",
        Table(
            ("Person", "And", "Pictures"),
            tuple((p.a_label, p.b_label, p.images) for p in presence.pairs),
        ),
        lambda palette: lines.graph(
            [label for _, label in nodes], edges, palette, what="pictures with others"
        ),
        width="half",
    )


def companions(presence: Presence) -> Chart:
    """With how many others people were seen."""
    return _people_by(
        "companions",
        "Companions per person",
        "With how many different people somebody was on a picture.",
        "Companions",
        COMPANY_NAMES,
        presence.companions,
    )


def quarantine_trend(report: ActivityReport) -> Chart:
    """Quarantined images per time bin."""
    presence, unit = report.presence, report.period.bin_unit
    names = [bin_label(name, unit) for name in report.bins]
    kept = [a - q for a, q in zip(presence.images, presence.quarantined, strict=True)]
    series = (
        Bars("kept", kept, lambda p: p.muted),
        Bars("quarantined", presence.quarantined, lambda p: p.series[5], "/"),
    )
    return Chart(
        "quarantine-trend",
        f"Quarantined images per {unit}",
        "Of the distinct images. A share that grows points at a camera or at a sender.",
        f"Stacked bars per {unit}. In all {sum(presence.quarantined):,} of "
        f"{count(sum(presence.images), 'image')} were quarantined.",
        Table(
            (unit.capitalize(), "Images", "Quarantined", "Share"),
            tuple(
                (name, images, bad, percent(bad, images))
                for name, images, bad in zip(
                    names, presence.images, presence.quarantined, strict=True
                )
            ),
        ),
        lambda palette: drawing.columns(
            names, series, palette, y_title="images", height=280,
            short_names=[bin_label(name, unit, short=True) for name in report.bins],
        ),
        width="half",
    )  # fmt: skip


def trend(report: ActivityReport, one: Trend, what: str, colour: int = 0) -> Chart:
    """One number over time."""
    unit = report.period.bin_unit
    names = [bin_label(name, unit) for name in report.bins]
    known = [(n, v) for n, v in zip(names, one.q50, strict=True) if v is not None]
    low, high = min(known, key=lambda x: x[1]), max(known, key=lambda x: x[1])
    return Chart(
        f"trend-{what}-{one.key}".replace("_", "-"),
        f"{one.title} over time",
        f"Median per {unit}; the thin lines reach from the first to the third quartile.",
        f"Line of medians ({one.unit}). Lowest {number(low[1])} on {low[0]}, highest "
        f"{number(high[1])} on {high[0]}.",
        Table(
            (unit.capitalize(), "Measured", "First quartile", "Median", "Third quartile"),
            tuple(
                (n, c, _cell(a), _cell(b), _cell(d))
                for n, c, a, b, d in zip(
                    names, one.counts, one.q25, one.q50, one.q75, strict=True
                )
            ),
        ),
        lambda palette: lines.course(
            names,
            [lines.Course(one.title, one.q50, one.q25, one.q75, lambda p: p.series[colour])],
            palette,
            y_title=one.unit,
            short_names=[bin_label(name, unit, short=True) for name in report.bins],
        ),
        width="half",
    )  # fmt: skip


def source_heat(place: int, one: SourceHeat) -> Chart:
    """Faces (or images, when no face was found) of one source by hour and weekday."""
    faces = any(any(row.faces) for row in one.rows)
    what = "faces" if faces else "images"
    rows = [row.faces if faces else row.images for row in one.rows]
    days = [WEEKDAYS[row.weekday - 1] for row in one.rows]
    most, where = _most(one.rows, rows)
    return Chart(
        f"heat-source-{place}",
        f"{one.source}: when {what} are seen",
        f"{sum(map(sum, rows)):,} {what} by capture time.",
        f"Heat map of {what} of source {one.source} by weekday and hour. Most: {most:,} ({where}).",
        Table(
            ("Weekday", *HOURS),
            tuple((day, *row) for day, row in zip(days, rows, strict=True)),
        ),
        lambda palette: drawing.heat_map(
            HOURS, days, rows, palette, what=what, x_title="hour of the day"
        ),
        width="half",
    )


def _most(rows: Sequence[HeatRow], values: Sequence[Sequence[int]]) -> tuple[int, str]:
    return max(
        (
            (value, f"{WEEKDAYS[row.weekday - 1]} {hour}")
            for row, line in zip(rows, values, strict=True)
            for hour, value in zip(HOURS, line, strict=True)
        ),
        key=lambda pair: pair[0],
    )


def _people_by(
    key: str, title: str, caption: str, column: str, names: Sequence[str], people: Sequence[int]
) -> Chart:
    return Chart(
        key,
        title,
        caption,
        f"Bars by number. Of {count(sum(people), 'person', 'people')}: "
        + "; ".join(f"{n}: {value:,}" for n, value in zip(names, people, strict=True) if value)
        + ".",
        Table((column, "People"), tuple(zip(names, people, strict=True))),
        lambda palette: drawing.columns(
            names,
            [Bars("people", people, lambda p: p.series[0])],
            palette,
            x_title=column.lower(),
            y_title="people",
            height=280,
            every_tick=True,
            short_names=[name.replace(" or more", "+") for name in names],
        ),
        width="half",
    )  # fmt: skip


def _strongest(
    pairs: Sequence[Pair],
) -> tuple[list[tuple[int, str]], list[tuple[int, int, int]]]:
    """As many of the strongest pairs as fit: their people, and lines between positions."""
    place: dict[int, int] = {}
    nodes: list[tuple[int, str]] = []
    edges = []
    for pair in pairs:
        ends = ((pair.a, pair.a_label), (pair.b, pair.b_label))
        fresh = [end for end in ends if end[0] not in place]
        if len(nodes) + len(fresh) > _MOST_NODES:
            continue
        for end in fresh:
            place[end[0]] = len(nodes)
            nodes.append(end)
        edges.append((place[pair.a], place[pair.b], pair.images))
    return nodes, edges


def _lasting(seconds: float | None) -> Cell:
    return "–" if seconds is None else duration(seconds)


def _cell(value: float | None) -> Cell:
    return "–" if value is None else value
