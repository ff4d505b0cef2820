"""Months of counts: reproducible, and with the faults where they are said to be."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from facecore.errors import UsageError
from facecore.samples.history import VISIT_GAP, hourly_history
from facecore.samples.schedule import CAMERAS

LAST = date(2026, 11, 22)


@pytest.mark.parametrize("last", [date(2026, 11, d) for d in (16, 18, 20, 22)])
def test_the_same_arguments_give_the_same_counts_with_three_faults(last: date) -> None:
    one, other = (hourly_history(last, 5, staff=9) for _ in range(2))
    assert [s.source for s in one.series] == list(CAMERAS)
    for a, b in zip(one.series, other.series, strict=True):
        assert np.array_equal(a.counts, b.counts)
        assert len(a) == 5 * 168
        assert a.at(len(a) - 1).date() == last
    assert [f.kind for f in one.faults] == ["camera_off", "crowd_surge", "clock_error"]
    assert one.faults == other.faults
    end = one.series[0].at(5 * 168)
    assert all(f.start < f.end <= end for f in one.faults)


def test_faults_change_only_their_hours() -> None:
    wrong, right = (hourly_history(LAST, 5, staff=9, faults=f) for f in (True, False))
    assert right.faults == ()
    for a, b in zip(wrong.series, right.series, strict=True):
        differ = {a.at(int(i)) for i in np.flatnonzero(a.counts != b.counts)}
        own = [f for f in wrong.faults if f.source == a.source]
        assert all(any(f.start <= at < f.end for f in own) for at in differ)
        assert bool(differ) == bool(own)
    (off,) = (f for f in wrong.faults if f.kind == "camera_off")
    (entrance,) = (s for s in wrong.series if s.source == off.source)
    assert entrance.counts[entrance.index(off.start) : entrance.index(off.end)].sum() == 0


def test_visits_lie_apart() -> None:
    history = hourly_history(LAST, 5, staff=9)
    assert len(history.visits) == 9
    for person in history.visits:
        assert (person.gaps * 3600 >= VISIT_GAP.total_seconds()).all()


def test_impossible_histories_are_refused() -> None:
    with pytest.raises(UsageError):
        hourly_history(LAST, 0)
    with pytest.raises(UsageError, match="at least 4 weeks"):
        hourly_history(LAST, 2)
    assert hourly_history(LAST, 1, faults=False).faults == ()
