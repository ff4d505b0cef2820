"""Whatever was measured becomes JSON that PostgreSQL accepts."""

from datetime import UTC, datetime

import numpy as np
import pytest

from facecore.stores.catalog.json_values import as_json, as_text


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (
            {"a": np.float32(1.5), "b": np.int64(3), "c": np.bool_(True)},
            {"a": 1.5, "b": 3, "c": True},
        ),
        ([float("nan"), float("inf"), -0.5, np.float64("nan")], [None, None, -0.5, None]),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        ((1, None, "x"), [1, None, "x"]),
        ({1: "a\0b\ud800"}, {"1": "a\ufffdb\ufffd"}),
        (datetime(2026, 3, 1, tzinfo=UTC), "2026-03-01T00:00:00+00:00"),
    ],
)
def test_values_are_stored_as(tx, value, stored):
    with tx.cursor() as cursor:
        cursor.execute("SELECT %s::jsonb", [as_json(value)])
        assert cursor.fetchone() == (stored,)


def test_what_has_no_json_form_is_an_error(tx):
    with tx.cursor() as cursor, pytest.raises(TypeError):
        cursor.execute("SELECT %s::jsonb", [as_json({"a": object()})])


def test_ordinary_text_is_untouched():
    assert as_text("naïve 日本 🙂 %s\\") == "naïve 日本 🙂 %s\\"
