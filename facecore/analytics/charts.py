"""Every chart of the activity report, with its data table and its description in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from facecore.analytics import drawing, histogram
from facecore.analytics.activity_report import ActivityReport, Histogram
from facecore.analytics.drawing import Bars, Chart, Table
from facecore.analytics.metrics import DETECTION_SCORE, Limit
from facecore.analytics.theme import Palette
from facecore.analytics.wording import (
    STATUSES,
    WEEKDAYS,
    bin_label,
    count,
    number,
    percent,
    reason,
    source_name,
)

_HOURS = tuple(f"{hour:02d}:00" for hour in range(24))


def arrivals(report: ActivityReport) -> Chart:
    """Files delivered per source and time bin."""
    unit = report.period.bin_unit
    names = [bin_label(name, unit) for name in report.bins]
    sums = [sum(column) for column in zip(*(s.sightings for s in report.arrivals), strict=True)]
    series = [
        Bars(source_name(one.source), one.sightings, _series_colour(one.source, place))
        for place, one in enumerate(report.arrivals)
    ]
    return Chart(
        f"arrivals-per-{unit}",
        f"Images per source and {unit}",
        "Every delivery counts, also of a picture that was delivered before.",
        f"Stacked bars, one per {unit}, one colour per source. {_peak(names, sums, 'image')}",
        Table(
            (unit.capitalize(), *(source_name(s.source) for s in report.arrivals), "All"),
            tuple(
                (name, *(s.sightings[i] for s in report.arrivals), sums[i])
                for i, name in enumerate(names)
            ),
        ),
        lambda palette: drawing.columns(
            names, series, palette, y_title="images delivered", short_names=_axis(report)
        ),
    )


def sources(report: ActivityReport) -> Chart:
    """Distinct images and exact copies per source."""
    names = [source_name(one.source) for one in report.sources]
    series = [
        Bars("distinct images", [s.images for s in report.sources], lambda p: p.series[0]),
        Bars(
            "exact copies",
            [s.sightings - s.images for s in report.sources],
            lambda p: p.series[1],
            "/",
        ),
    ]
    totals = report.totals
    return Chart(
        "sources",
        "Deliveries and distinct images",
        "The same bytes delivered again are one image, sighted more than once. It counts for "
        "the source that delivered it first.",
        f"Horizontal bars per source. In all {count(totals.sightings, 'delivery', 'deliveries')} "
        f"of {count(totals.images, 'distinct image')}.",
        Table(
            ("Source", "Deliveries", "Distinct images", "Exact copies", "Quarantined", "Faces"),
            tuple(
                (name, s.sightings, s.images, s.sightings - s.images, s.quarantined, s.faces)
                for name, s in zip(names, report.sources, strict=True)
            ),
        ),
        lambda palette: drawing.rows(names, series, palette, x_title="deliveries"),
        width="half",
    )


def statuses(report: ActivityReport) -> Chart:
    """Where the images of the period stand now."""
    totals = report.totals
    counts = [(STATUSES[key], getattr(totals, key)) for key in STATUSES]
    shown = [(name, value) for name, value in counts if value] or counts[:1]
    return Chart(
        "statuses",
        "What became of the images",
        "Every distinct image is in exactly one of these states.",
        "Horizontal bars. " + "; ".join(f"{name}: {value:,}" for name, value in shown) + ".",
        Table(
            ("State", "Images", "Share"),
            tuple((name, value, percent(value, totals.images)) for name, value in counts),
        ),
        lambda palette: drawing.rows(
            [name for name, _ in shown],
            [Bars("images", [value for _, value in shown], lambda p: p.series[0])],
            palette,
            x_title="images",
        ),
        width="half",
    )


def reasons(report: ActivityReport) -> Chart:
    """Why images were quarantined."""
    named = [(reason(one.code), one) for one in report.reasons]
    quarantined = report.totals.quarantined
    return Chart(
        "reasons",
        "Why images were quarantined",
        "An image can have several reasons, so the bars can add up to more than the "
        f"{count(quarantined, 'quarantined image')}.",
        "Horizontal bars, most frequent first. "
        + "; ".join(f"{name}: {one.images:,}" for name, one in named)
        + ".",
        Table(
            ("Reason", "Code", "Images", "Share of quarantined"),
            tuple(
                (name, one.code, one.images, percent(one.images, quarantined))
                for name, one in named
            ),
        ),
        lambda palette: drawing.rows(
            [name for name, _ in named],
            [Bars("images", [one.images for _, one in named], lambda p: p.series[5])],
            palette,
            x_title="images",
        ),
        width="half",
    )


def duplicates(report: ActivityReport) -> Chart:
    """Exact and near duplicates."""
    totals = report.totals
    rows = (
        ("Exact copies", totals.exact_duplicates, totals.sightings, "deliveries"),
        ("Near-duplicates", totals.near_duplicates, totals.images, "distinct images"),
    )
    return Chart(
        "duplicates",
        "Duplicates",
        "Exact copies have the same bytes. Near-duplicates look the same (perceptual hash) and "
        "stay separate images.",
        "Horizontal bars. " + "; ".join(f"{r[0]}: {r[1]:,} of {r[2]:,} {r[3]}" for r in rows) + ".",
        Table(
            ("Kind", "Number", "Share"),
            tuple((r[0], r[1], f"{percent(r[1], r[2])} of {r[3]}") for r in rows),
        ),
        lambda palette: drawing.rows(
            [r[0] for r in rows],
            [Bars("found", [r[1] for r in rows], lambda p: p.series[1])],
            palette,
            x_title="number",
        ),
        width="half",
    )


def faces_per_image(report: ActivityReport) -> Chart:
    """How many faces an image has."""
    counts = report.faces_per_image
    last = max((i for i, value in enumerate(counts) if value), default=0)
    cap = len(counts) - 1
    names = [f"{i}" if i < cap else f"{cap} or more" for i in range(max(last, 1) + 1)]
    values = counts[: len(names)]
    searched = sum(counts)
    return Chart(
        "faces-per-image",
        "Faces per image",
        "Of images that were searched for faces.",
        f"Bars by number of faces. {values[0]:,} of {count(searched, 'image')} "
        f"({percent(values[0], searched)}) show no face.",
        Table(
            ("Faces", "Images", "Share"),
            tuple(
                (name, value, percent(value, searched))
                for name, value in zip(names, values, strict=True)
            ),
        ),
        lambda palette: drawing.columns(
            names,
            [Bars("images", values, lambda p: p.series[0])],
            palette,
            x_title="faces in the image",
            y_title="images",
            height=280,
            every_tick=True,
        ),
        width="half",
    )


def quality(one: Histogram, what: str) -> Chart:
    """Distribution of one measurement of images or faces."""
    bounds = [(b.low, b.high) for b in one.bins]
    values = [b.count for b in one.bins]
    limits = "".join(f" A line marks “{x.label} {number(x.value)}”." for x in one.limits)
    numbers = (
        f"{count(one.measured, what)} measured: mean {number(one.mean or 0.0)}, from "
        f"{number(one.low or 0.0)} to {number(one.high or 0.0)}."
    )
    return Chart(
        f"{what}-{one.key}".replace("_", "-"),
        one.title,
        one.hint,
        f"Histogram of {one.title.lower()} ({one.unit}). {numbers}{limits}",
        Table(
            (f"{one.title} ({one.unit})", f"{what.capitalize()}s"),
            tuple((histogram.between(b.low, b.high), b.count) for b in one.bins),
        ),
        lambda palette: histogram.draw(
            bounds,
            [Bars(f"{what}s", values, lambda p: p.series[0 if what == "image" else 2])],
            one.limits,
            palette,
            unit=one.unit,
            y_title=f"{what}s",
        ),
        width="half" if one.key == DETECTION_SCORE else "small",
    )


def scores(report: ActivityReport) -> Chart:
    """Identification scores with the threshold."""
    bins = report.scores
    limits = tuple(Limit(t.value, "threshold") for t in report.thresholds)
    series = (
        Bars("accepted", [b.accept for b in bins], lambda p: p.accept),
        Bars("to review", [b.review for b in bins], lambda p: p.review, "/"),
        Bars("unknown", [b.unknown for b in bins], lambda p: p.unknown, "."),
    )
    spoken = ", ".join(number(t.value) for t in report.thresholds)
    return Chart(
        "identification-scores",
        "Identification scores",
        "Similarity to the best person of the gallery. A good gallery gives two hills with the "
        "threshold between them. Threshold used: " + (spoken or "none recorded") + ".",
        f"Stacked histogram of cosine similarity by outcome. Threshold: {spoken or 'none'}.",
        Table(
            ("Cosine similarity", "Accepted", "To review", "Unknown"),
            tuple((histogram.between(b.low, b.high), b.accept, b.review, b.unknown) for b in bins),
        ),
        lambda palette: histogram.draw(
            [(b.low, b.high) for b in bins],
            series,
            limits[:3],
            palette,
            unit="cosine similarity",
            y_title="faces",
            height=320,
        ),
    )


def outcomes(report: ActivityReport) -> Chart:
    """Identification outcome over time."""
    unit = report.period.bin_unit
    names = [bin_label(name, unit) for name in report.bins]
    o, totals = report.outcomes, report.totals
    series = [
        Bars("recognised", o.accept, lambda p: p.accept),
        Bars("to review", o.review, lambda p: p.review, "/"),
        Bars("unknown", o.unknown, lambda p: p.unknown, "."),
    ]
    if totals.not_compared:
        series.append(Bars("not compared", o.not_compared, lambda p: p.not_compared, "x"))
    return Chart(
        "outcomes",
        "Recognised, to review, unknown",
        "What identification says of each face, a human's correction included. “To review” means "
        "that a second person was almost as similar.",
        f"Stacked bars per {unit}. In all {totals.accept:,} recognised, {totals.review:,} to "
        f"review, {totals.unknown:,} unknown, {totals.not_compared:,} not compared.",
        Table(
            (unit.capitalize(), "Recognised", "To review", "Unknown", "Not compared"),
            tuple(zip(names, o.accept, o.review, o.unknown, o.not_compared, strict=True)),
        ),
        lambda palette: drawing.columns(
            names, series, palette, y_title="faces", short_names=_axis(report)
        ),
    )


def heat(report: ActivityReport) -> Chart:
    """Faces (or images, when no face was found) by hour and weekday."""
    what = "faces" if report.totals.faces else "images"
    rows = [row.faces if report.totals.faces else row.images for row in report.heat]
    days = [WEEKDAYS[row.weekday - 1] for row in report.heat]
    dates = {row.dates for row in report.heat}
    uneven = "" if len(dates) == 1 else (
        " The period holds some weekdays more often than others ("
        + ", ".join(f"{d[:3]} {row.dates}×" for d, row in zip(days, report.heat, strict=True))
        + "): compare rows with care."
    )  # fmt: skip
    most, where = max(
        (
            (value, f"{day} {hour}")
            for day, row in zip(days, rows, strict=True)
            for hour, value in zip(_HOURS, row, strict=True)
        ),
        key=lambda pair: pair[0],
    )
    return Chart(
        "heat",
        f"When {what} are seen",
        f"Capture time, {report.period.timezone}.{uneven}",
        f"Heat map of {what} by weekday and hour. Most: {most:,} ({where}).",
        Table(
            ("Weekday", *_HOURS),
            tuple((day, *row) for day, row in zip(days, rows, strict=True)),
        ),
        lambda palette: drawing.heat_map(
            _HOURS, days, rows, palette, what=what, x_title="hour of the day"
        ),
    )


def _axis(report: ActivityReport) -> list[str]:
    return [bin_label(name, report.period.bin_unit, short=True) for name in report.bins]


def _series_colour(source: str | None, place: int) -> Callable[[Palette], str]:
    if source is None:
        return lambda palette: palette.muted
    return partial(_nth, place)


def _nth(place: int, palette: Palette) -> str:
    return palette.series[place % len(palette.series)]


def _peak(names: Sequence[str], sums: Sequence[int], what: str) -> str:
    if not any(sums):
        return f"No {what}."
    top = max(range(len(sums)), key=sums.__getitem__)
    return f"Most on {names[top]}: {count(sums[top], what)}."
