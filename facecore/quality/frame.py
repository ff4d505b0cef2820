"""The table the gate judges: one row per image, with the types it relies on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from facecore.errors import ShapeError
from facecore.stages import reasons

MEASUREMENTS = (
    "bytes",
    "width",
    "height",
    "pixels",
    "short_side",
    "aspect",
    "sharpness",
    "brightness",
    "contrast",
    "dynamic_range",
    "bits_per_pixel",
)
JUDGED = (
    "short_side",
    "aspect",
    "sharpness",
    "brightness",
    "contrast",
    "dynamic_range",
    "bits_per_pixel",
)
REQUIRED = ("image_id", "source", "captured_at", "captured_from", "reject_code")


def gate_frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Build the gate's table.

    Args:
        rows: one mapping per image with `image_id`, `source`, `captured_at` (aware datetime),
            `captured_from`, `reject_code` (a code of `reasons.REASONS`, or None), optionally
            `reject_detail`, `phash` (signed 64-bit, or None), `sightings` (deliveries, default
            1) and the fields of `ImageMeasurements`. Other fields are dropped.

    Returns:
        Rows in the order of `image_id`. A picture that was decoded but lacks a measurement
        gets the reason `not_measured`: the gate never accepts what it could not judge.

    Raises:
        ShapeError: a required field is missing, or an image appears twice.
    """
    given = list(rows)
    for row in given:
        if missing := [name for name in REQUIRED if name not in row]:
            raise ShapeError("gate row", f"fields {', '.join(REQUIRED)}", f"no {missing[0]}")
    ids = [int(row["image_id"]) for row in given]
    if len(set(ids)) != len(ids):
        raise ShapeError("gate rows", "each image once", f"{len(ids) - len(set(ids))} repeated")
    frame = pd.DataFrame(
        {
            "image_id": pd.Series(ids, dtype="int64"),
            "source": pd.Series([str(r["source"]) for r in given], dtype=object),
            "captured_at": pd.Series(
                pd.to_datetime([r["captured_at"] for r in given], utc=True), dtype=None
            ),
            "captured_from": pd.Series([r["captured_from"] for r in given], dtype=object),
            "reject_code": pd.Series([r["reject_code"] for r in given], dtype=object),
            "reject_detail": pd.Series([r.get("reject_detail") for r in given], dtype=object),
            "phash": pd.Series([r.get("phash") for r in given], dtype="Int64"),
            "sightings": pd.Series([int(r.get("sightings") or 1) for r in given], dtype="int64"),
            **{
                name: pd.Series([r.get(name) for r in given], dtype="float64")
                for name in MEASUREMENTS
            },
        }
    )
    unjudged = frame["reject_code"].isna() & frame[list(JUDGED)].isna().any(axis=1)
    frame.loc[unjudged, "reject_code"] = reasons.NOT_MEASURED
    return frame.sort_values("image_id", ignore_index=True)
