"""The numbers an activity report of a sample stream must state, from what is true of it.

Pure functions over the truth and the report's JSON, so that the demo and the tests state the same
figures. What pictures and files are counted must be exact. What rests on faces has a range: from
those that must be recognised to all that are there, because of people far away nothing is
expected, and clustering may or may not have made people of the unknown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import combinations, pairwise
from typing import Any

from facecore.samples.comparison import Row
from facecore.samples.ground_truth import ExpectedImage, GroundTruth

TOLERANCE = 0.05

Seen = Mapping[str, Sequence[datetime]]


def compare_report(
    truth: GroundTruth, report: Mapping[str, Any], *, tolerance: float = TOLERANCE
) -> tuple[Row, ...]:
    """Hold the report of exactly the stream's days (in UTC) against the truth.

    Args:
        report: the JSON of an activity report.
        tolerance: share by which numbers that rest on faces may leave their range.
    """
    totals, presence = report["totals"], report["presence"]
    distinct = truth.distinct
    certain = _seen(distinct, lambda face: face.identifiable and face.enrolled)
    possible = _seen(distinct, lambda _: True)
    gap = timedelta(seconds=presence["visit_gap_s"])
    width = len(report["bins"][0])
    clear = sum(face.identifiable for image in distinct for face in image.faces)
    every = sum(len(image.faces) for image in distinct)
    named = sum(len(moments) for moments in certain.values())
    known = sum(face.enrolled for image in distinct for face in image.faces)

    def between(name: str, low: float, high: float, found: float) -> Row:
        ok = low * (1 - tolerance) <= found <= high * (1 + tolerance)
        words = f"{low:,} to {high:,}" + (f" ± {tolerance:.0%}" if tolerance else "")
        return Row(f"report: {name}", low, found, ok, words)

    return (
        _exact("deliveries", len(truth.images), totals["sightings"]),
        _exact("distinct images", len(distinct), totals["images"]),
        _exact("exact copies", len(truth.images) - len(distinct), totals["exact_duplicates"]),
        _exact("quarantined", sum(_bad(i) for i in distinct), totals["quarantined"]),
        _series("deliveries per source", Counter(i.source for i in truth.images),
                {one["source"]: one["sightings"] for one in report["sources"]}),
        _series("deliveries per day", Counter(_day(i) for i in truth.images),
                _per_day(report["bins"], _added(report["arrivals"], "sightings"))),
        _series("images per day", Counter(_day(i) for i in distinct),
                _per_day(report["bins"], presence["images"])),
        _series("quarantined per day", Counter(_day(i) for i in distinct if _bad(i)),
                _per_day(report["bins"], presence["quarantined"])),
        _series("images per weekday and hour", Counter(_hour(i) for i in distinct),
                _heat(report["heat"])),
        _series("images per source, weekday and hour",
                Counter((i.source, *_hour(i)) for i in distinct),
                {(one["source"], *at): n for one in presence["heats"]
                 for at, n in _heat(one["rows"]).items()}),
        between("faces", clear, every, totals["faces"]),
        between("recognised faces", named, known, totals["accept"]),
        between("people", len(certain), len(possible), presence["people"]),
        between("visits", *_ordered(_visits(certain, gap), _visits(possible, gap)),
                presence["visits"]),
        between("people per time bin, added up",
                _bins(certain, width), _bins(possible, width),
                sum(presence["newcomers_by_bin"]) + sum(presence["returning_by_bin"])),
        between("pictures of two people together", _pairs(distinct, certain_only=True),
                _pairs(distinct, certain_only=False),
                sum(pair["images"] for pair in presence["pairs"])),
    )  # fmt: skip


def _seen(images: Iterable[ExpectedImage], counts: Callable[[Any], bool]) -> Seen:
    """Person → capture times of the distinct images that show the person."""
    found: dict[str, list[datetime]] = {}
    for image in images:
        for person in {face.person for face in image.faces if counts(face)}:
            if image.captured_at is not None:
                found.setdefault(person, []).append(image.captured_at)
    return found


def _visits(seen: Seen, gap: timedelta) -> int:
    return sum(
        1 + sum(later - earlier > gap for earlier, later in pairwise(at))
        for at in (sorted(moments) for moments in seen.values())
    )


def _bins(seen: Seen, width: int) -> int:
    """In how many time bins each person was seen; bins are named by the first characters."""
    return sum(
        len({f"{at.astimezone(UTC):%Y-%m-%d %H:00}"[:width] for at in moments})
        for moments in seen.values()
    )


def _pairs(images: Iterable[ExpectedImage], *, certain_only: bool) -> int:
    return sum(
        len(list(combinations({f.person for f in image.faces
                               if not certain_only or (f.identifiable and f.enrolled)}, 2)))
        for image in images
    )  # fmt: skip


def _exact(name: str, expected: int, found: int) -> Row:
    return Row(f"report: {name}", expected, found, expected == found)


def _series(name: str, expected: Mapping[Any, int], found: Mapping[Any, int]) -> Row:
    """Every number of a series: how many differ, of how many."""
    wrong = sum(expected.get(key, 0) != found.get(key, 0) for key in {*expected, *found})
    cells = len({*expected, *found})
    return Row(f"report: {name}", cells, cells - wrong, wrong == 0)


def _per_day(bins: Sequence[str], numbers: Sequence[int]) -> dict[str, int]:
    """Numbers per time bin, added up to days."""
    found: Counter[str] = Counter()
    for name, number in zip(bins, numbers, strict=True):
        found[name[:10]] += number
    return {day: number for day, number in found.items() if number}


def _added(series: Sequence[Mapping[str, Any]], key: str) -> list[int]:
    return [sum(column) for column in zip(*(one[key] for one in series), strict=True)]


def _heat(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[int, int], int]:
    return {
        (row["weekday"], hour): images
        for row in rows
        for hour, images in enumerate(row["images"])
        if images
    }


def _ordered(one: int, other: int) -> tuple[int, int]:
    return min(one, other), max(one, other)


def _bad(image: ExpectedImage) -> bool:
    return image.status == "quarantined"


def _at(image: ExpectedImage) -> datetime:
    if image.captured_at is None:
        raise ValueError(f"{image.key} has no capture time")
    return image.captured_at.astimezone(UTC)


def _day(image: ExpectedImage) -> str:
    return f"{_at(image):%Y-%m-%d}"


def _hour(image: ExpectedImage) -> tuple[int, int]:
    return _at(image).isoweekday(), _at(image).hour
