"""The shared report: what is withheld is nowhere in it, and its page says so."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linprog

from facecore.analytics import presence, shared, shared_report
from facecore.analytics.period import Period
from facecore.analytics.presence import Presence
from facecore.analytics.shared import SharedReport
from facecore.errors import UsageError

WEEK = Period.days(date(2026, 3, 2), 7)
SMALL = 987_651  # a number that must not be found anywhere


@pytest.fixture
def present(frames) -> Presence:
    """A week with fifteen people, two of them new."""
    first = datetime(2026, 3, 2)
    for name in ("newcomers", "quarantine_trend", "image_trend", "face_trend", "score_trend"):
        frames[name] = frames[name].iloc[:0]
    frames["newcomers"] = pd.DataFrame(
        [(first, 2, 13), (first + timedelta(days=1), 0, 15)],
        columns=["bin", "newcomers", "returning"],
    )
    for name, column in (
        ("visits_per_person", 3), ("days_per_person", 2), ("companions", 1),
    ):  # fmt: skip
        frames[name] = pd.DataFrame([(column, 15)], columns=["bucket", "people"])
    frames["presence"] = pd.DataFrame(
        [(15, 2, 60, 10, 0)], columns=["people", "newcomers", "visits", "seen_once", "crowded"]
    )
    return presence.summarise(frames, WEEK, 1800)


def cells(small: int, hostile: str) -> dict[str, pd.DataFrame]:
    """Two days, two sources, two hours; one of each is about two people only."""
    names = ["level", "bin", "outcome", "place", "weekday", "hour", "value", "people"]
    monday, tuesday = datetime(2026, 3, 2), datetime(2026, 3, 3)
    large = 2_000_001
    rows = [
        ("all", None, None, None, None, None, large + small, 15),
        ("bin", monday, None, None, None, None, large, 14),
        ("bin", tuesday, None, None, None, None, small, 2),
        ("outcome", None, "accept", None, None, None, large + small, 15),
        ("source", None, None, 1, None, None, large, 13),
        ("source", None, None, 2, None, None, small, 2),
        ("weekday", None, None, None, 1, None, large, 14),
        ("weekday", None, None, None, 2, None, small, 2),
        ("weekday-hour", None, None, None, 1, 9, large, 14),
        ("weekday-hour", None, None, None, 2, 9, small, 2),
    ]
    images = [(*row[:2], row[3], *row[6:]) for row in rows if row[0] in ("all", "bin", "source")]
    return {
        "face_cells": pd.DataFrame(rows, columns=names, dtype=object),
        "image_cells": pd.DataFrame(
            images, columns=["level", "bin", "place", "value", "people"], dtype=object
        ),
        "source_places": pd.DataFrame(
            [(1, "gate"), (2, hostile)], columns=["place", "source"], dtype=object
        ),
    }


@pytest.fixture
def report(present: Presence, hostile) -> SharedReport:
    return shared.summarise(
        cells(SMALL, hostile[0]), present, period=WEEK, quarantined=3, k=5, code_version="0.1.0"
    )


def test_a_small_number_is_nowhere(report: SharedReport) -> None:
    rendered = shared_report.render(report)
    for text in (rendered.html, rendered.json):
        # Plotly's own script has long numbers, but not this one.
        assert str(SMALL) not in text
        assert f"{SMALL:,}" not in text
    assert report.people == 15
    assert report.newcomers is None  # two people
    assert report.returning is None  # fifteen minus it
    # Monday would give Tuesday away, because the total is known from other tables.
    days = dict(next(t for t in report.tables if t.key == "faces-by-day").rows)
    assert [value for values in days.values() for value in values].count(None) >= 2


def test_the_page_says_what_is_withheld_and_names_nobody(
    report: SharedReport, read, hostile
) -> None:
    rendered = shared_report.render(report)
    assert rendered == shared_report.render(report)
    page = read(rendered.html)
    text = " ".join(page.texts)
    assert f"{report.withheld:,} of {report.cells:,} numbers are withheld" in text
    assert "withheld" in [cell for row in page.tables["New and returning people"] for cell in row]
    assert "everything withheld: faces per day" in text
    assert hostile[1] not in rendered.html
    assert "alert('source')" not in "".join(page.scripts)
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    numbers = json.loads(rendered.json)
    assert numbers["schema"] == shared.SCHEMA
    assert numbers["newcomers"] is None


@pytest.mark.parametrize("seed", range(8))
def test_the_days_of_people_do_not_follow_from_the_people_of_days(frames, hostile, seed) -> None:
    """A place that is open on two days or three: who came on how many days would follow."""
    rng = np.random.default_rng(seed)
    came = np.zeros((40, 7), bool)
    came[:, 5:] = rng.random((40, 2)) < 0.5
    came[:, 2] = (rng.random(40) < 0.2) & bool(seed % 2)
    came = came[came.any(1)]
    days = np.bincount(came.sum(1), minlength=4)
    at = [(datetime(2026, 3, 2) + timedelta(days=d), 0, int(came[:, d].sum())) for d in range(7)]
    for name in ("quarantine_trend", "image_trend", "face_trend", "score_trend"):
        frames[name] = frames[name].iloc[:0]
    frames["newcomers"] = pd.DataFrame(
        [row for row in at if row[2]], columns=["bin", "newcomers", "returning"]
    )
    for name in ("visits_per_person", "days_per_person", "companions"):
        frames[name] = pd.DataFrame(
            [(n, int(days[n])) for n in (1, 2, 3) if days[n]], columns=["bucket", "people"]
        )
    totals = {"people": len(came), "newcomers": 0, "visits": 60, "seen_once": 10, "crowded": 0}
    frames["presence"] = pd.DataFrame([totals])
    report = shared.summarise(
        cells(SMALL, hostile[0]), presence.summarise(frames, WEEK, 1800),
        period=WEEK, quarantined=0, k=9, code_version="0.1.0",
    )  # fmt: skip
    tables = {table.key: table.rows for table in report.tables}
    shown = [values[0] for _, values in tables["days"]]
    people = [values[0] for _, values in tables["newcomers"]]
    assert all(value is None or value == 0 or value >= 9 for value in shown)
    if None in shown:  # otherwise there is nothing to work out
        # unknown: people on one, two, three days, and people of the days that are withheld
        hidden = [place for place, value in enumerate(people) if value is None]
        rows = [[1, 1, 1, *(0 for _ in hidden)], [1, 2, 3, *(-1 for _ in hidden)]]
        right = [report.people, sum(value or 0 for value in people)]
        if report.people is None:
            rows, right = rows[1:], right[1:]
        limits = [(0, None) if v is None else (v, v) for v in shown[:3]] + [(0, None)] * len(hidden)
        for place in (p for p in range(3) if shown[p] is None and 0 < days[p + 1] < 9):
            aim = np.zeros(len(limits))
            aim[place] = 1
            low = linprog(aim, A_eq=rows, b_eq=right, bounds=limits)
            high = linprog(-aim, A_eq=rows, b_eq=right, bounds=limits)
            assert high.status == 3 or -high.fun - low.fun > 0.5, f"{place + 1} days: {low.fun}"


def test_less_than_a_week_is_not_shared(present: Presence, hostile) -> None:
    with pytest.raises(UsageError, match="at least 7 days"):
        shared.summarise(
            cells(SMALL, hostile[0]), present, period=Period.days(date(2026, 3, 2), 6),
            quarantined=0, k=5, code_version="0.1.0",
        )  # fmt: skip
