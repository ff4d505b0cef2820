"""The map of faces and the page of unusual ones."""

from __future__ import annotations

import numpy as np
import pytest

from facecore.analytics.anomaly import MOST_MAPPED, face_map
from facecore.analytics.anomaly_page import render_anomalies


@pytest.mark.parametrize("count", [0, 1, 2, 5, 40])
def test_any_number_of_faces_has_a_map(count: int) -> None:
    codes = np.random.default_rng(0).normal(size=(count, 32)).astype(np.float32)
    places = face_map(codes)
    assert places.shape == (count, 2)
    assert np.isfinite(places).all()
    assert np.abs(places).max(initial=0) <= 1 + 1e-9
    assert np.array_equal(places, face_map(codes))


def test_one_face_a_million_times_lies_in_one_place_and_the_map_is_bounded() -> None:
    same = np.ones((MOST_MAPPED + 5, 32), np.float32)
    assert face_map(same).shape == (MOST_MAPPED, 2)
    assert not face_map(same).any()


def test_neighbours_lie_together() -> None:
    rng = np.random.default_rng(1)
    centres = rng.normal(0, 10, (2, 32))
    codes = np.repeat(centres, 30, axis=0) + rng.normal(size=(60, 32))
    places = face_map(codes.astype(np.float32))
    a, b = places[:30], places[30:]
    apart = np.linalg.norm(a.mean(axis=0) - b.mean(axis=0))
    assert apart > 2 * max(a.std(), b.std())


def page(count: int) -> str:
    crops = np.zeros((count, 112, 112, 3), np.uint8)
    return render_anomalies(
        model="face-autoencoder/3",
        limit=0.99,
        histogram=[count, *[0] * 18, 1] if count else [0] * 20,
        unusual=[(number, "<door>", 12.0, 0.999) for number in range(count)],
        originals=crops,
        drawn=crops,
        places=np.zeros((count, 2)),
        ranks=np.full(count, 0.999),
    ).decode("utf-8")


def test_the_page_loads_nothing_and_escapes_names() -> None:
    text = page(3)
    assert "&lt;door&gt;" in text
    assert "<door>" not in text
    assert "http:" not in text
    assert "https:" not in text
    assert "<script" not in text
    assert text.count('class="unusual"') == 3 + 1  # points, and the last bar
    assert text.count("alt=") == 6


def test_the_page_of_nothing_says_so() -> None:
    assert "No face has been scored yet" in page(0)
    assert "nan" not in page(0).lower().replace("analytics", "")
