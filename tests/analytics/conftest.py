"""A small period whose every number is known, as the catalogue would count it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest

from facecore.analytics.activity import summarise
from facecore.analytics.activity_report import ActivityReport, Before
from facecore.analytics.metrics import face_metrics, image_metrics
from facecore.analytics.period import Period
from facecore.config import GateSettings

HOSTILE = "<script>alert('source')</script>"
HOSTILE_PERSON = 'Eve "</script><img src=x onerror=alert(1)>'
BEFORE = Before(
    "2026-02-25T00:00:00+01:00", "2026-03-01T00:00:00+01:00", sightings=30, images=25,
    quarantined=1, faces=10, people=2, accept=5, compared=10, sources=("gate", "old gate"),
)  # fmt: skip


def frame(columns: str, *rows: tuple[object, ...]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=columns.split(), dtype=object)


@pytest.fixture
def period() -> Period:
    """Four days, Sunday to Wednesday."""
    return Period.days(date(2026, 3, 1), 4, "Europe/Berlin")


@pytest.fixture
def frames() -> dict[str, pd.DataFrame]:
    day = [datetime(2026, 3, n) for n in range(1, 5)]
    at = datetime(2026, 3, 3, 10, 30, tzinfo=UTC)
    return {
        "totals": frame(
            "sightings images near_duplicates stored accepted quarantined extracted erased "
            "faces people",
            (23, 20, 2, 1, 2, 4, 12, 1, 15, 2),
        ),
        "extent": frame("first_at last_at", (at, at)),
        "sources": frame(
            "source sightings images quarantined faces",
            ("gate", 13, 12, 3, 9),
            (HOSTILE, 7, 5, 1, 4),
            (None, 3, 3, 0, 2),
        ),
        "arrivals": frame(
            "bin source sightings images",
            (day[0], "gate", 10, 10),
            (day[0], HOSTILE, 7, 5),
            (day[2], "gate", 3, 2),
            (day[2], None, 3, 3),
        ),
        "reasons": frame("code images", ("too_dark", 3), ("a_code-from-elsewhere", 2)),
        "faces_per_image": frame("faces images", (0, 4), (1, 5), (2, 2), (6, 1)),
        "image_quality": frame(
            "metric bucket n total low high",
            ("brightness", 1, 3, 24.0, 4.0, 12.0),
            ("brightness", 8, 13, 1560.0, 113.0, 127.0),
        ),
        "face_quality": frame(
            "metric bucket n total low high", ("detection_score", 19, 15, 13.8, 0.9, 0.94)
        ),
        "outcomes": frame(
            "bin outcome faces",
            (day[0], "accept", 6),
            (day[0], "review", 1),
            (day[2], "accept", 1),
            (day[2], "unknown", 4),
            (day[2], None, 3),
        ),
        "scores": frame(
            "outcome bucket faces", ("accept", 22, 7), ("review", 16, 1), ("unknown", 7, 4)
        ),
        "thresholds": frame("threshold faces gallery_min gallery_max", (0.363, 12, 3, 5)),
        "hours": frame("weekday hour images faces", (7, 9, 15, 7), (2, 17, 5, 8)),
        "people": frame(
            "person_id label kind images faces first_at last_at best_score face_id crop_key "
            "crop_index",
            (7, "Ada Lovelace", "enrolled", 4, 5, at, at, 0.81, 41, "1.safetensors", 3),
            (9, HOSTILE_PERSON, "discovered", 2, 2, at, at, None, 57, "1.safetensors", 4),
        ),
        "models": frame(
            "id task name version contract weights_sha256 faces",
            (1, "detect", "face-detector", 1, "c" * 64, "d" * 64, 15),
            (2, "embed", "face-embedder", 3, "e" * 64, "f" * 64, 12),
        ),
        "runs": frame(
            "stage code_version runs run_ids",
            ("ingest", "0.1.0+abc", 2, ["run-1", "run-2"]),
        ),
        "presence": frame("people newcomers visits seen_once crowded", (2, 1, 5, 2, 0)),
        "newcomers": frame("bin newcomers returning", (day[0], 1, 1), (day[2], 0, 1)),
        "visits_per_person": frame("bucket people", (2, 1), (3, 1)),
        "days_per_person": frame("bucket people", (1, 1), (2, 1)),
        "companions": frame("bucket people", (1, 2)),
        "dwell": frame("bucket visits people", (0, 1, 1), (3, 2, 2)),
        "stays": frame(
            "source stays people seen_once median_s p90_s",
            ("gate", 3, 2, 1, 600.0, 1500.0),
            (HOSTILE, 2, 1, 2, None, None),
        ),
        "pairs": frame("a a_label b b_label images", (7, "Ada Lovelace", 9, HOSTILE_PERSON, 2)),
        "source_hours": frame(
            "source weekday hour images faces", ("gate", 7, 9, 12, 5), (HOSTILE, 2, 17, 5, 8)
        ),
        "quarantine_trend": frame("bin images quarantined", (day[0], 15, 1), (day[2], 5, 3)),
        "image_trend": frame(
            "bin metric n q25 q50 q75",
            (day[0], "sharpness", 15, 0.7, 0.9, 1.1),
            (day[2], "sharpness", 5, 0.5, 0.6, 0.8),
            (day[0], "brightness", 15, 90.0, 100.0, 110.0),
        ),
        "face_trend": frame("bin metric n q25 q50 q75", (day[0], "score", 7, 0.4, 0.5, 0.6)),
        "score_trend": frame(
            "bin accepted n q25 q50 q75",
            (day[0], True, 6, 0.6, 0.7, 0.8),
            (day[2], True, 1, 0.65, 0.65, 0.65),
            (day[2], False, 4, 0.1, 0.2, 0.25),
        ),
    }


@pytest.fixture
def empty_frames(frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    none = {name: one.iloc[:0] for name, one in frames.items()}
    totals = frames["totals"].copy()
    totals[:] = 0
    presence = frames["presence"].copy()
    presence[:] = 0
    return none | {"totals": totals, "extent": frames["extent"], "presence": presence}


@pytest.fixture
def report_of(period: Period) -> Callable[[dict[str, pd.DataFrame]], ActivityReport]:
    """Frames → report of the period."""

    def made(frames: dict[str, pd.DataFrame]) -> ActivityReport:
        return summarise(
            frames,
            period=period,
            image_metrics=image_metrics(GateSettings()),
            face_metrics=face_metrics(0.6),
            counted_at=None,
            code_version="0.1.0+abc",
            visit_gap_s=1800,
            before=BEFORE,
        )

    return made


@pytest.fixture
def report(frames, report_of) -> ActivityReport:
    return report_of(frames)


@pytest.fixture
def empty_report(empty_frames, report_of) -> ActivityReport:
    return report_of(empty_frames)


@pytest.fixture
def hostile() -> tuple[str, str]:
    """Names of a source and a person that try to run a script."""
    return HOSTILE, HOSTILE_PERSON


@pytest.fixture
def crops() -> dict[int, np.ndarray]:
    ramp = np.arange(112, dtype=np.uint8)
    return {41: np.stack([np.broadcast_to(ramp, (112, 112))] * 3, axis=2).copy()}


@dataclass
class Page(HTMLParser):
    """What a browser would find in a report. `tables`: caption → rows of texts and numbers."""

    html: str
    tables: dict[str, list[list[Any]]] = field(default_factory=dict)
    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self._rows: list[list[Any]] = []
        self._caption = ""
        self.feed(self.html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag == "table":
            self._rows, self._caption = [], ""
        if tag == "tr":
            self._rows.append([])
        if tag in ("td", "th") and self._rows:
            value = attributes.get("data-value")
            self._rows[-1].append("" if value is None else float(value))
        if tag not in ("meta", "img", "br", "link", "input"):
            self._open.append((tag, attributes))

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self.tables[self._caption] = self._rows[1:]
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not self._open:
            return
        tag, attributes = self._open[-1]
        if tag == "script":
            if attributes.get("type") == "application/json":
                self.data = json.loads(data)
            else:
                self.scripts.append(data)
            return
        self.texts.append(data)
        if tag == "caption":
            self._caption += data
        elif tag in ("td", "th") and self._rows and isinstance(self._rows[-1][-1], str):
            self._rows[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def read() -> type[Page]:
    """HTML → what a browser would find in it."""
    return Page
