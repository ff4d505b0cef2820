"""The shadow comparison of a promotion: what the staged pair says beside the pair in use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

SCHEMA = "facecore/shadow-comparison/1"

# Kind of change → what it means, in the order of reading.
WORDS = {
    "same": "same person, as before",
    "unknown": "unknown, as before",
    "renamed": "another person",
    "lost": "named before, now unknown",
    "gained": "unknown before, now named",
    "confidence": "same person, other confidence (accept or review)",
    "not_found": "not found by the new detector",
    "newly_found": "found by the new detector only",
    "human": "named by a human, stays",
    "not_compared": "not compared with the gallery",
}
CHANGED = ("renamed", "lost", "gained", "confidence", "not_found", "newly_found")


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often both pairs put the same person first, of a sample of faces, with its exact 95 %
    interval; faces count also where the best person is below the threshold."""

    faces: int
    same: int
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Example:
    """A face for which something would change. `before` and `after`: what is said, in words."""

    kind: str
    face_id: int
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class ShadowComparison:
    """What would change if the staged pair came into use.

    Attributes:
        before, after: task → `name/version`.
        kinds: kind of change (a key of `WORDS`) → faces.
        agreement: None where nothing could be compared (no faces or nobody enrolled).
        edges: of the histograms; `old_scores` and `new_scores` count faces between them.
        thresholds: cosine similarity needed before and after.
        index_recall: share of the ten nearest faces that the new index finds; None without faces.
        audit_head: hash of the newest audit entry at that moment.
    """

    promotion: int
    before: Mapping[str, str]
    after: Mapping[str, str]
    made_at: str
    code_version: str
    gallery_faces: int
    kinds: Mapping[str, int]
    agreement: Agreement | None
    edges: tuple[float, ...]
    old_scores: tuple[int, ...]
    new_scores: tuple[int, ...]
    thresholds: tuple[float | None, float | None]
    index_recall: float | None
    examples: tuple[Example, ...]
    audit_head: str | None

    @property
    def faces(self) -> int:
        return sum(self.kinds.values())

    @property
    def changed(self) -> int:
        return sum(self.kinds[kind] for kind in CHANGED)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"schema": SCHEMA, **asdict(self), "faces": self.faces, "changed": self.changed}

    def as_text(self) -> str:
        """The same as JSON text."""
        return json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n"
