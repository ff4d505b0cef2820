from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from facecore.analytics.period import Period
from facecore.errors import ConfigError, UsageError


@pytest.mark.parametrize(
    ("days", "unit", "bins", "first", "last"),
    [
        (1, "hour", 24, "2026-03-01 00:00", "2026-03-01 23:00"),
        (14, "day", 14, "2026-03-01", "2026-03-14"),
        (800, "month", 27, "2026-03", "2028-05"),
    ],
)
def test_bins_cover_the_period_without_holes(days, unit, bins, first, last) -> None:
    period = Period.days(date(2026, 3, 1), days)
    names = period.bins()
    assert (period.bin_unit, len(names), names[0], names[-1]) == (unit, bins, first, last)
    assert len(set(names)) == len(names)


def test_days_of_a_clock_change_are_whole_days() -> None:
    spring = Period.days(date(2026, 3, 29), 1, "Europe/Berlin")
    assert spring.end.astimezone(UTC) - spring.start.astimezone(UTC) == timedelta(hours=23)
    month = Period.days(date(2026, 3, 1), 31, "Europe/Berlin")
    assert month.bins()[-1] == "2026-03-31"
    assert len(month.bins()) == 31


def test_weekdays_count_dates() -> None:
    assert Period.days(date(2026, 3, 1), 14).weekdays() == dict.fromkeys(range(1, 8), 2)
    assert Period.days(date(2026, 3, 1), 9).weekdays() == {
        1: 2, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1, 7: 2,
    }  # fmt: skip
    assert Period.days(date(2026, 3, 3)).weekdays() == {2: 1}


@pytest.mark.parametrize(
    ("first", "days", "words"),
    [
        (date(2026, 3, 3), 1, "Tuesday, 3 March 2026 (UTC)"),
        (date(2026, 3, 1), 14, "1–14 March 2026 (UTC)"),
        (date(2026, 2, 20), 14, "20 February – 5 March 2026 (UTC)"),
        (date(2025, 12, 30), 4, "30 December 2025 – 2 January 2026 (UTC)"),
    ],
)
def test_period_in_words(first, days, words) -> None:
    assert Period.days(first, days).describe() == words


def test_wrong_periods_are_refused() -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    with pytest.raises(UsageError, match="ends before"):
        Period(start, start)
    with pytest.raises(UsageError, match="UTC offsets"):
        Period(start.replace(tzinfo=None), start)
    with pytest.raises(ConfigError, match="Mars/Olympus"):
        Period(start, start + timedelta(days=1), "Mars/Olympus")
