"""A snapshot of scenes: pictures with the boxes and landmarks of all faces on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from facecore.errors import UsageError
from facecore.lifecycle.datasets.building import Built, Destination, publish
from facecore.lifecycle.datasets.manifest import Provenance, Rows, counts
from facecore.lifecycle.datasets.splits import Split, SplitPlan
from facecore.lifecycle.datasets.spool import Spool
from facecore.types import Floats

_ROWS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Scene:
    """An encoded picture and what is on it.

    Attributes:
        name: of the picture within its source.
        data, suffix: JPEG ("jpg") or PNG ("png"), upright.
        path: the file that holds `data` as it is, if there is one.
        boxes: float32 `[n, 4]`, x1 y1 x2 y2 in pixels, within the picture.
        landmarks: float32 `[n, 5, 2]`, NaN where unknown.
        identities: who is on it, as far as it is known: `[n]`, or empty.
    """

    name: str
    split: Split
    data: bytes
    suffix: str
    width: int
    height: int
    boxes: Floats
    landmarks: Floats
    identities: Sequence[str | None] = ()
    path: Path | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


class SceneWriter:
    """Takes scenes, and keeps their rows."""

    def __init__(self, spool: Spool, rows: Rows, source: str) -> None:
        self._spool, self._rows, self._source = spool, rows, source
        self._waiting: list[dict[str, Any]] = []

    def add(self, scene: Scene) -> None:
        """One scene."""
        if scene.path is not None:
            stored = self._spool.add_file("scenes", scene.path, scene.data, scene.suffix)
        else:
            stored = self._spool.add("scenes", scene.data, scene.suffix)
        sides = scene.boxes[:, 2:] - scene.boxes[:, :2]
        smallest = float(np.sqrt(sides.prod(1)).min()) if len(sides) else None
        self._waiting.append(
            {
                **scene.labels,
                "object": stored[0],
                "object_sha256": stored[1],
                "split": scene.split,
                "source": self._source,
                "image": scene.name,
                "width": scene.width,
                "height": scene.height,
                "faces": len(scene.boxes),
                "boxes": scene.boxes.ravel().tolist(),
                "landmarks": scene.landmarks.ravel().tolist(),
                "identities": list(scene.identities),
                "smallest_px": smallest,
            }
        )
        if len(self._waiting) == _ROWS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Hand over the rows that wait."""
        self._rows.add(self._waiting)
        self._waiting = []


def publish_scenes(
    destination: Destination,
    spool: Spool,
    table: pa.Table,
    provenance: Provenance,
    plan: SplitPlan,
    what: str,
) -> Built:
    """Publish scenes, once each wanted split has one with a face.

    Raises:
        UsageError: a split has none. Nothing was written.
    """
    have = counts(table, "scenes")
    if empty := [s for s in plan.wanted if not have.get(s, {}).get("faces")]:
        raise UsageError(
            f"{what} gives no face for the split {', '.join(empty)}.",
            remedy="Give more pictures, or other shares (--val, --test; 0 makes no such split).",
        )
    return publish(destination, spool, table, provenance)
