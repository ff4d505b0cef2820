"""Who comes when."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, timedelta

import numpy as np
import pytest

from facecore.samples.schedule import CAMERAS, VISITOR, visits

LAST = date(2026, 3, 1)


@pytest.mark.parametrize("shift", range(7))
def test_two_weeks_are_plausible_whatever_day_they_end(shift: int) -> None:
    last = LAST + timedelta(days=shift)
    found = visits(last, 14, np.random.default_rng(3))
    assert 290 <= len(found) <= 360
    assert {v.at.date() for v in found} == {last - timedelta(days=d) for d in range(14)}
    assert {v.camera for v in found} == set(CAMERAS)
    assert all(v.at.tzinfo is UTC and v.at.microsecond == 0 for v in found)
    assert len({(v.camera, v.at) for v in found}) == len(found)
    assert [v.at for v in found] == sorted(v.at for v in found)
    assert any(not v.people for v in found)
    assert any(len(v.people) == 3 for v in found)
    assert any(v.far for v in found)
    by_person = Counter(p for v in found for p in v.people)
    assert by_person[VISITOR] == min(by_person.values()) == 17
    assert not [v for v in found if "Joe Biden" in v.people and v.at.weekday() > 4]


def test_the_seed_decides_and_nothing_else() -> None:
    one, same, other = (visits(LAST, 5, np.random.default_rng(s)) for s in (1, 1, 2))
    assert one == same
    assert one != other


def test_a_single_day_works() -> None:
    found = visits(LAST, 1, np.random.default_rng(1))
    assert {v.at.date() for v in found} == {LAST}
    assert any(VISITOR in v.people for v in found)
