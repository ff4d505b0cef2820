"""Python values → what a jsonb column accepts."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from psycopg2.extras import Json

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def as_json(value: Any) -> Json:
    """Adapt `value` for a jsonb parameter.

    Measurements may hold what JSON cannot: numpy scalars become plain numbers, NaN and
    infinities null, times ISO 8601 text. NUL and lone surrogates, which file names and EXIF
    may carry and PostgreSQL refuses, become U+FFFD.
    """
    return Json(_plain(value), dumps=lambda plain: json.dumps(plain, allow_nan=False))


def _plain(value: Any) -> Any:
    plain = value.tolist() if isinstance(value, np.generic | np.ndarray) else value
    if isinstance(plain, str):
        plain = as_text(plain)
    elif isinstance(plain, Mapping):
        plain = {as_text(str(key)): _plain(item) for key, item in plain.items()}
    elif isinstance(plain, Sequence):
        plain = [_plain(item) for item in plain]
    elif isinstance(plain, datetime):
        plain = plain.isoformat()
    elif isinstance(plain, float) and not math.isfinite(plain):
        plain = None
    return plain


def as_text(value: str) -> str:
    """`value` as PostgreSQL can hold it: NUL and lone surrogates become U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", value)
