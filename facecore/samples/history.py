"""Months of hourly counts of the sample cameras, with faults planted on known days: no pictures.

The habits are those of `schedule`, spread over a staff of forty that slowly grows, of whom more
or fewer come for days at a time (holidays, a wave of colds, a deadline). What a forecaster must
find stands beside the counts: a camera that was off, a crowd, a wrong clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Literal

import numpy as np

from facecore.errors import UsageError
from facecore.samples.schedule import CAMERAS, HABITS, Habit, Visit, habitual
from facecore.types import Doubles, HourlyCounts, Visits

FaultKind = Literal["camera_off", "crowd_surge", "clock_error"]
_WEEK = timedelta(days=7)
# Who was away for so long and comes back, visits anew.
VISIT_GAP = timedelta(hours=4)
_CROWD = 6.0
_USUAL_ATTENDANCE, _SWING, _PERSISTENCE = 0.8, 0.15, 0.9
_LEAST_WEEKS_FOR_FAULTS = 4


@dataclass(frozen=True, slots=True)
class PlantedFault:
    """Something wrong in the counts of one source.

    Attributes:
        start, end: the hours `[start, end)` that are wrong, on the wall clock.
    """

    kind: FaultKind
    source: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class History:
    """Counts per camera and hour, visits per person, and what is wrong with them."""

    series: tuple[HourlyCounts, ...]
    visits: tuple[Visits, ...]
    faults: tuple[PlantedFault, ...]


def hourly_history(
    last: date, weeks: int = 16, *, seed: int = 20, staff: int = 40, faults: bool = True
) -> History:
    """Faces per camera and hour of `weeks` whole weeks up to and including the day `last`.

    The same arguments give the same counts. Faults lie in the last two weeks: the entrance is
    off from a Tuesday 9:00 for 30 hours, a crowd of six times the usual is in the cafeteria on
    a Thursday from 11:00 to 14:00, the lobby's clock is 6 hours fast from a Wednesday 0:00 for
    two days.

    Raises:
        UsageError: less than one week, nobody on the staff, or too short for the faults.
    """
    if weeks < 1 or staff < 1:
        raise UsageError(f"a history needs a week and a person, not {weeks} and {staff}.")
    if faults and weeks < _LEAST_WEEKS_FOR_FAULTS:
        raise UsageError(f"faults are planted in at least {_LEAST_WEEKS_FOR_FAULTS} weeks.")
    rng = np.random.default_rng([seed, 7])
    first = last - timedelta(days=7 * weeks - 1)
    start = datetime.combine(first, datetime.min.time())
    seen = _sightings(first, weeks, staff, rng)
    hours = 7 * 24 * weeks
    counts = {camera: np.zeros(hours, np.float64) for camera in CAMERAS}
    for visit in seen:
        at = visit.at.replace(tzinfo=None)
        counts[visit.camera][int((at - start).total_seconds() // 3600)] += len(visit.people)
    planted = _plant(counts, start, hours, rng) if faults else ()
    series = tuple(HourlyCounts(camera, start, counts[camera]) for camera in CAMERAS)
    return History(series, _visits(seen), planted)


def _sightings(first: date, weeks: int, staff: int, rng: np.random.Generator) -> list[Visit]:
    found: list[Visit] = []
    attendance = _attendance(7 * weeks, rng)
    templates = list(HABITS.values())
    for number in range(staff):
        habits = _own(templates[number % len(templates)], rng)
        # Nine in ten are there from the beginning, the others join in the course of time.
        joined = 0 if number < 0.9 * staff else int(rng.integers(1, max(2, weeks)))
        name = f"member-{number:02d}"
        for day in range(7 * joined, 7 * weeks):
            if rng.random() >= attendance[day]:
                continue
            found += habitual(first + timedelta(days=day), name, habits, rng)
    return sorted(found, key=lambda visit: (visit.at, visit.camera, visit.people))


def _attendance(days: int, rng: np.random.Generator) -> Doubles:
    """Share of the staff who come, for each day: what is so today is nearly so tomorrow."""
    level, levels = 0.0, np.zeros(days)
    for day in range(days):
        level = _PERSISTENCE * level + rng.normal(0, _SWING * np.sqrt(1 - _PERSISTENCE**2))
        levels[day] = level
    share: Doubles = np.clip(_USUAL_ATTENDANCE + levels, 0.2, 1.0)
    return share


def _own(habits: Sequence[Habit], rng: np.random.Generator) -> tuple[Habit, ...]:
    """A person's own form of some habits: earlier or later, more or less reliable."""
    shift = float(np.clip(rng.normal(0, 0.75), -2, 1.5))
    return tuple(
        replace(
            habit,
            hour=habit.hour + shift,
            minutes=habit.minutes * 1.5,
            chance=min(1.0, habit.chance * float(rng.uniform(0.6, 1.0))),
        )
        for habit in habits
    )


def _visits(seen: Sequence[Visit]) -> tuple[Visits, ...]:
    """Per person the beginnings of visits: the first sighting after an absence."""
    began: dict[str, list[datetime]] = {}
    last: dict[str, datetime] = {}
    for visit in seen:
        at = visit.at.replace(tzinfo=None)
        for person in visit.people:
            if person not in last or at - last[person] >= VISIT_GAP:
                began.setdefault(person, []).append(at)
            last[person] = at
    return tuple(Visits(person, tuple(times)) for person, times in sorted(began.items()))


def _plant(
    counts: dict[str, Doubles], start: datetime, hours: int, rng: np.random.Generator
) -> tuple[PlantedFault, ...]:
    end = start + timedelta(hours=hours)

    def day(weekday: int, weeks_back: int) -> datetime:
        """The newest such weekday that is wholly inside, so many weeks back."""
        newest = end - timedelta(days=1)
        newest -= timedelta(days=(newest.weekday() - weekday) % 7)
        return newest - weeks_back * _WEEK

    def fault(kind: FaultKind, source: str, begin: datetime, length: int) -> PlantedFault:
        return PlantedFault(kind, source, begin, min(end, begin + timedelta(hours=length)))

    off = fault("camera_off", "entrance", day(1, 1) + timedelta(hours=9), 30)
    crowd = fault("crowd_surge", "cafeteria", day(3, 1) + timedelta(hours=11), 3)
    clock = fault("clock_error", "lobby", day(2, 0), 48)
    for one in (off, crowd, clock):
        values = counts[one.source]
        low, high = (int((t - start).total_seconds() // 3600) for t in (one.start, one.end))
        if one.kind == "camera_off":
            values[low:high] = 0
        elif one.kind == "crowd_surge":
            values[low:high] = rng.poisson(np.maximum(values[low:high], 2.0) * _CROWD)
        else:  # what happened at one hour is booked six hours later
            values[low:high] = np.roll(values[low:high], 6)
    return (off, crowd, clock)
