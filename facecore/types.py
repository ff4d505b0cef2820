"""The few types that travel between stages, validated when they are made.

Images are uint8 RGB arrays `[h, w, 3]`. Coordinates are float32 pixels, x to the right and
y down, of the upright image (EXIF orientation already applied). A wrong shape raises
`ShapeError`, which states what was expected and what came.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import accumulate, pairwise
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from facecore.errors import ContractMismatch, ShapeError

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Checked = TypeVar("Checked")

CROP_SIZE = 112
LANDMARK_NAMES = ("right eye", "left eye", "nose tip", "right mouth corner", "left mouth corner")


def _require(
    name: str, array: npt.NDArray[Any], shape: tuple[int | None, ...], dtype: npt.DTypeLike
) -> None:
    fits = array.ndim == len(shape) and all(
        want is None or want == have for want, have in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype != np.dtype(dtype):
        wanted = "[" + ", ".join("n" if s is None else str(s) for s in shape) + "]"
        raise ShapeError(name, f"{np.dtype(dtype)} {wanted}", f"{array.dtype} {list(array.shape)}")


def _split(array: npt.NDArray[Any], counts: Sequence[int]) -> list[npt.NDArray[Any]]:
    ends = [0, *accumulate(counts)]
    if ends[-1] != len(array):
        raise ShapeError("counts", f"a sum of {len(array)}", str(ends[-1]))
    return [array[a:b] for a, b in pairwise(ends)]


def _part(kind: type[Checked], **fields: object) -> Checked:
    """A part of something that was checked as a whole: made without checking it again, which
    costs more than all else that is done for an image beside a GPU."""
    part = object.__new__(kind)
    for name, value in fields.items():
        object.__setattr__(part, name, value)
    return part


class ImageStatus(StrEnum):
    """Where an image stands; it only moves forward."""

    STORED = "stored"
    ACCEPTED = "accepted"
    QUARANTINED = "quarantined"
    EXTRACTED = "extracted"
    ERASED = "erased"


class Outcome(StrEnum):
    """What identification says of one probe face."""

    ACCEPT = "accept"
    REVIEW = "review"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ImageRef:
    """One catalogued image: where its bytes are and where it came from."""

    id: int
    sha256: str
    bucket: str
    key: str
    source: str
    captured_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Detections:
    """Faces found in one image, best score first.

    Attributes:
        boxes: float32 `[n, 4]`, x1 y1 x2 y2 in pixels; may reach beyond the image.
        scores: float32 `[n]`, 0..1.
        landmarks: float32 `[n, 5, 2]` in the order of `LANDMARK_NAMES` (the person's right
            eye is on the left of the picture), or None when the detector gives none.
    """

    boxes: Floats
    scores: Floats
    landmarks: Floats | None = None

    def __post_init__(self) -> None:
        _require("boxes", self.boxes, (None, 4), np.float32)
        count = len(self.boxes)
        _require("scores", self.scores, (count,), np.float32)
        if self.landmarks is not None:
            _require("landmarks", self.landmarks, (count, 5, 2), np.float32)
        if count and not (0.0 <= float(self.scores.min()) and float(self.scores.max()) <= 1.0):
            raise ShapeError(
                "scores", "values in 0..1", f"{self.scores.min()}..{self.scores.max()}"
            )

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, part: slice) -> Detections:
        """Some of the faces, in order."""
        landmarks = None if self.landmarks is None else self.landmarks[part]
        return Detections(self.boxes[part], self.scores[part], landmarks)

    def split(self, counts: Sequence[int]) -> list[Detections]:
        """Those of several images, which lie behind one another here."""
        landmarks: list[Floats] | list[None] = [None] * len(counts)
        if self.landmarks is not None:
            landmarks = _split(self.landmarks, counts)
        return [
            _part(Detections, boxes=boxes, scores=scores, landmarks=own)
            for boxes, scores, own in zip(
                _split(self.boxes, counts), _split(self.scores, counts), landmarks, strict=True
            )
        ]

    @classmethod
    def join(cls, several: Sequence[Detections]) -> Detections:
        """Those of several images behind one another; all with landmarks, or they have none."""
        if not several:
            return cls.empty()
        landmarks = [found.landmarks for found in several if found.landmarks is not None]
        return cls(
            np.concatenate([found.boxes for found in several]),
            np.concatenate([found.scores for found in several]),
            np.concatenate(landmarks) if len(landmarks) == len(several) else None,
        )

    @classmethod
    def empty(cls) -> Detections:
        """No face found."""
        return cls(
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.float32),
            np.zeros((0, 5, 2), np.float32),
        )


@dataclass(frozen=True, slots=True)
class FaceCrops:
    """Aligned faces: uint8 RGB `[n, 112, 112, 3]`, in the order of the detections."""

    pixels: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        _require("crops", self.pixels, (None, CROP_SIZE, CROP_SIZE, 3), np.uint8)

    def __len__(self) -> int:
        return len(self.pixels)

    def split(self, counts: Sequence[int]) -> list[FaceCrops]:
        """Those of several images, which lie behind one another here."""
        return [_part(FaceCrops, pixels=pixels) for pixels in _split(self.pixels, counts)]


@dataclass(frozen=True, slots=True)
class Contract:
    """What an embedding depends on. Vectors compare only when their contracts are equal.

    The precision a device computes in (fp32, bf16) is not part of it: parity between them is
    tested; what is stored and compared is `dtype`.
    """

    embedder: str
    weights_sha256: str
    dimension: int
    detector_sha256: str
    alignment: str = "arcface-112-similarity"
    colour_order: str = "RGB"
    scaling: str = "(x - 127.5) / 128"
    dtype: str = "float32"

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over all fields."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def require(self, other: Contract) -> None:
        """Raise `ContractMismatch` unless `other` is the same contract."""
        if self.digest != other.digest:
            raise ContractMismatch(self.digest, other.digest)


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Face vectors: float32 `[n, d]`, each of unit length, with the contract they obey."""

    vectors: Floats
    contract: Contract

    def __post_init__(self) -> None:
        _require("embeddings", self.vectors, (None, self.contract.dimension), np.float32)
        if len(self.vectors):
            norms = np.linalg.norm(self.vectors, axis=1)
            worst = float(np.abs(norms - 1.0).max())
            if not worst < 1e-2:  # also catches NaN
                raise ShapeError("embeddings", "unit length", f"a length off by {worst:.3g}")

    def __len__(self) -> int:
        return len(self.vectors)

    def split(self, counts: Sequence[int]) -> list[Embeddings]:
        """Those of several images, which lie behind one another here."""
        return [
            _part(Embeddings, vectors=vectors, contract=self.contract)
            for vectors in _split(self.vectors, counts)
        ]


@dataclass(frozen=True, slots=True)
class HourlyCounts:
    """What a source saw, hour by hour on one wall clock.

    Attributes:
        source: its name.
        start: the first hour, local and naive.
        counts: float64 `[n]`, ≥ 0; NaN where unknown (before the source's first picture, and in
            the two hours a year in which a wall clock lies).

    Raises:
        ShapeError: counts of another form, or below 0.
    """

    source: str
    start: datetime
    counts: Doubles

    def __post_init__(self) -> None:
        _require(f"counts of {self.source}", self.counts, (None,), np.float64)
        if self.start.tzinfo is not None or self.start != self.start.replace(
            minute=0, second=0, microsecond=0
        ):
            raise ShapeError(f"start of {self.source}", "a whole local hour", str(self.start))
        if (self.counts < 0).any():
            raise ShapeError(f"counts of {self.source}", "≥ 0", str(np.nanmin(self.counts)))

    def __len__(self) -> int:
        return len(self.counts)

    def at(self, index: int) -> datetime:
        """When an hour begins."""
        return self.start + timedelta(hours=index)

    def index(self, moment: datetime) -> int:
        """The hour a local moment lies in; below 0 or beyond the end where it is outside."""
        return int((moment - self.start).total_seconds() // 3600)

    def hour_of_week(self, index: int) -> int:
        """0..167 of an hour; Monday 0:00 is 0."""
        moment = self.at(index)
        return moment.weekday() * 24 + moment.hour


@dataclass(frozen=True, slots=True)
class Visits:
    """When a person came: local wall clock, strictly rising.

    Raises:
        ShapeError: not rising.
    """

    person: str
    at: tuple[datetime, ...]

    def __post_init__(self) -> None:
        if any(later <= earlier for earlier, later in pairwise(self.at)):
            raise ShapeError(f"visits of {self.person}", "rising times", "others")

    @property
    def gaps(self) -> Doubles:
        """Hours between one visit and the next, float64 `[n - 1]`."""
        return np.array([(b - a).total_seconds() / 3600 for a, b in pairwise(self.at)], np.float64)


@dataclass(frozen=True, slots=True)
class Match:
    """The answer for one probe face.

    Attributes:
        outcome: accept, review (above the threshold, but a rival is close) or unknown.
        person_id, label: the best person of the gallery, also when the outcome is unknown;
            None only when the gallery is empty.
        score: cosine similarity to that person's best gallery face, -1..1.
        margin: lead over the best *other* person; inf with fewer than two people.
        threshold: score needed to accept, for this gallery size.
    """

    outcome: Outcome
    person_id: int | None
    label: str | None
    score: float
    margin: float
    threshold: float
    candidates: tuple[tuple[int, str, float], ...] = field(default=())
