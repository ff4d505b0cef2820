"""The report's section on what is due: the forecast that stood at the end of its period."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from facecore.analytics import lines
from facecore.analytics.drawing import Chart, Table
from facecore.analytics.lines import Course
from facecore.analytics.period import Period
from facecore.analytics.section import Section
from facecore.analytics.theme import Palette
from facecore.analytics.wording import count, number
from facecore.jobs.stores import Stores
from facecore.stores.catalog.reports import forecasts
from facecore.stores.catalog.reports.forecasts import ForecastRow

_DRAWN = 4
_LOW, _MIDDLE, _HIGH = 0, 2, 4  # of the five quantiles

Ahead = Sequence[tuple[datetime, Sequence[float]]]


def due(stores: Stores, period: Period) -> Sequence[Section]:
    """Faces due after the period, as they were forecast within it or at its end."""
    with stores.catalog.transaction() as tx:
        row = forecasts.newest(
            tx, after=period.local_start, until=period.local_end, timezone=period.timezone
        )
    if row is None:
        return ()
    ahead: dict[str, list[tuple[datetime, Sequence[float]]]] = {}
    for source, at, quantiles in row.hours:
        ahead.setdefault(source, []).append((at, quantiles))
    totals = {source: sum(q[_MIDDLE] for _, q in hours) for source, hours in ahead.items()}
    busiest = sorted(totals, key=lambda source: (-totals[source], source))
    choice = row.evidence["choice"]
    trends = {one["source"]: one for one in row.evidence["trends"]}
    silent = {s: why for s, why in sorted(choice["left_out"].items()) if s not in totals}
    return (
        Section(
            "due",
            "Faces due",
            "" if ahead else "No source is known for long enough to say what is due of it.",
            tuple(_chart(place, source, ahead[source]) for place, source in
                  enumerate(busiest[:_DRAWN])),
            _prose(row, choice, len(ahead)),
            (("Sources", _table(busiest, totals, trends, silent)),),
            numbers={
                "origin": row.origin.isoformat(),
                "method": row.method,
                "learned": row.learned,
                "reason": choice["reason"],
                "sources": [
                    {"source": source, "due": totals[source],
                     "trend_per_week": trends.get(source, {}).get("per_week")}
                    for source in busiest
                ],
                "left_out": silent,
            },
        ),
    )  # fmt: skip


def _prose(row: ForecastRow, choice: Mapping[str, Any], sources: int) -> tuple[str, ...]:
    hours = len({at for _, at, _ in row.hours})
    first = (
        f"From {row.origin:%Y-%m-%d %H:%M} on, {count(hours, 'hour')} of "
        f"{count(sources, 'source')} are forecast by {row.method}: {choice['reason']}"
    )
    if row.learned:
        return (first,)
    return (first, "So the numbers are a baseline's, not those of the learned model.")


def _chart(place: int, source: str, hours: Ahead) -> Chart:
    names = [f"{at:%Y-%m-%d %H:%M}" for at, _ in hours]
    course = Course(
        "faces due",
        [quantiles[_MIDDLE] for _, quantiles in hours],
        [quantiles[_LOW] for _, quantiles in hours],
        [quantiles[_HIGH] for _, quantiles in hours],
        lambda palette: palette.series[0],
    )
    peak = max(hours, key=lambda one: one[1][_MIDDLE])

    def draw(palette: Palette) -> dict[str, Any]:
        short = [f"{at:%H:%M}" for at, _ in hours]
        return lines.course(names, [course], palette, y_title="faces", short_names=short)

    return Chart(
        f"due-{place}",
        f"Due at {source}",
        "Middle value of each hour, with the range that nine in ten hours should lie in.",
        f"A line over {count(len(hours), 'hour')}; most, {number(peak[1][_MIDDLE])}, at "
        f"{peak[0]:%H:%M}.",
        Table(
            ("Hour", "Due", "From", "To"),
            tuple(
                (name, number(q[_MIDDLE]), number(q[_LOW]), number(q[_HIGH]))
                for name, (_, q) in zip(names, hours, strict=True)
            ),
        ),
        draw,
        "half",
    )


def _table(
    busiest: Sequence[str],
    totals: Mapping[str, float],
    trends: Mapping[str, Mapping[str, Any]],
    silent: Mapping[str, str],
) -> Table:
    return Table(
        ("Source", "Faces due", "Trend", "Note"),
        (
            *((s, number(totals[s]), _trend(trends.get(s)), "") for s in busiest),
            *((s, "–", _trend(trends.get(s)), why) for s, why in silent.items()),
        ),
    )


def _trend(one: Mapping[str, Any] | None) -> str:
    """`steady, +1.2 % a week (-3.0 to +5.1)`."""
    if one is None or one["per_week"] is None:
        return "unknown"
    low, middle, high = (100 * one[key] for key in ("low", "per_week", "high"))
    return f"{one['direction']}, {middle:+.1f} % a week ({low:+.1f} to {high:+.1f})"
