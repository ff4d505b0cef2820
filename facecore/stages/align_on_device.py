"""Alignment for pictures that lie on a GPU: all faces at once, out of one flat buffer.

The same transform as `stages.align`, and the same samples where a face is about as large as the
crop. Larger faces are averaged over the pixels under each of the crop's with the same triangular
weights, at fixed positions instead of all pixels, because faces of every size then share one
operation. The functions run on any device; tests hold them against `stages.align` on the CPU.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from facecore.stages.align import TEMPLATE
from facecore.types import CROP_SIZE

# Faces of up to so many pixels per crop pixel are sampled at so many positions per axis.
_LEVELS = ((2.0, 1), (3.0, 6), (4.5, 8), (float("inf"), 12))
_STEPS = tuple(largest for largest, _ in _LEVELS[:-1])
# Half the width of the triangle, in pixels of the crop. Alignment on the CPU reduces first and
# interpolates then, which together weigh like a triangle of about this width.
_REACH = 1.35
_SAMPLES_AT_ONCE = 256 * CROP_SIZE * CROP_SIZE


def similarity_on_device(landmarks: Tensor) -> Tensor:
    """As `align.similarity`: `[n, 5, 2]` → float32 `[n, 2, 3]`, from crop to image."""
    products, (target_x, target_y) = _template(landmarks.device)
    source = landmarks.double()
    mean = source.mean(1)
    centred = (source - mean[:, None]).flatten(1)
    spread = centred.square().sum(1).clamp_min(1e-12)
    turn = centred @ products / spread[:, None]
    length = turn.square().sum(1)
    fixed = length < 1e-18
    real = (turn[:, 0] / length).masked_fill(fixed, 1.0)
    imaginary = (-turn[:, 1] / length).masked_fill(fixed, 0.0)
    rows = [
        *(real, -imaginary, mean[:, 0] - (real * target_x - imaginary * target_y)),
        *(imaginary, real, mean[:, 1] - (imaginary * target_x + real * target_y)),
    ]
    return torch.stack(rows, 1).view(-1, 2, 3).float()


@lru_cache(maxsize=8)
def _template(device: torch.device) -> tuple[Tensor, tuple[float, float]]:
    """What centred points `x0 y0 x1 …` are multiplied with, so that as complex numbers
    `Σ conj(point) · template` results, real and imaginary part; and the template's middle."""
    points = TEMPLATE.astype(np.float64)
    middle = points.mean(0)
    x, y = (points - middle).T
    products = np.stack([np.stack([x, y], 1).ravel(), np.stack([y, -x], 1).ravel()], 1)
    return torch.from_numpy(products).to(device), (float(middle[0]), float(middle[1]))


@torch.inference_mode()
def align_on_device(flat: Tensor, start: Tensor, size: Tensor, landmarks: Tensor) -> Tensor:
    """One upright crop per face; what lies outside its picture is black.

    Args:
        flat: uint8 `[pixels, 3]`, pictures row by row behind one another.
        start: int64 `[n]`, where the picture of each face begins in `flat`.
        size: int64 `[n, 2]`, height and width of that picture.
        landmarks: float `[n, 5, 2]` in pixels of that picture.

    Returns:
        uint8 `[n, 112, 112, 3]` on the same device.
    """
    matrices = similarity_on_device(landmarks)
    extent = torch.hypot(matrices[:, 0, 0], matrices[:, 1, 0])
    level = torch.stack([extent >= step for step in _STEPS]).sum(0)
    order = level.argsort(stable=True)
    columns = start[order], size[order], matrices[order]
    crops = torch.empty(len(start), CROP_SIZE, CROP_SIZE, 3, dtype=torch.uint8, device=flat.device)
    first = 0
    counts = torch.bincount(level, minlength=len(_LEVELS)).tolist()
    for count, (_, positions) in zip(counts, _LEVELS, strict=True):
        at_once = _SAMPLES_AT_ONCE // (positions * CROP_SIZE**2)
        for begin in range(first, first + count, at_once):
            some = slice(begin, min(begin + at_once, first + count))
            own_start, own_size, own_matrices = (column[some] for column in columns)
            averaged = _averaged(flat, own_start, own_size, own_matrices, positions)
            crops[order[some]] = averaged
        first += count
    return crops


def _averaged(
    flat: Tensor, start: Tensor, size: Tensor, matrices: Tensor, positions: int
) -> Tensor:
    crop, offsets, weights = _places(positions, flat.device)
    total = torch.zeros(len(start), CROP_SIZE * CROP_SIZE, 3, device=flat.device)
    for down, weight in zip(offsets, weights, strict=True):  # a row of positions at a time
        shifted = [torch.stack([crop[0] + beside, crop[1] + down, crop[2]]) for beside in offsets]
        where = matrices @ torch.cat(shifted, 1)  # [n, 2, positions · 112²]
        sampled = _bilinear(flat, start, size, where)
        if positions == 1:
            total = sampled
            break
        for column, beside in zip(sampled.chunk(positions, 1), weights, strict=True):
            total += column * (weight * beside)
    crops = total.round_().clamp_(0, 255).to(torch.uint8)
    return crops.view(-1, CROP_SIZE, CROP_SIZE, 3)


@lru_cache(maxsize=32)
def _places(positions: int, device: torch.device) -> tuple[Tensor, list[float], list[float]]:
    """The crop's pixels (`[3, 112²]`: u, v, 1), positions around the middle of each, and their
    weights along one axis, which add up to 1."""
    # Made on the host: a copy waits until it is there, and other threads, whose streams wait for
    # nothing of this one, get it only then.
    v, u = np.mgrid[:CROP_SIZE, :CROP_SIZE].astype(np.float32)
    crop = torch.from_numpy(np.stack([u, v, np.ones_like(u)])).to(device).flatten(1)
    if positions == 1:
        return crop, [0.0], [1.0]
    places = (np.arange(positions) + 0.5) * (2.0 / positions) - 1.0
    weights = 1.0 - np.abs(places)
    return crop, (places * _REACH).tolist(), (weights / weights.sum()).tolist()


def _bilinear(flat: Tensor, start: Tensor, size: Tensor, where: Tensor) -> Tensor:
    """float32 `[n, m, 3]` at `where` (`[n, 2, m]`, x and y) of each face's picture."""
    corner = where.floor()
    part = where - corner
    low = corner.long()
    both = torch.stack([low, low + 1], -1)  # [n, 2, m, 2]
    last = size.flip(1)[:, :, None, None] - 1
    weight = torch.stack([1.0 - part, part], -1)
    weight = weight.masked_fill((both < 0) | (both > last), 0.0)
    both = torch.minimum(both.clamp_min(0), last)
    rows = both[:, 1] * size[:, 1, None, None] + start[:, None, None]
    at = rows[..., :, None] + both[:, 0, :, None, :]  # [n, m, 2, 2]: y, x
    share = weight[:, 1, :, :, None] * weight[:, 0, :, None, :]
    return (flat[at] * share[..., None]).sum((2, 3))
