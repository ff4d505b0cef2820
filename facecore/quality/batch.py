"""What a whole batch looks like: numbers that no single picture shows."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from facecore.config import GateSettings

ALL_SOURCES = "(all sources)"
EARLIEST_YEAR = 1990  # digital cameras came after; older times are reset clocks
_SAME_PICTURE_BITS = 3  # of the perceptual hash


def batch_frame(
    frame: pd.DataFrame, rejected: Collection[int], settings: GateSettings, now: datetime
) -> pd.DataFrame:
    """One row for the batch and one per source large enough to be judged on its own.

    Columns:
        source: its name; `(all sources)` in the first row.
        images: distinct pictures. deliveries: sightings of them.
        rejected_share: of images, 0..1.
        same_image_share: deliveries whose picture looks like the source's most delivered one
            (perceptual hash within 3 bits), 0..1; only per source.
        wrong_clock_share: images captured before 1990 or later than `now` plus
            `batch_max_future_hours`, 0..1.

    `rejected_share` is NaN for single sources: one bad camera among many is its own affair, and
    its pictures are quarantined anyway.
    """
    wrong = _wrong_clock(frame, settings, now)
    rejected_rows = frame["image_id"].isin(list(rejected))
    rows: list[dict[str, object]] = [
        {
            "source": ALL_SOURCES,
            "images": len(frame),
            "deliveries": int(frame["sightings"].sum()),
            "rejected_share": float(rejected_rows.mean()),
            "same_image_share": np.nan,
            "wrong_clock_share": float(wrong.mean()),
        }
    ]
    for source, group in frame.groupby("source", sort=True):
        deliveries = int(group["sightings"].sum())
        if deliveries >= settings.batch_min_images:
            rows.append(
                {
                    "source": str(source),
                    "images": len(group),
                    "deliveries": deliveries,
                    "rejected_share": np.nan,
                    "same_image_share": _same_image_share(group),
                    "wrong_clock_share": float(wrong[group.index].mean()),
                }
            )
    return pd.DataFrame(rows)


def _wrong_clock(frame: pd.DataFrame, settings: GateSettings, now: datetime) -> pd.Series[bool]:
    latest = pd.Timestamp(now + timedelta(hours=settings.batch_max_future_hours))
    captured = frame["captured_at"]
    wrong: pd.Series[bool] = (captured > latest) | (captured.dt.year < EARLIEST_YEAR)
    return wrong


def _same_image_share(group: pd.DataFrame) -> float:
    known = group.dropna(subset=["phash"])
    deliveries = known["sightings"].to_numpy(dtype=np.int64)
    if not len(known):
        return float("nan")
    hashes = known["phash"].to_numpy(dtype=np.int64).view(np.uint64)
    distinct, inverse = np.unique(hashes, return_inverse=True)
    per_hash = np.bincount(inverse, weights=deliveries)
    usual = distinct[int(per_hash.argmax())]
    apart: npt.NDArray[np.uint8] = np.bitwise_count(hashes ^ usual)
    same = int(deliveries[apart <= _SAME_PICTURE_BITS].sum())
    return same / int(group["sightings"].sum())
