"""The report in a few sentences: what happened, and what changed."""

from __future__ import annotations

from facecore.analytics import change
from facecore.analytics.activity_report import ActivityReport
from facecore.analytics.wording import (
    WEEKDAYS,
    bin_label,
    count,
    listing,
    percent,
    reason,
)


def sentences(report: ActivityReport) -> tuple[str, ...]:
    """What happened, for someone who reads nothing else."""
    if report.is_empty:
        return (*_empty(report), *change.sentences(report))
    said = (_delivered(report), _quarantined(report), _found(report), _identified(report))
    rest = (_newcomers(report), _busiest(report), *change.sentences(report))
    return tuple(one for one in (*said, *rest) if one)


def _empty(report: ActivityReport) -> tuple[str, ...]:
    first = f"No image was captured in this period: {report.period.describe()}."
    if report.known_from is None or report.known_to is None:
        return (first, "The catalogue holds no earlier image either.")
    return (
        first,
        f"The catalogue holds earlier images, captured from {report.known_from[:10]} to "
        f"{report.known_to[:10]}.",
    )


def _delivered(report: ActivityReport) -> str:
    totals = report.totals
    named = [one.source for one in report.sources if one.source is not None]
    whom = f"Source {named[0]}" if len(report.sources) == 1 and named else _how_many(report)
    verb = f"{whom} delivered {count(totals.sightings, 'image')}"
    if totals.exact_duplicates:
        copies = count(totals.exact_duplicates, "exact copy", "exact copies")
        verb = (
            f"{whom} delivered {count(totals.sightings, 'image')}: "
            f"{count(totals.images, 'distinct picture')} and {copies}"
        )
    if totals.near_duplicates:
        verb += f"; {totals.near_duplicates:,} of the pictures look nearly the same as another"
    return f"{verb}."


def _how_many(report: ActivityReport) -> str:
    if any(one.source is None for one in report.sources):
        return f"More than {len(report.sources) - 1} sources"
    return f"{len(report.sources)} sources"


def _quarantined(report: ActivityReport) -> str:
    totals = report.totals
    if not totals.quarantined:
        said = "No image was quarantined"
    else:
        were = "was" if totals.quarantined == 1 else "were"
        said = (
            f"{count(totals.quarantined, 'image')} "
            f"({percent(totals.quarantined, totals.images)}) {were} quarantined"
        )
        top = [f"{reason(r.code).lower()} ({r.images:,})" for r in report.reasons[:3]]
        if top:
            said += ", most often: " + listing(top)
    if totals.waiting:
        are = "is" if totals.waiting == 1 else "are"
        said += f"; {count(totals.waiting, 'image')} {are} still waiting to be processed"
    return f"{said}."


def _found(report: ActivityReport) -> str:
    totals = report.totals
    searched = sum(report.faces_per_image)
    if not searched:
        return "No image has been searched for faces yet."
    if not totals.faces:
        return f"No face was found in the {count(searched, 'image')} searched."
    were = "was" if totals.faces == 1 else "were"
    return (
        f"{count(totals.faces, 'face')} {were} found in {totals.images_with_faces:,} of "
        f"{count(searched, 'image')} searched "
        f"({percent(totals.images_with_faces, searched)})."
    )


def _identified(report: ActivityReport) -> str:
    totals = report.totals
    if not totals.faces:
        return ""
    if not totals.compared:
        return "No face was compared with a gallery; enrol people to have their faces recognised."
    were = "was" if totals.accept == 1 else "were"
    need = "needs" if totals.review == 1 else "need"
    stay = "stays" if totals.unknown == 1 else "stay"
    said = (
        f"Of {count(totals.compared, 'compared face')}, {totals.accept:,} "
        f"({percent(totals.accept, totals.compared)}) {were} recognised as "
        f"{count(totals.people, 'person', 'different people')}, {totals.review:,} {need} a "
        f"human's look and {totals.unknown:,} {stay} unknown"
    )
    if totals.not_compared:
        said += f"; {totals.not_compared:,} were not compared"
    return f"{said}."


def _newcomers(report: ActivityReport) -> str:
    presence = report.presence
    if not presence.people:
        return ""
    new = "none" if not presence.newcomers else f"{presence.newcomers:,}"
    return (
        f"{count(presence.visits, 'visit')} by {count(presence.people, 'person', 'people')} "
        f"{'was' if presence.visits == 1 else 'were'} seen; {new} of them had never been seen "
        "before."
    )


def _busiest(report: ActivityReport) -> str:
    sums = [sum(c) for c in zip(*(s.sightings for s in report.arrivals), strict=True)]
    if sum(value > 0 for value in sums) < 2:
        return ""
    top = max(range(len(sums)), key=sums.__getitem__)
    unit = report.period.bin_unit
    said = (
        f"The busiest {unit} was {bin_label(report.bins[top], unit)} with "
        f"{count(sums[top], 'image')}"
    )
    cells = [
        (value, row.weekday, hour)
        for row in report.heat
        for hour, value in enumerate(row.faces)
        if value
    ]
    if unit != "hour" and cells:
        faces, weekday, hour = max(cells, key=lambda cell: (cell[0], -cell[1], -cell[2]))
        said += (
            f"; most faces in one hour of the week came on {WEEKDAYS[weekday - 1]}s, "
            f"{hour}–{hour + 1} h ({faces:,})"
        )
    return f"{said}."
