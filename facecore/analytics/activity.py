"""The numbers of an activity report: frames of counts in, one validated value out. No I/O.

Everything the HTML shows is taken from `ActivityReport`, and the JSON is the same value, so
the two cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from facecore.analytics import presence
from facecore.analytics.activity_report import (
    ActivityReport,
    Before,
    Bin,
    HeatRow,
    Histogram,
    Lineage,
    ModelUsed,
    OutcomeSeries,
    PersonSeen,
    ReasonCount,
    RunsUsed,
    ScoreBin,
    SourceSeries,
    SourceTotals,
    Threshold,
    Totals,
)
from facecore.analytics.metrics import FACES_PER_IMAGE_CAP, SCORE_EDGES, Metric
from facecore.analytics.period import Period, bin_name
from facecore.errors import ShapeError

_COLUMNS = {
    "totals": (
        "sightings images near_duplicates stored accepted quarantined extracted erased faces people"
    ),
    "extent": "first_at last_at",
    "sources": "source sightings images quarantined faces",
    "arrivals": "bin source sightings images",
    "reasons": "code images",
    "faces_per_image": "faces images",
    "image_quality": "metric bucket n total low high",
    "face_quality": "metric bucket n total low high",
    "outcomes": "bin outcome faces",
    "scores": "outcome bucket faces",
    "thresholds": "threshold faces gallery_min gallery_max",
    "hours": "weekday hour images faces",
    "people": (
        "person_id label kind images faces first_at last_at best_score face_id crop_key crop_index"
    ),
    "models": "id task name version contract weights_sha256 faces",
    "runs": "stage code_version runs run_ids",
}


def summarise(
    frames: Mapping[str, pd.DataFrame],
    *,
    period: Period,
    image_metrics: Sequence[Metric],
    face_metrics: Sequence[Metric],
    counted_at: datetime | None,
    code_version: str,
    visit_gap_s: int,
    before: Before | None = None,
) -> ActivityReport:
    """Turn the catalogue's counts into a report.

    Args:
        frames: what `stores.catalog.reports.activity.read_activity` and
            `stores.catalog.reports.presence.read_presence` returned for the same period, metrics,
            score edges and gap between visits.
        counted_at: with a UTC offset, for a period that is not over; otherwise None, so that
            everything is a function of the data.
        before: of the period before, see `compared`.

    Raises:
        ShapeError: a frame or column is missing.
    """
    rows = {name: _rows(frames, name) for name in _COLUMNS}
    bins = period.bins()
    outcomes = _outcomes(rows["outcomes"], bins, period)
    zone = ZoneInfo(period.timezone)
    extent = rows["extent"][0]
    return ActivityReport(
        period=period,
        totals=_totals(rows["totals"][0], rows["faces_per_image"], outcomes),
        bins=bins,
        sources=tuple(
            SourceTotals(
                row["source"],
                int(row["sightings"]),
                int(row["images"]),
                int(row["quarantined"]),
                int(row["faces"]),
            )
            for row in rows["sources"]
        ),
        arrivals=_arrivals(rows["arrivals"], rows["sources"], bins, period),
        reasons=tuple(ReasonCount(row["code"], int(row["images"])) for row in rows["reasons"]),
        faces_per_image=_faces_per_image(rows["faces_per_image"]),
        image_quality=_histograms(rows["image_quality"], image_metrics),
        face_quality=_histograms(rows["face_quality"], face_metrics),
        outcomes=outcomes,
        scores=_scores(rows["scores"], [float(row["threshold"]) for row in rows["thresholds"]]),
        thresholds=tuple(
            Threshold(
                _rounded(row["threshold"]),
                int(row["faces"]),
                _whole(row["gallery_min"]),
                _whole(row["gallery_max"]),
            )
            for row in rows["thresholds"]
        ),
        heat=_heat(rows["hours"], period),
        people=tuple(_person(row, zone) for row in rows["people"]),
        presence=presence.summarise(frames, period, visit_gap_s),
        before=before,
        lineage=Lineage(
            counted_at.astimezone(UTC).isoformat(timespec="seconds") if counted_at else None,
            code_version,
            tuple(
                ModelUsed(
                    row["task"],
                    row["name"],
                    int(row["version"]),
                    row["contract"],
                    str(row["weights_sha256"]).strip(),
                    int(row["faces"]),
                )
                for row in rows["models"]
            ),
            tuple(
                RunsUsed(row["stage"], row["code_version"], int(row["runs"]), tuple(row["run_ids"]))
                for row in rows["runs"]
            ),
        ),
        known_from=_iso(extent["first_at"], zone),
        known_to=_iso(extent["last_at"], zone),
    )


def compared(frames: Mapping[str, pd.DataFrame], period: Period) -> Before:
    """What `stores.catalog.reports.activity.read_totals` returned for a period, to compare with.

    Raises:
        ShapeError: a frame or column is missing.
    """
    rows = {name: _rows(frames, name) for name in ("totals", "sources", "outcomes")}
    (totals,) = rows["totals"]
    faces = {"accept": 0, "review": 0, "unknown": 0}
    for row in rows["outcomes"]:
        if row["outcome"] is not None:
            faces[row["outcome"]] += int(row["faces"])
    return Before(
        period.start.isoformat(),
        period.end.isoformat(),
        **{k: int(totals[k]) for k in ("sightings", "images", "quarantined", "faces", "people")},
        accept=faces["accept"],
        compared=sum(faces.values()),
        sources=tuple(row["source"] for row in rows["sources"] if row["source"] is not None),
    )


def _rows(frames: Mapping[str, pd.DataFrame], name: str) -> list[dict[str, Any]]:
    wanted = _COLUMNS[name].split()
    if name not in frames:
        raise ShapeError("frames", f"a frame {name!r}", f"only {sorted(frames)}")
    have = [str(column) for column in frames[name].columns]
    if missing := [column for column in wanted if column not in have]:
        raise ShapeError(f"frame {name!r}", f"columns {wanted}", f"without {missing}")
    frame = frames[name][wanted].astype(object)
    frame = frame.where(frame.notna(), None)
    rows = [
        dict(zip(wanted, values, strict=True))
        for values in frame.itertuples(index=False, name=None)
    ]
    if name in ("totals", "extent") and len(rows) != 1:
        raise ShapeError(f"frame {name!r}", "one row", f"{len(rows)} rows")
    return rows


def _totals(
    row: Mapping[str, Any], faces_per_image: list[dict[str, Any]], outcomes: OutcomeSeries
) -> Totals:
    counts = {key: int(row[key]) for key in row}
    return Totals(
        **counts,
        exact_duplicates=counts["sightings"] - counts["images"],
        images_with_faces=sum(int(r["images"]) for r in faces_per_image if int(r["faces"]) > 0),
        accept=sum(outcomes.accept),
        review=sum(outcomes.review),
        unknown=sum(outcomes.unknown),
        not_compared=sum(outcomes.not_compared),
    )


def _arrivals(
    rows: list[dict[str, Any]],
    sources: list[dict[str, Any]],
    bins: tuple[str, ...],
    period: Period,
) -> tuple[SourceSeries, ...]:
    place = {name: i for i, name in enumerate(bins)}
    counts = {row["source"]: ([0] * len(bins), [0] * len(bins)) for row in sources}
    for row in rows:
        at = place[bin_name(row["bin"], period.bin_unit)]
        sightings, images = counts[row["source"]]
        sightings[at] += int(row["sightings"])
        images[at] += int(row["images"])
    return tuple(SourceSeries(key, tuple(s), tuple(i)) for key, (s, i) in counts.items())


def _outcomes(rows: list[dict[str, Any]], bins: tuple[str, ...], period: Period) -> OutcomeSeries:
    place = {name: i for i, name in enumerate(bins)}
    counts = {key: [0] * len(bins) for key in ("accept", "review", "unknown", "not_compared")}
    for row in rows:
        key = row["outcome"] or "not_compared"
        counts[key][place[bin_name(row["bin"], period.bin_unit)]] += int(row["faces"])
    return OutcomeSeries(**{key: tuple(values) for key, values in counts.items()})


def _faces_per_image(rows: list[dict[str, Any]]) -> tuple[int, ...]:
    counts = [0] * (FACES_PER_IMAGE_CAP + 1)
    for row in rows:
        counts[min(int(row["faces"]), FACES_PER_IMAGE_CAP)] += int(row["images"])
    return tuple(counts)


def _histograms(rows: list[dict[str, Any]], metrics: Sequence[Metric]) -> tuple[Histogram, ...]:
    return tuple(_histogram([r for r in rows if r["metric"] == m.key], m) for m in metrics)


def _histogram(rows: list[dict[str, Any]], metric: Metric) -> Histogram:
    counts = {int(row["bucket"]): int(row["n"]) for row in rows}
    measured = sum(counts.values())
    shown = _shown(metric.edges, counts, [limit.value for limit in metric.limits])
    return Histogram(
        metric.key,
        metric.title,
        metric.unit,
        metric.hint,
        metric.limits,
        tuple(Bin(*_bounds(metric.edges, i), counts.get(i, 0)) for i in shown),
        measured,
        _rounded(sum(float(row["total"]) for row in rows) / measured) if measured else None,
        _rounded(min(float(row["low"]) for row in rows)) if rows else None,
        _rounded(max(float(row["high"]) for row in rows)) if rows else None,
    )


def _scores(rows: list[dict[str, Any]], thresholds: list[float]) -> tuple[ScoreBin, ...]:
    counts: dict[int, dict[str, int]] = {}
    for row in rows:
        one = counts.setdefault(int(row["bucket"]), {"accept": 0, "review": 0, "unknown": 0})
        one[row["outcome"]] += int(row["faces"])
    sums = {bucket: sum(one.values()) for bucket, one in counts.items()}
    return tuple(
        ScoreBin(
            *_bounds(SCORE_EDGES, i),
            **counts.get(i, {"accept": 0, "review": 0, "unknown": 0}),
        )
        for i in _shown(SCORE_EDGES, sums, thresholds)
    )


def _bounds(edges: Sequence[float], bucket: int) -> tuple[float | None, float | None]:
    return (
        edges[bucket - 1] if bucket > 0 else None,
        edges[bucket] if bucket < len(edges) else None,
    )


def _shown(edges: Sequence[float], counts: Mapping[int, int], limits: Sequence[float]) -> range:
    """Buckets from the first to the last that holds a value or a limit, and a neighbour each."""
    used = [bucket for bucket, count in counts.items() if count]
    if not used:
        return range(0)
    used += [sum(edge <= limit for edge in edges) for limit in limits]
    first, last = max(1, min(used) - 1), min(len(edges) - 1, max(used) + 1)
    return range(0 if 0 in used else first, (len(edges) if len(edges) in used else last) + 1)


def _heat(rows: list[dict[str, Any]], period: Period) -> tuple[HeatRow, ...]:
    by_day = {day: ([0] * 24, [0] * 24) for day in period.weekdays()}
    for row in rows:
        faces, images = by_day[int(row["weekday"])]
        faces[int(row["hour"])] += int(row["faces"])
        images[int(row["hour"])] += int(row["images"])
    dates = period.weekdays()
    return tuple(
        HeatRow(day, dates[day], tuple(faces), tuple(images))
        for day, (faces, images) in by_day.items()
    )


def _person(row: Mapping[str, Any], zone: ZoneInfo) -> PersonSeen:
    score = row["best_score"]
    return PersonSeen(
        int(row["person_id"]),
        row["label"],
        row["kind"],
        int(row["images"]),
        int(row["faces"]),
        _iso(row["first_at"], zone) or "",
        _iso(row["last_at"], zone) or "",
        None if score is None else _rounded(score),
        int(row["face_id"]),
        row["crop_key"],
        int(row["crop_index"]),
    )


def _iso(at: datetime | None, zone: ZoneInfo) -> str | None:
    return None if at is None else at.astimezone(zone).isoformat(timespec="seconds")


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _rounded(value: Any) -> float:
    """Six significant digits: parallel sums differ in the last ones from run to run."""
    return float(f"{float(value):.6g}")
