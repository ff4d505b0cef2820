"""What changed against the period before, in sentences."""

from __future__ import annotations

from facecore.analytics.activity_report import ActivityReport, Before
from facecore.analytics.wording import count, listing, percent

# Below this many, a percentage says more than is known.
_ENOUGH = 20


def sentences(report: ActivityReport) -> tuple[str, ...]:
    """At most four sentences; none where the period before was not counted."""
    before = report.before
    if before is None:
        return ()
    when = f"the {_length(report)} before"
    if before.sightings == 0:
        if report.is_empty:
            return ()
        return (f"Nothing was captured in {when}, so there is nothing to compare with.",)
    if report.is_empty:
        return (f"In {when}, {count(before.images, 'image')} had been captured.",)
    said = [
        f"Compared with {when}: "
        + "; ".join(
            (
                _counts("image", before.images, report.totals.images),
                _counts("face", before.faces, report.totals.faces),
                _counts("recognised person", before.people, report.totals.people,
                        "recognised people"),
            )
        )
        + "."
    ]  # fmt: skip
    said += _shares(report, before)
    said += _sources(report, before)
    return tuple(said)


def _length(report: ActivityReport) -> str:
    period = report.period
    days = (period.local_end.date() - period.local_start.date()).days
    return "day" if days == 1 else f"{days} days"


def _counts(what: str, before: int, now: int, plural: str = "") -> str:
    said = count(now, what, plural)
    if now == before:
        return f"{said}, as before"
    change = f"{said} instead of {before:,}"
    if before >= _ENOUGH:
        change += f" ({100 * (now - before) / before:+.0f} %)".replace("-", "−")
    return change


def _shares(report: ActivityReport, before: Before) -> list[str]:
    totals = report.totals
    said = []
    if totals.quarantined or before.quarantined:
        said.append(
            f"{percent(totals.quarantined, totals.images)} of the images were quarantined, "
            f"{percent(before.quarantined, before.images)} before."
        )
    if totals.compared and before.compared:
        said.append(
            f"{percent(totals.accept, totals.compared)} of the compared faces were recognised, "
            f"{percent(before.accept, before.compared)} before."
        )
    return said


def _sources(report: ActivityReport, before: Before) -> list[str]:
    now = {one.source for one in report.sources}
    said = []
    gone = sorted(set(before.sources) - now) if None not in now else []
    if gone:
        said.append(
            f"{listing(gone[:5])} delivered nothing any more"
            + (f", nor did {len(gone) - 5:,} other sources." if len(gone) > 5 else ".")
        )
    return said
