"""Crops that are known to be unusual, made from ordinary ones: what an autoencoder is tested by.

Everything is drawn from a generator, so that two models are judged on the same pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from facecore.types import CROP_SIZE

if TYPE_CHECKING:
    from facecore.lifecycle.datasets.snapshot import Crops

_LEAST_COVERED, _MOST_COVERED = CROP_SIZE // 2, 5 * CROP_SIZE // 7  # px a side: 25 % to 51 %
_PATCHES = 4  # a side


def plant(crops: Crops, *, seed: int = 0, non_faces: Crops | None = None) -> Mapping[str, Crops]:
    """Kind of anomaly → crops uint8 `[n, 112, 112, 3]`.

    Args:
        crops: ordinary ones, uint8 `[n, 112, 112, 3]`.
        non_faces: what a detector took for faces by mistake; drawn textures otherwise.
    """
    rng = np.random.default_rng(seed)
    if non_faces is None:
        non_faces = textures(len(crops), rng)
    return {
        "non-faces": non_faces,
        "occlusion": occluded(crops, non_faces, rng),
        "shuffled patches": shuffled(crops, rng),
    }


def occluded(crops: Crops, covers: Crops, rng: np.random.Generator) -> Crops:
    """A square of a quarter to half of each crop covered: by one colour, by a part of a picture
    that shows no face, by noise, in turns.
    """
    covered = crops.copy()
    for number in range(len(crops)):
        side = int(rng.integers(_LEAST_COVERED, _MOST_COVERED))
        top, left = (int(v) for v in rng.integers(0, CROP_SIZE - side, 2))
        part = (slice(top, top + side), slice(left, left + side))
        kind = number % 3
        if kind == 1 and len(covers):
            covered[number][part] = covers[number % len(covers)][part]
        else:
            form = (1, 1, 3) if kind == 0 else (side, side, 3)
            covered[number][part] = rng.integers(0, 256, form, np.uint8)
    return covered


def shuffled(crops: Crops, rng: np.random.Generator) -> Crops:
    """The 4×4 patches of each crop in another order."""
    side = CROP_SIZE // _PATCHES
    cut = crops.reshape(-1, _PATCHES, side, _PATCHES, side, 3).transpose(0, 1, 3, 2, 4, 5)
    patches = cut.reshape(len(crops), _PATCHES**2, side, side, 3).copy()
    for one in patches:
        one[:] = one[rng.permutation(_PATCHES**2)]
    placed = patches.reshape(-1, _PATCHES, _PATCHES, side, side, 3).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(placed.reshape(crops.shape))


def textures(count: int, rng: np.random.Generator) -> Crops:
    """Drawn textures: clouds, stripes, tiles, shapes; some in colours of skin."""
    from facecore.lifecycle.datasets.composing.textures import drawn

    made = [drawn(rng, CROP_SIZE, CROP_SIZE).astype(np.uint8) for _ in range(count)]
    return np.stack(made) if made else np.zeros((0, CROP_SIZE, CROP_SIZE, 3), np.uint8)
