"""Who was there: newcomers, visits, dwell, company and trends, as values. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from facecore.analytics.activity_report import HeatRow
from facecore.analytics.period import Period, bin_name
from facecore.errors import ShapeError

# Seconds; a visit of a single moment has no length and is counted apart.
DWELL_EDGES: tuple[float, ...] = (60, 300, 900, 3600, 14400)
DWELL_NAMES = ("under 1 min", "1–5 min", "5–15 min", "15–60 min", "1–4 h", "4 h or more")
COUNT_EDGES: tuple[int, ...] = (1, 2, 3, 6, 11, 21)
COUNT_NAMES = ("1", "2", "3–5", "6–10", "11–20", "21 or more")
COMPANY_NAMES = ("nobody", *COUNT_NAMES)

# What is followed over time: key in the quality JSON → title and unit.
IMAGE_TRENDS = {
    "sharpness": ("Sharpness of images", "ratio"),
    "brightness": ("Brightness of images", "mean grey value"),
    "contrast": ("Contrast of images", "standard deviation of grey values"),
}
FACE_TRENDS = {
    "score": ("Quality of faces", "0–1"),
    "inter_eye_px": ("Distance between the eyes", "pixels"),
}
SCORES = {
    True: ("Scores of accepted faces", "cosine similarity"),
    False: ("Best scores of other faces", "cosine similarity"),
}

_COLUMNS = {
    "presence": "people newcomers visits seen_once crowded",
    "newcomers": "bin newcomers returning",
    "visits_per_person": "bucket people",
    "days_per_person": "bucket people",
    "companions": "bucket people",
    "dwell": "bucket visits people",
    "stays": "source stays people seen_once median_s p90_s",
    "pairs": "a a_label b b_label images",
    "source_hours": "source weekday hour images faces",
    "quarantine_trend": "bin images quarantined",
    "image_trend": "bin metric n q25 q50 q75",
    "face_trend": "bin metric n q25 q50 q75",
    "score_trend": "bin accepted n q25 q50 q75",
}


@dataclass(frozen=True, slots=True)
class Stays:
    """How long people stayed at one source; None adds up those that are not listed.

    `median_s` and `p90_s` are of stays of more than one moment; None where there was none.
    """

    source: str | None
    stays: int
    people: int
    seen_once: int
    median_s: float | None
    p90_s: float | None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two people and how many pictures show both. Ids tell namesakes apart."""

    a: int
    a_label: str
    b: int
    b_label: str
    images: int


@dataclass(frozen=True, slots=True)
class Trend:
    """Quartiles of one number per time bin; None where nothing was measured."""

    key: str
    title: str
    unit: str
    counts: tuple[int, ...]
    q25: tuple[float | None, ...]
    q50: tuple[float | None, ...]
    q75: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class SourceHeat:
    """Faces and images of one source by hour and weekday."""

    source: str
    rows: tuple[HeatRow, ...]


@dataclass(frozen=True, slots=True)
class Presence:
    """Who was there. One number per bin or per name of the bins, see the constants above.

    Attributes:
        people: seen at least once; `newcomers` of them were never seen before the period.
        visits: sightings of a person with gaps of at most `visit_gap_s`; `seen_once` of them are
            of one moment, so nothing is known of their length.
        newcomers_by_bin, returning_by_bin: distinct people per time bin. Somebody is a newcomer
            in the bin of the first sighting ever, and returning in every other.
        crowded: pictures that no pair was counted of, because they show too many people.
        quarantined, images: distinct images per time bin.
        scores: identification scores of accepted faces, and the best scores of the others.
    """

    people: int
    newcomers: int
    visits: int
    seen_once: int
    crowded: int
    visit_gap_s: int
    newcomers_by_bin: tuple[int, ...]
    returning_by_bin: tuple[int, ...]
    visits_per_person: tuple[int, ...]
    days_per_person: tuple[int, ...]
    companions: tuple[int, ...]
    dwell: tuple[int, ...]
    dwell_people: tuple[int, ...]
    stays: tuple[Stays, ...]
    pairs: tuple[Pair, ...]
    heats: tuple[SourceHeat, ...]
    images: tuple[int, ...]
    quarantined: tuple[int, ...]
    image_trends: tuple[Trend, ...]
    face_trends: tuple[Trend, ...]
    scores: tuple[Trend, ...]

    @property
    def returning(self) -> int:
        """People who had been seen before the period."""
        return self.people - self.newcomers


def summarise(frames: Mapping[str, pd.DataFrame], period: Period, visit_gap_s: int) -> Presence:
    """Turn the catalogue's counts into a value.

    Args:
        frames: what `stores.catalog.reports.presence.read_presence` returned for the same period.
        visit_gap_s: the gap between visits it was asked for, in seconds.

    Raises:
        ShapeError: a frame or column is missing.
    """
    rows = {name: _rows(frames, name) for name in _COLUMNS}
    place = {name: i for i, name in enumerate(period.bins())}

    def by_bin(name: str, column: str) -> tuple[int, ...]:
        counts = [0] * len(place)
        for row in rows[name]:
            counts[place[bin_name(row["bin"], period.bin_unit)]] += int(row[column])
        return tuple(counts)

    def trends(name: str, what: Mapping[Any, tuple[str, str]], column: str) -> tuple[Trend, ...]:
        return tuple(
            _trend(
                str(key) if column == "metric" else ("accepted" if key else "others"),
                words,
                [row for row in rows[name] if row[column] == key],
                place,
                period,
            )
            for key, words in what.items()
        )

    total = rows["presence"][0]
    return Presence(
        **{key: int(value) for key, value in total.items()},
        visit_gap_s=visit_gap_s,
        newcomers_by_bin=by_bin("newcomers", "newcomers"),
        returning_by_bin=by_bin("newcomers", "returning"),
        visits_per_person=_buckets(rows["visits_per_person"], "people", len(COUNT_EDGES), 1),
        days_per_person=_buckets(rows["days_per_person"], "people", len(COUNT_EDGES), 1),
        companions=_buckets(rows["companions"], "people", len(COUNT_EDGES) + 1),
        dwell=_buckets(rows["dwell"], "visits", len(DWELL_EDGES) + 1),
        dwell_people=_buckets(rows["dwell"], "people", len(DWELL_EDGES) + 1),
        stays=tuple(
            Stays(
                row["source"],
                int(row["stays"]),
                int(row["people"]),
                int(row["seen_once"]),
                _rounded(row["median_s"]),
                _rounded(row["p90_s"]),
            )
            for row in rows["stays"]
        ),
        pairs=tuple(
            Pair(int(row["a"]), row["a_label"], int(row["b"]), row["b_label"], int(row["images"]))
            for row in rows["pairs"]
        ),
        heats=_heats(rows["source_hours"], period),
        images=by_bin("quarantine_trend", "images"),
        quarantined=by_bin("quarantine_trend", "quarantined"),
        image_trends=trends("image_trend", IMAGE_TRENDS, "metric"),
        face_trends=trends("face_trend", FACE_TRENDS, "metric"),
        scores=trends("score_trend", SCORES, "accepted"),
    )


def _rows(frames: Mapping[str, pd.DataFrame], name: str) -> list[dict[str, Any]]:
    wanted = _COLUMNS[name].split()
    if name not in frames:
        raise ShapeError("frames", f"a frame {name!r}", f"only {sorted(frames)}")
    frame = frames[name]
    if missing := [column for column in wanted if column not in frame.columns]:
        raise ShapeError(f"frame {name!r}", f"columns {wanted}", f"without {missing}")
    plain = frame[wanted].astype(object).where(frame[wanted].notna(), None)
    return [
        dict(zip(wanted, values, strict=True))
        for values in plain.itertuples(index=False, name=None)
    ]


def _buckets(
    rows: Sequence[Mapping[str, Any]], column: str, count: int, first: int = 0
) -> tuple[int, ...]:
    counts = [0] * count
    for row in rows:
        counts[int(row["bucket"]) - first] += int(row[column])
    return tuple(counts)


def _trend(
    key: str,
    words: tuple[str, str],
    rows: Sequence[Mapping[str, Any]],
    place: Mapping[str, int],
    period: Period,
) -> Trend:
    counts = [0] * len(place)
    quartiles: dict[str, list[float | None]] = {
        name: [None] * len(place) for name in ("q25", "q50", "q75")
    }
    for row in rows:
        at = place[bin_name(row["bin"], period.bin_unit)]
        counts[at] = int(row["n"])
        for name, values in quartiles.items():
            values[at] = _rounded(row[name])
    title, unit = words
    return Trend(
        key, title, unit, tuple(counts),
        tuple(quartiles["q25"]), tuple(quartiles["q50"]), tuple(quartiles["q75"]),
    )  # fmt: skip


def _heats(rows: Sequence[Mapping[str, Any]], period: Period) -> tuple[SourceHeat, ...]:
    dates = period.weekdays()
    found: dict[str, dict[int, tuple[list[int], list[int]]]] = {}
    for row in rows:
        days = found.setdefault(row["source"], {day: ([0] * 24, [0] * 24) for day in dates})
        faces, images = days[int(row["weekday"])]
        faces[int(row["hour"])] += int(row["faces"])
        images[int(row["hour"])] += int(row["images"])
    return tuple(
        SourceHeat(
            source,
            tuple(
                HeatRow(day, dates[day], tuple(faces), tuple(images))
                for day, (faces, images) in days.items()
            ),
        )
        for source, days in found.items()
    )


def _rounded(value: Any) -> float | None:
    """Six significant digits: the last ones differ between machines."""
    return None if value is None else float(f"{float(value):.6g}")
