"""Snapshots of activity: hourly counts per source and visits per person, split by time.

What comes first is train, then val, then test: a forecaster is judged on hours that lie after
all it has seen. Each series is one object; its rows say which part of it belongs to which split.
People are called by their number in the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np

from facecore.errors import UsageError
from facecore.lifecycle.datasets.building import Built, Destination, publish
from facecore.lifecycle.datasets.manifest import Provenance, Rows
from facecore.lifecycle.datasets.splits import SPLITS, Split, SplitPlan
from facecore.types import Doubles, HourlyCounts, Visits

SeriesKind = Literal["counts", "visits"]
TENSOR = "values"
CONTEXT_HOURS = 28 * 24  # of history that a forecast looks at
LEAST_SPLIT = timedelta(days=7)
_EPOCH = datetime(1970, 1, 1)
# A person has to come at least so often before the next visit can be learned from.
LEAST_VISITS = 4


@dataclass(frozen=True, slots=True)
class ActivitySeries:
    """A series with the part of it that belongs to one split.

    Attributes:
        kind: `counts`, per hour of a source; or `visits` of a person.
        values: float64 `[n]`: counts, NaN where unknown; of visits, hours since 1970 on the
            wall clock.
        start: the first hour, or the first visit.
        first, last: the part `[first, last)`: of hours, or of the gaps between visits.
    """

    kind: SeriesKind
    name: str
    values: Doubles
    start: datetime
    first: int
    last: int

    def hour_of_day(self, index: int) -> int:
        """0..23 of an hour of `counts`."""
        return (self.start.hour + index) % 24

    def hour_of_week(self, index: int) -> int:
        """0..167 of an hour of `counts`; Monday 0:00 is 0."""
        return (self.start.weekday() * 24 + self.start.hour + index) % 168

    @property
    def counts(self) -> HourlyCounts:
        """The whole series of a source."""
        return HourlyCounts(self.name, self.start, self.values)

    @property
    def gaps(self) -> Doubles:
        """Hours between one visit and the next, float64 `[n - 1]`."""
        return np.diff(self.values)

    @property
    def hours_of_week_after_gaps(self) -> Doubles:
        """Hour of the week, 0..167, of the visit that ended each gap, float64 `[n - 1]`."""
        # 1970 began on a Thursday.
        return np.floor(self.values[1:] + 3 * 24) % 168


def build_activity(
    destination: Destination,
    series: Sequence[HourlyCounts],
    visits: Sequence[Visits],
    *,
    source: Mapping[str, Any],
    plan: SplitPlan | None = None,
) -> Built:
    """Split and publish series that share one wall clock.

    Args:
        source: what they were counted from: its kind, name and parameters.
        plan: shares of the time; whole days, a week at least.

    Raises:
        UsageError: there is no series, or too little time. Nothing was written.
    """
    plan = plan or SplitPlan()
    if not series:
        raise UsageError(
            "there is no activity to learn from.",
            remedy="Ingest and extract pictures over some weeks, or build it with --simulated.",
        )
    begin, end = min(s.start for s in series), max(s.at(len(s)) for s in series)
    cuts = _cuts(begin, end, plan)
    rows = Rows("activity")
    left_out: dict[str, int] = {}
    with destination.spool() as spool:
        for number, one in enumerate(sorted(series, key=lambda s: s.source)):
            bounds = [min(max(one.index(cut), 0), len(one)) for cut in cuts]
            _add(rows, spool, ("counts", one.source), one.counts, one.start, bounds, source)
            destination.progress("series", number + 1, len(series))
        for person in sorted(visits, key=lambda v: v.person):
            if len(person.at) < LEAST_VISITS:
                left_out["people with too few visits"] = (
                    left_out.get("people with too few visits", 0) + 1
                )
                continue
            hours = np.array([(at - _EPOCH).total_seconds() / 3600 for at in person.at])
            # A gap belongs to the split in which it ends.
            ends = [(cut - _EPOCH).total_seconds() / 3600 for cut in cuts]
            bounds = [int(np.searchsorted(hours[1:], moment)) for moment in ends]
            _add(rows, spool, ("visits", person.person), hours, person.at[0], bounds, source)
        provenance = Provenance(
            kind="activity",
            source={**source, "val": plan.val, "test": plan.test},
            left_out=left_out,
        )
        return publish(destination, spool, rows.table(), provenance)


def read_series(rows: Iterator[tuple[Mapping[str, Any], bytes]]) -> Iterator[ActivitySeries]:
    """Rows of a manifest with their objects → series."""
    from safetensors.numpy import load

    for row, data in rows:
        yield ActivitySeries(
            kind=row["series"],
            name=row["image"],
            values=load(data)[TENSOR],
            start=datetime.fromisoformat(row["start"]),
            first=row["first"],
            last=row["last"],
        )


def _cuts(begin: datetime, end: datetime, plan: SplitPlan) -> list[datetime]:
    """Begin of train, val and test, and the end."""
    span = end - begin
    lengths = [
        max(LEAST_SPLIT, timedelta(days=round(span.days * share))) if share else timedelta(0)
        for share in (plan.val, plan.test)
    ]
    needed = timedelta(hours=CONTEXT_HOURS) + LEAST_SPLIT + sum(lengths, timedelta(0))
    if span < needed:
        raise UsageError(
            f"{span.days} days of activity are too few: a forecaster looks back "
            f"{CONTEXT_HOURS // 24} days and each split needs a week, {needed.days} days in all.",
            remedy="Wait, or give other shares (--val, --test; 0 makes no such split).",
        )
    test = end - lengths[1]
    return [begin, test - lengths[0], test, end]


def _add(
    rows: Rows,
    spool: Any,
    named: tuple[SeriesKind, str],
    values: Doubles,
    start: datetime,
    bounds: Sequence[int],
    source: Mapping[str, Any],
) -> None:
    from safetensors.numpy import save

    key, sha256 = spool.add("series", save({TENSOR: values}), "safetensors")
    parts: list[tuple[Split, int, int]] = [
        (split, bounds[place], bounds[place + 1]) for place, split in enumerate(SPLITS)
    ]
    rows.add(
        [
            {
                "object": key,
                "object_sha256": sha256,
                "split": split,
                "source": str(source["name"]),
                "image": named[1],
                "series": named[0],
                "start": start.isoformat(),
                "first": first,
                "last": last,
                "points": last - first,
            }
            for split, first, last in parts
            if last > first
        ]
    )
