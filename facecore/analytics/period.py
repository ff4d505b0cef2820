"""The time a report covers, and the bins its time axes use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from facecore.errors import ConfigError, UsageError

BinUnit = Literal["hour", "day", "month"]

_HOURLY_UP_TO = timedelta(days=3)
_DAILY_UP_TO = timedelta(days=400)


@dataclass(frozen=True, slots=True)
class Period:
    """The half-open time `[start, end)`, read in one timezone.

    Raises:
        UsageError: a bound has no UTC offset, or the period is empty or reversed.
        ConfigError: the timezone is unknown.
    """

    start: datetime
    end: datetime
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise UsageError(f"the period {self.start} … {self.end} needs UTC offsets.")
        if self.start >= self.end:
            raise UsageError(f"the period {self.start} … {self.end} ends before it begins.")
        _zone(self.timezone)

    @classmethod
    def days(cls, first: date, count: int = 1, timezone: str = "UTC") -> Period:
        """`count` whole calendar days of `timezone`, beginning with `first`."""
        zone = _zone(timezone)
        return cls(
            datetime.combine(first, time(), zone),
            datetime.combine(first + timedelta(days=count), time(), zone),
            timezone,
        )

    @property
    def local_start(self) -> datetime:
        """The first moment, on the wall clock of the timezone (naive)."""
        return self.start.astimezone(_zone(self.timezone)).replace(tzinfo=None)

    @property
    def local_end(self) -> datetime:
        """The moment after the last one, on the wall clock of the timezone (naive)."""
        return self.end.astimezone(_zone(self.timezone)).replace(tzinfo=None)

    def before(self) -> Period:
        """The period of as many days right before."""
        days = (self.local_end.date() - self.local_start.date()).days or 1
        first = self.local_start.date() - timedelta(days=days)
        earlier = Period.days(first, days, self.timezone)
        return Period(earlier.start, self.start, self.timezone)

    @property
    def bin_unit(self) -> BinUnit:
        """How fine the time axes are: hours up to 3 days, days up to 400, then months."""
        length = self.end - self.start
        if length <= _HOURLY_UP_TO:
            return "hour"
        return "day" if length <= _DAILY_UP_TO else "month"

    def bins(self) -> tuple[str, ...]:
        """Name of every bin of the time axis in order, also of those in which nothing happened."""
        unit = self.bin_unit
        at = _floor(self.local_start, unit)
        names = []
        while at < self.local_end:
            names.append(bin_name(at, unit))
            at = _next(at, unit)
        return tuple(names)

    def weekdays(self) -> dict[int, int]:
        """ISO weekday (1 = Monday) → on how many dates of the period it falls."""
        day, last = self.local_start.date(), (self.local_end - timedelta(microseconds=1)).date()
        weeks, rest = divmod((last - day).days + 1, 7)
        counts = dict.fromkeys(range(1, 8), weeks) if weeks else {}
        for offset in range(rest):
            number = (day + timedelta(days=offset)).isoweekday()
            counts[number] = counts.get(number, 0) + 1
        return dict(sorted(counts.items()))

    def describe(self) -> str:
        """The period in words, e.g. `1–14 March 2026 (UTC)`."""
        start, end = self.local_start, self.local_end
        if start.time() != time() or end.time() != time():
            return f"{start:%-d %B %Y %H:%M} – {end:%-d %B %Y %H:%M} ({self.timezone})"
        last = end - timedelta(days=1)
        if start.date() == last.date():
            words = f"{start:%A}, {start:%-d %B %Y}"
        elif (start.year, start.month) == (last.year, last.month):
            words = f"{start.day}–{last:%-d %B %Y}"
        elif start.year == last.year:
            words = f"{start:%-d %B} – {last:%-d %B %Y}"
        else:
            words = f"{start:%-d %B %Y} – {last:%-d %B %Y}"
        return f"{words} ({self.timezone})"


def bin_name(at: datetime, unit: BinUnit) -> str:
    """How a bin that begins at local time `at` is called, sortable: `2026-03-01` for a day."""
    return at.strftime({"hour": "%Y-%m-%d %H:00", "day": "%Y-%m-%d", "month": "%Y-%m"}[unit])


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, IsADirectoryError):
        raise ConfigError(
            f"unknown timezone {name!r}.", remedy="Use an IANA name such as Europe/Berlin."
        ) from None


def _floor(at: datetime, unit: BinUnit) -> datetime:
    at = at.replace(minute=0, second=0, microsecond=0)
    if unit == "hour":
        return at
    at = at.replace(hour=0)
    return at if unit == "day" else at.replace(day=1)


def _next(at: datetime, unit: BinUnit) -> datetime:
    if unit == "month":
        return (at.replace(day=1) + timedelta(days=32)).replace(day=1)
    return at + (timedelta(hours=1) if unit == "hour" else timedelta(days=1))
