"""The report that may leave the house: numbers only, none about fewer than k people. No I/O.

No names, no faces, no lists of people; every count is a cell of `anonymity.withheld`, and the
equations between them are declared here, beside the tables they come from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import pandas as pd

from facecore.analytics.anonymity import Cell, Sum, withheld
from facecore.analytics.period import Period, bin_name
from facecore.analytics.presence import (
    COMPANY_NAMES,
    COUNT_EDGES,
    COUNT_NAMES,
    DWELL_NAMES,
    Presence,
)
from facecore.analytics.wording import WEEKDAYS, bin_label
from facecore.errors import UsageError

SCHEMA = "facecore.report.shared/1"
OUTCOMES = {
    "accept": "Recognised",
    "review": "To review",
    "unknown": "Unknown",
    "not_compared": "Not compared",
}
SHORTEST_DAYS = 7


@dataclass(frozen=True, slots=True)
class SharedTable:
    """Counts under row and column names; None: withheld. `ticks` are short names of the rows."""

    key: str
    title: str
    corner: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[int | None, ...]], ...]
    ticks: tuple[str, ...]

    @property
    def says_something(self) -> bool:
        """Some number is shown that is not 0."""
        return any(value for _, values in self.rows for value in values)


@dataclass(frozen=True, slots=True)
class SharedReport:
    """Everything the shared report says. `withheld` of `cells` numbers are not shown.

    `quarantined` images are not broken down by people, because nobody looked for faces on them.
    """

    period: Period
    k: int
    cells: int
    withheld: int
    images: int | None
    quarantined: int
    faces: int | None
    people: int | None
    newcomers: int | None
    returning: int | None
    tables: tuple[SharedTable, ...]
    code_version: str
    schema: str = SCHEMA

    def as_json(self, **extra: object) -> str:
        """As JSON; null: withheld."""
        document = {**asdict(self), **extra}
        return json.dumps(
            document, indent=1, sort_keys=True, ensure_ascii=False, default=lambda v: v.isoformat()
        )


def summarise(
    frames: Mapping[str, pd.DataFrame],
    presence: Presence,
    *,
    period: Period,
    quarantined: int,
    k: int,
    code_version: str,
) -> SharedReport:
    """Withhold what has to be, and lay out the rest.

    Args:
        frames: what `stores.catalog.reports.shared_cells.read_shared_cells` returned for the
            period.
        quarantined: distinct images of the period that are quarantined.

    Raises:
        UsageError: the period is shorter than a week: its time axis would show single hours.
    """
    days = (period.local_end.date() - period.local_start.date()).days
    if days < SHORTEST_DAYS:
        raise UsageError(
            f"a report to be shared covers at least {SHORTEST_DAYS} days, not {days}.",
            remedy="Choose a longer period, or build the report without sharing it.",
        )
    made = _Cells(frames, presence, period)
    hidden = withheld(made.cells.values(), made.sums, k)

    def shown(key: str) -> int | None:
        return None if key in hidden else made.cells[key].value

    return SharedReport(
        period=period,
        k=k,
        cells=sum(cell.shown for cell in made.cells.values()),
        withheld=len(hidden),
        images=shown("images"),
        quarantined=quarantined,
        faces=shown("faces"),
        people=shown("people"),
        newcomers=shown("newcomers"),
        returning=shown("returning"),
        tables=tuple(made.tables(shown)),
        code_version=code_version,
    )


class _Cells:
    """All cells of the report, and every equation between them."""

    def __init__(
        self, frames: Mapping[str, pd.DataFrame], presence: Presence, period: Period
    ) -> None:
        self.period, self.bins = period, period.bins()
        self.cells: dict[str, Cell] = {}
        self.sums: list[Sum] = []
        self.sources = _sources(frames)
        self._counted(frames["face_cells"], "faces")
        self._counted(frames["image_cells"], "images")
        self._faces()
        self._add_up("images", [f"images:bin:{bin_}" for bin_ in self.bins])
        self._add_up("images", [f"images:source:{place}" for place in self.sources])
        self._people(presence)

    def _counted(self, frame: pd.DataFrame, what: str) -> None:
        for row in frame.to_dict("records"):
            level = row["level"]
            at = {
                "all": what,
                "bin": f"{what}:bin:{self._bin(row)}",
                "source": f"{what}:source:{row['place']}",
            }.get(level) or {
                "outcome": lambda r: f"faces:outcome:{r['outcome']}",
                "weekday": lambda r: f"faces:weekday:{int(r['weekday'])}",
                "weekday-hour": lambda r: f"faces:{int(r['weekday'])}:{int(r['hour'])}",
            }[level](row)
            # The sum of a weekday is not printed, but follows from its hours or its days.
            shown = level != "weekday"
            self.cells[at] = Cell(at, int(row["value"]), int(row["people"]), shown)

    def _faces(self) -> None:
        """Faces by day, outcome, source, and by weekday and hour: four views of one total."""
        self._add_up("faces", [f"faces:bin:{bin_}" for bin_ in self.bins])
        self._add_up("faces", [f"faces:outcome:{outcome}" for outcome in OUTCOMES])
        self._add_up("faces", [f"faces:source:{place}" for place in self.sources])
        self._add_up("faces", [f"faces:weekday:{day}" for day in range(1, 8)])
        for day in range(1, 8):
            weekday = f"faces:weekday:{day}"
            self._cell(weekday, shown=False)
            self._add_up(weekday, [f"faces:{day}:{hour}" for hour in range(24)])
            if self.period.bin_unit == "day":
                of_day = [f"faces:bin:{b}" for b in self.bins if _weekday(b) == day]
                self._add_up(weekday, of_day)

    def _people(self, presence: Presence) -> None:
        def count(key: str, number: int, *, shown: bool = True) -> None:
            self.cells[key] = Cell(key, number, number, shown)

        count("people", presence.people)
        count("newcomers", presence.newcomers)
        count("returning", presence.returning)
        self._add_up("people", ["newcomers", "returning"])
        for place, bin_ in enumerate(self.bins):
            new, old = presence.newcomers_by_bin[place], presence.returning_by_bin[place]
            count(f"newcomers:{bin_}", new)
            count(f"returning:{bin_}", old)
            count(f"people:{bin_}", new + old, shown=False)
            self._add_up(f"people:{bin_}", [f"newcomers:{bin_}", f"returning:{bin_}"])
        self._add_up("newcomers", [f"newcomers:{bin_}" for bin_ in self.bins])
        for name, numbers in (
            ("visits", presence.visits_per_person),
            ("days", presence.days_per_person),
            ("companions", presence.companions),
        ):
            for place, number in enumerate(numbers):
                count(f"{name}:{place}", number)
            self._add_up("people", [f"{name}:{place}" for place in range(len(numbers))])
        if self.period.bin_unit == "day":
            self._person_days(presence)
        for place, (number, people) in enumerate(
            zip(presence.dwell, presence.dwell_people, strict=True)
        ):
            self.cells[f"dwell:{place}"] = Cell(f"dwell:{place}", number, people)

    def _person_days(self, presence: Presence) -> None:
        """The people of every day and the days of every person add up to the same.

        A row of "days per person" that means one number of days counts so often. That nobody came
        on a day is no secret, and bounds how many days anybody came on.
        """
        by_day = [f"people:{bin_}" for bin_ in self.bins]
        total = sum(self.cells[key].value for key in by_day)
        open_days = sum(self.cells[key].value > 0 for key in by_day)
        exact: list[str] = []
        others = 0
        most = (*(edge - 1 for edge in COUNT_EDGES[1:]), open_days)
        for place, number in enumerate(presence.days_per_person):
            if COUNT_EDGES[place] == min(most[place], open_days):
                exact += [f"days:{place}"] * COUNT_EDGES[place]
            else:
                others += number
        rest = total - sum(self.cells[key].value for key in exact)
        self.cells["person-days"] = Cell("person-days", total, presence.people, shown=False)
        self.cells["days:others"] = Cell("days:others", rest, others, shown=False)
        self._add_up("person-days", by_day)
        self._add_up("person-days", [*exact, "days:others"])

    def _add_up(self, total: str, parts: Sequence[str]) -> None:
        for key in (total, *parts):
            self._cell(key)
        self.sums.append(Sum(total, tuple(parts)))

    def _cell(self, key: str, *, shown: bool = True) -> None:
        """What the database did not count is nothing, about nobody."""
        self.cells.setdefault(key, Cell(key, 0, 0, shown))

    def _bin(self, row: Mapping[Any, Any]) -> str:
        return "" if row["bin"] is None else bin_name(row["bin"], self.period.bin_unit)

    def tables(self, shown: Callable[[str], int | None]) -> list[SharedTable]:
        unit = self.period.bin_unit
        names = [bin_label(bin_, unit) for bin_ in self.bins]
        short = [bin_label(bin_, unit, short=True) for bin_ in self.bins]

        def table(
            key: str, title: str, corner: str, columns: Sequence[str],
            rows: Sequence[tuple[str, Sequence[str]]], ticks: Sequence[str] = (),
        ) -> SharedTable:  # fmt: skip
            return SharedTable(
                key, title, corner, tuple(columns),
                tuple((name, tuple(shown(cell) for cell in cells)) for name, cells in rows),
                tuple(ticks) or tuple(name for name, _ in rows),
            )  # fmt: skip

        def by_number(key: str, title: str, corner: str, labels: Sequence[str]) -> SharedTable:
            rows = [(label, [f"{key}:{i}"]) for i, label in enumerate(labels)]
            ticks = [label.replace(" or more", "+").replace("under ", "<") for label in labels]
            what = "Visits" if key == "dwell" else "People"
            return table(key, title, corner, [what], rows, ticks)

        return [
            table(
                "faces-by-day", f"Faces per {unit}", unit.capitalize(), ["Faces"],
                [(name, [f"faces:bin:{b}"]) for name, b in zip(names, self.bins, strict=True)],
                short,
            ),
            table(
                "outcomes", "What was said of the faces", "Outcome", ["Faces"],
                [(name, [f"faces:outcome:{outcome}"]) for outcome, name in OUTCOMES.items()],
            ),
            table(
                "images-by-day", f"Images per {unit}", unit.capitalize(), ["Images"],
                [(name, [f"images:bin:{b}"]) for name, b in zip(names, self.bins, strict=True)],
                short,
            ),
            table(
                "sources", "Images and faces per source", "Source", ["Images", "Faces"],
                [(source, [f"images:source:{place}", f"faces:source:{place}"])
                 for place, source in self.sources.items()],
            ),
            table(
                "newcomers", "New and returning people", unit.capitalize(),
                ["Seen before", "New"],
                [(name, [f"returning:{b}", f"newcomers:{b}"])
                 for name, b in zip(names, self.bins, strict=True)],
                short,
            ),
            by_number("visits", "Visits per person", "Visits", COUNT_NAMES),
            by_number("days", "Days per person", "Days", COUNT_NAMES),
            by_number("companions", "Companions per person", "Companions", COMPANY_NAMES),
            by_number("dwell", "How long visits lasted", "Length", DWELL_NAMES),
            table(
                "hours", "Faces by hour and weekday", "Weekday",
                [f"{hour:02d}:00" for hour in range(24)],
                [(WEEKDAYS[day - 1], [f"faces:{day}:{hour}" for hour in range(24)])
                 for day in self.period.weekdays()],
            ),
        ]  # fmt: skip


def _sources(frames: Mapping[str, pd.DataFrame]) -> dict[int, str]:
    named = {int(r["place"]): r["source"] for r in frames["source_places"].to_dict("records")}
    others = any(place == 0 for place in frames["image_cells"]["place"])
    return {**named, **({0: "all other sources"} if others else {})}


def _weekday(bin_: str) -> int:
    return date.fromisoformat(bin_).isoweekday()
