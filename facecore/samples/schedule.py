"""Who is in front of which camera when: two weeks of a small office.

Three members of staff with habits, one visitor whom nobody enrolled, and cameras that sometimes
trigger on nothing. Everything follows from the seed and the days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import numpy as np

CAMERAS = ("entrance", "lobby", "car-park", "cafeteria")
WEEKDAYS = frozenset(range(5))


@dataclass(frozen=True, slots=True)
class Visit:
    """Some people in front of one camera at one moment.

    Attributes:
        at: UTC, whole seconds.
        camera: one of `CAMERAS`.
        people: names, from left to right; empty when the camera triggered on nothing.
        far: too far away for anybody to say who it is.
    """

    at: datetime
    camera: str
    people: tuple[str, ...] = ()
    far: bool = False


@dataclass(frozen=True, slots=True)
class Habit:
    """On `days` (Monday is 0), around `hour` ± `minutes`, with a chance; seen `shots` times."""

    camera: str
    days: frozenset[int]
    hour: float
    minutes: float
    chance: float
    shots: int = 1


@dataclass(frozen=True, slots=True)
class Meeting:
    """People together in one frame on `days`."""

    camera: str
    days: frozenset[int]
    hour: float
    people: tuple[str, ...]
    chance: float


HABITS: dict[str, tuple[Habit, ...]] = {
    "Barack Obama": (  # early, every weekday
        Habit("car-park", WEEKDAYS, 7.6, 12, 0.9, 2),
        Habit("entrance", WEEKDAYS, 7.8, 12, 1.0, 2),
        Habit("lobby", WEEKDAYS, 10.5, 50, 0.8, 2),
        Habit("cafeteria", WEEKDAYS, 12.3, 15, 0.9, 2),
        Habit("lobby", WEEKDAYS, 15.2, 50, 0.8, 2),
        Habit("entrance", WEEKDAYS, 17.6, 20, 1.0),
    ),
    "Joe Biden": (  # nine to five, likes the cafeteria
        Habit("entrance", WEEKDAYS, 8.9, 8, 1.0, 2),
        Habit("cafeteria", WEEKDAYS, 10.2, 15, 0.8, 2),
        Habit("lobby", WEEKDAYS, 13.4, 40, 0.8, 2),
        Habit("cafeteria", WEEKDAYS, 15.9, 25, 0.7, 2),
        Habit("entrance", WEEKDAYS, 17.1, 8, 0.9),
        Habit("car-park", WEEKDAYS, 17.2, 8, 0.9, 2),
    ),
    "Eileen Collins": (  # late shift from Tuesday to Thursday, and on call at the weekend
        Habit("entrance", frozenset({1, 2, 3}), 13.8, 10, 1.0, 2),
        Habit("lobby", frozenset({1, 2, 3}), 16.5, 60, 0.9, 3),
        Habit("cafeteria", frozenset({1, 2, 3}), 19.0, 20, 1.0, 3),
        Habit("car-park", frozenset({1, 2, 3}), 21.7, 10, 1.0, 2),
        Habit("entrance", frozenset({5, 6}), 10.0, 30, 0.8, 2),
        Habit("lobby", frozenset({5, 6}), 11.5, 60, 0.9, 2),
    ),
}
_MEETINGS = (
    Meeting("cafeteria", frozenset({0, 2, 4}), 12.6, ("Barack Obama", "Joe Biden"), 0.9),
    Meeting("lobby", frozenset({1, 3}), 14.3, ("Joe Biden", "Eileen Collins"), 0.9),
    Meeting("entrance", frozenset({2}), 16.0, ("Barack Obama", "Eileen Collins"), 1.0),
    Meeting("lobby", frozenset({3}), 15.0, ("Barack Obama", "Joe Biden", "Eileen Collins"), 1.0),
)
VISITOR = "Grace Hopper"
_VISITOR_HOURS = (("entrance", 10.1), ("lobby", 10.2), ("lobby", 10.6), ("cafeteria", 11.2))
_FAR_CHANCE = {"entrance": 0.08, "lobby": 0.08, "car-park": 0.35, "cafeteria": 0.05}
_EMPTY_PER_DAY = 2


def visits(last: date, days: int, rng: np.random.Generator) -> list[Visit]:
    """All visits of `days` days up to and including `last`, in order of time."""
    dates = [last - timedelta(days=back) for back in range(days - 1, -1, -1)]
    found: list[Visit] = []
    for day in dates:
        for person, habits in HABITS.items():
            found += habitual(day, person, habits, rng)
        for meeting in _MEETINGS:
            if day.weekday() in meeting.days and rng.random() < meeting.chance:
                people = tuple(rng.permutation(list(meeting.people)).tolist())
                found.append(Visit(_moment(day, meeting.hour, 6, rng), meeting.camera, people))
        for _ in range(_EMPTY_PER_DAY):
            camera = CAMERAS[rng.integers(len(CAMERAS))]
            found.append(Visit(_moment(day, rng.uniform(0.5, 23), 20, rng), camera))
    found += _visitor(dates, rng)
    return _one_per_second(sorted(found, key=lambda visit: (visit.at, visit.camera)))


def habitual(
    day: date, person: str, habits: Sequence[Habit], rng: np.random.Generator
) -> list[Visit]:
    """The visits of a person with these habits on one day."""
    found = []
    for habit in habits:
        if day.weekday() not in habit.days or rng.random() >= habit.chance:
            continue
        start = _moment(day, habit.hour, habit.minutes, rng)
        far = bool(rng.random() < _FAR_CHANCE[habit.camera])
        for shot in range(habit.shots):
            at = start + timedelta(seconds=int(rng.integers(2, 9)) * shot)
            found.append(Visit(at, habit.camera, (person,), far and shot == 0))
    return found


def _visitor(dates: Sequence[date], rng: np.random.Generator) -> list[Visit]:
    """Two visits, each followed over several cameras, and once the car park at night."""
    working = [day for day in dates if day.weekday() in WEEKDAYS] or list(dates)
    days = {working[len(working) // 4], working[(2 * len(working)) // 3]}
    found = [
        Visit(_moment(day, hour, 5, rng) + timedelta(seconds=4 * shot), camera, (VISITOR,))
        for day in sorted(days)
        for camera, hour in _VISITOR_HOURS
        for shot in range(2)
    ]
    night = _moment(dates[-2 if len(dates) > 1 else -1], 2.2, 10, rng)
    return [*found, Visit(night, "car-park", (VISITOR,))]


def _moment(day: date, hour: float, minutes: float, rng: np.random.Generator) -> datetime:
    seconds = int(hour * 3600 + np.clip(rng.normal(0, minutes / 2), -minutes, minutes) * 60)
    midnight = datetime.combine(day, time(), UTC)
    return midnight + timedelta(seconds=int(np.clip(seconds, 0, 86_399)))


def _one_per_second(ordered: Sequence[Visit]) -> list[Visit]:
    """A camera takes one frame a second: later ones of the same second are dropped."""
    taken: set[tuple[str, datetime]] = set()
    kept: list[Visit] = []
    for visit in ordered:
        if (visit.camera, visit.at) not in taken:
            taken.add((visit.camera, visit.at))
            kept.append(visit)
    return kept
