"""Rows for the gate: an ordinary picture, and one that could not be decoded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def _row(image_id: int, **changes) -> dict:
    hashes = np.random.default_rng(image_id).integers(-(2**63), 2**63 - 1)
    return {
        "image_id": image_id,
        "source": f"cam{image_id % 2}",
        "captured_at": NOW - timedelta(hours=image_id),
        "captured_from": "exif",
        "reject_code": None,
        "phash": int(hashes),
        "sightings": 1,
        "bytes": 14_000,
        "width": 250,
        "height": 250,
        "pixels": 62_500,
        "short_side": 250,
        "aspect": 1.0,
        "sharpness": 1.0,
        "brightness": 100.0,
        "contrast": 60.0,
        "dynamic_range": 220.0,
        "bits_per_pixel": 1.8,
        **changes,
    }


def _undecoded(image_id: int, code: str, **changes) -> dict:
    names = ("image_id", "source", "captured_at", "captured_from")
    kept = {name: value for name, value in _row(image_id).items() if name in names}
    return kept | {"reject_code": code} | changes


@pytest.fixture(scope="session")
def row() -> Callable[..., dict]:
    """`row(image_id, **changes)`: a picture that passes every check."""
    return _row


@pytest.fixture(scope="session")
def undecoded() -> Callable[..., dict]:
    """`undecoded(image_id, code, **changes)`: a file that was refused while reading it."""
    return _undecoded
