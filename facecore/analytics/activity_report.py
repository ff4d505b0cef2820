"""The numbers of one report, as one value. HTML and JSON are two views of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from facecore.analytics.metrics import Limit
from facecore.analytics.period import Period

if TYPE_CHECKING:
    from facecore.analytics.presence import Presence

SCHEMA = "facecore.report.activity/2"


@dataclass(frozen=True, slots=True)
class Totals:
    """Key figures. `images` are distinct; `sightings` count every delivery of them.

    `people` were recognised at least once. `not_compared` faces were never matched with a
    gallery.
    """

    sightings: int
    images: int
    exact_duplicates: int
    near_duplicates: int
    stored: int
    accepted: int
    quarantined: int
    extracted: int
    erased: int
    images_with_faces: int
    faces: int
    accept: int
    review: int
    unknown: int
    not_compared: int
    people: int

    @property
    def waiting(self) -> int:
        """Images that no stage has finished with."""
        return self.stored + self.accepted

    @property
    def compared(self) -> int:
        """Faces that have an outcome."""
        return self.accept + self.review + self.unknown


@dataclass(frozen=True, slots=True)
class SourceTotals:
    """One source; `source` None adds up all sources that are not listed."""

    source: str | None
    sightings: int
    images: int
    quarantined: int
    faces: int


@dataclass(frozen=True, slots=True)
class SourceSeries:
    """Deliveries and distinct images of one source, one number per time bin."""

    source: str | None
    sightings: tuple[int, ...]
    images: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OutcomeSeries:
    """Faces by identification outcome, one number per time bin."""

    accept: tuple[int, ...]
    review: tuple[int, ...]
    unknown: tuple[int, ...]
    not_compared: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """Quarantined images with one reason; an image can have several."""

    code: str
    images: int


@dataclass(frozen=True, slots=True)
class Bin:
    """How many values lie in `[low, high)`; None means unbounded."""

    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """Distribution of one measurement. `measured` = 0: nothing was measured."""

    key: str
    title: str
    unit: str
    hint: str
    limits: tuple[Limit, ...]
    bins: tuple[Bin, ...]
    measured: int
    mean: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class ScoreBin:
    """Identification scores in `[low, high)` by outcome of the match with the gallery."""

    low: float | None
    high: float | None
    accept: int
    review: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold that was used, on how many faces, with galleries of which size."""

    value: float
    faces: int
    gallery_min: int | None
    gallery_max: int | None


@dataclass(frozen=True, slots=True)
class HeatRow:
    """Faces and images per hour of the day (24 numbers each) on one ISO weekday."""

    weekday: int
    dates: int
    faces: tuple[int, ...]
    images: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PersonSeen:
    """One recognised person; times are ISO 8601 in the report's timezone.

    `face_id` is the person's best face of the period; its crop is row `crop_index` of the pack
    `crop_key`.
    """

    person_id: int
    label: str
    kind: str
    images: int
    faces: int
    first_at: str
    last_at: str
    best_score: float | None
    face_id: int
    crop_key: str
    crop_index: int


@dataclass(frozen=True, slots=True)
class ModelUsed:
    """A model version that produced results of this period."""

    task: str
    name: str
    version: int
    contract: str
    weights_sha256: str
    faces: int


@dataclass(frozen=True, slots=True)
class RunsUsed:
    """Runs of one stage and code version; at most 20 ids are named."""

    stage: str
    code_version: str
    runs: int
    run_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Before:
    """The same numbers of the period of equal length right before, for comparison."""

    start: str
    end: str
    sightings: int
    images: int
    quarantined: int
    faces: int
    people: int
    accept: int
    compared: int
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where the numbers come from.

    `counted_at` is None for a period that was over: counting it again gives the same document.
    """

    counted_at: str | None
    code_version: str
    models: tuple[ModelUsed, ...]
    runs: tuple[RunsUsed, ...]


@dataclass(frozen=True, slots=True)
class ActivityReport:
    """Everything a report says. `faces_per_image` counts images with exactly i faces; its last
    number counts those with that many or more."""

    period: Period
    totals: Totals
    bins: tuple[str, ...]
    sources: tuple[SourceTotals, ...]
    arrivals: tuple[SourceSeries, ...]
    reasons: tuple[ReasonCount, ...]
    faces_per_image: tuple[int, ...]
    image_quality: tuple[Histogram, ...]
    face_quality: tuple[Histogram, ...]
    outcomes: OutcomeSeries
    scores: tuple[ScoreBin, ...]
    thresholds: tuple[Threshold, ...]
    heat: tuple[HeatRow, ...]
    people: tuple[PersonSeen, ...]
    presence: Presence
    before: Before | None
    lineage: Lineage
    known_from: str | None = None
    known_to: str | None = None
    schema: str = field(default=SCHEMA)

    @property
    def is_empty(self) -> bool:
        """Nothing at all was sighted in the period."""
        return self.totals.sightings == 0

    def as_json(self, **extra: object) -> str:
        """The report as JSON; `extra` adds keys, for example the summary's sentences."""
        document = {**asdict(self), **extra}
        return json.dumps(
            document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False, default=_plain
        )


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not part of a report")
