"""Canaries: sixteen drawn crops that never change, to see whether an embedder does.

They are drawn by whole-number arithmetic, so that every machine and every version of every
library gives the same bytes; nobody's picture has to be kept for them, nor erased. What an
embedder makes of them changes with its weights, its preprocessing, the precision and the numerics
of the device: all that its contract promises.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from facecore.types import CROP_SIZE, FaceCrops, Floats

COUNT = 16


@dataclass(frozen=True, slots=True)
class Reproduced:
    """How well pinned vectors were reproduced: the worst canary's cosine distance, 0..2."""

    worst: float
    mean: float
    compared: int


@lru_cache(maxsize=1)
def canaries() -> FaceCrops:
    """The crops, uint8 `[16, 112, 112, 3]`."""
    return FaceCrops(np.stack([_drawn(number) for number in range(COUNT)]))


def digests() -> list[str]:
    """SHA-256 of each crop, in order."""
    return [hashlib.sha256(crop.tobytes()).hexdigest() for crop in canaries().pixels]


def reproduced(pinned: Mapping[str, Floats], vectors: Mapping[str, Floats]) -> Reproduced | None:
    """Compare vectors with the pinned ones of the same crops; None where nothing is pinned.

    Args:
        pinned, vectors: SHA-256 of a crop → its vector float32 `[d]` of any length.
    """
    distances = []
    for crop, before in pinned.items():
        if (now := vectors.get(crop)) is None:
            continue
        a, b = before.astype(np.float64), now.astype(np.float64)
        lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
        usable = a.shape == b.shape and np.isfinite(b).all() and lengths > 0
        distances.append(1 - float(a @ b) / lengths if usable else 2.0)
    if not distances:
        return None
    return Reproduced(max(distances), sum(distances) / len(distances), len(distances))


def _drawn(number: int) -> npt.NDArray[np.uint8]:
    """A face of ellipses, lit from a side, with grain; all numbers from a hash of `number`."""
    dice = hashlib.sha256(f"facecore canary {number}".encode()).digest()
    y, x = np.mgrid[0:CROP_SIZE, 0:CROP_SIZE].astype(np.int64)
    skin = np.array([110 + dice[0] % 130, 70 + dice[1] % 110, 50 + dice[2] % 100])
    dark = np.array([dice[3] % 80, dice[4] % 70, dice[5] % 60])
    picture = np.broadcast_to(
        np.array([dice[6], dice[7], dice[8]]), (CROP_SIZE, CROP_SIZE, 3)
    ).astype(np.int64)

    def ellipse(cx: int, cy: int, rx: int, ry: int, colour: npt.NDArray[np.int64]) -> None:
        inside = (x - cx) ** 2 * ry**2 + (y - cy) ** 2 * rx**2 <= rx**2 * ry**2
        picture[inside] = colour

    width, height = 40 + dice[9] % 10, 52 + dice[10] % 8
    ellipse(56, 44, width + 6, height, dark)  # hair
    ellipse(56, 62, width, height - 4, skin)
    for eye in (38, 74):  # where alignment puts eyes, nose and mouth
        ellipse(eye, 52, 8 + dice[11] % 3, 4 + dice[12] % 2, np.array([235, 235, 230]))
        ellipse(eye, 52, 4, 4, dark)
        ellipse(eye, 42 - dice[13] % 3, 10, 2 + dice[14] % 2, dark)
    ellipse(56, 72, 5 + dice[15] % 4, 8, skin * 4 // 5)
    ellipse(56, 92, 12 + dice[16] % 8, 3 + dice[17] % 4, np.array([150, 60 + dice[18] % 40, 70]))
    side = (x - 56) * (dice[19] % 5 - 2) // 2 + (56 - y) * (dice[20] % 3) // 2
    grain = hashlib.shake_256(dice).digest(CROP_SIZE * CROP_SIZE * 3)
    noise = np.frombuffer(grain, np.uint8).reshape(CROP_SIZE, CROP_SIZE, 3).astype(np.int64) % 17
    lit = picture + side[..., None] // 2 + noise - 8
    return np.asarray(np.clip(lit, 0, 255), np.uint8)
