"""A part of a report: a heading, some sentences, figures, a table. Reports render a list of them.

Whoever has something to add to the report makes a `Section`; nothing else of the report changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from facecore.analytics.drawing import Chart, Table


@dataclass(frozen=True, slots=True)
class Picture:
    """A face crop to show, uint8 RGB `[112, 112, 3]`; `alt` describes it, `note` stands below."""

    crop: npt.NDArray[np.uint8]
    alt: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a report.

    Attributes:
        id: unique in the page, fit for an HTML id; also the key of `numbers` in the JSON.
        text: shown in a frame: why there is nothing to draw, or what to beware of.
        charts: each brings its own table and description.
        prose: sentences in front of the figures.
        tables: further tables, each with its caption.
        pictures: shown after the figures. In the HTML only, never in the JSON.
        numbers: what the JSON holds of this section: values `json.dumps` takes, without NaN.
    """

    id: str
    title: str
    text: str = ""
    charts: tuple[Chart, ...] = ()
    prose: Sequence[str] = ()
    tables: Sequence[tuple[str, Table]] = ()
    pictures: Sequence[Picture] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)
