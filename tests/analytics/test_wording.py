from __future__ import annotations

import pytest

from facecore.analytics import wording
from facecore.stages import reasons


def test_every_reason_there_is_has_words() -> None:
    assert set(wording.REASONS) == set(reasons.REASONS)


@pytest.mark.parametrize(
    ("part", "whole", "words"),
    [
        (0, 0, "0 %"),
        (0, 5, "0 %"),
        (5, 5, "100 %"),
        (1, 3, "33.3 %"),
        (1, 1_000_000, "under 0.1 %"),
        (999_999, 1_000_000, "over 99.9 %"),
    ],
)
def test_percent_never_hides_a_remainder(part, whole, words) -> None:
    assert wording.percent(part, whole) == words


def test_numbers_for_people() -> None:
    assert wording.count(1, "copy", "copies") == "1 copy"
    assert wording.count(1204, "copy", "copies") == "1,204 copies"
    assert [wording.number(x) for x in (0, 0.0457, 12.0, 1250.0, 0.00002)] == [
        "0", "0.0457", "12", "1,250", "2e-05",
    ]  # fmt: skip
    assert [wording.compact(x) for x in (400, 10_000, 2_500_000)] == ["400", "10k", "2.5M"]
    assert wording.listing(["a", "b", "c"]) == "a, b and c"


@pytest.mark.parametrize(
    ("name", "unit", "long", "short"),
    [
        ("2026-03-04 14:00", "hour", "4 Mar 14:00", "14:00"),
        ("2026-03-04 00:00", "hour", "4 Mar 00:00", "4 Mar 00:00"),
        ("2026-03-04", "day", "Wed 4 Mar 2026", "4 Mar"),
        ("2026-03", "month", "Mar 2026", "Mar 2026"),
    ],
)
def test_bin_labels(name, unit, long, short) -> None:
    assert wording.bin_label(name, unit) == long
    assert wording.bin_label(name, unit, short=True) == short
