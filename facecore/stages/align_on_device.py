"""Alignment for pictures that lie on a GPU: all faces at once, out of one flat buffer.

The same transform as `stages.align`, and the same samples where a face is about as large as the
crop. Larger faces are averaged over the pixels under each of the crop's with the same triangular
weights, at fixed positions instead of all pixels, because faces of every size then share one
operation. The functions run on any device; tests hold them against `stages.align` on the CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor

from facecore.stages.align import TEMPLATE
from facecore.types import CROP_SIZE

# Faces of up to so many pixels per crop pixel are sampled at so many positions per axis.
_LEVELS = ((2.0, 1), (3.0, 6), (4.5, 8), (float("inf"), 12))
# Half the width of the triangle, in pixels of the crop. Alignment on the CPU reduces first and
# interpolates then, which together weigh like a triangle of about this width.
_REACH = 1.35
_SAMPLES_AT_ONCE = 512 * CROP_SIZE * CROP_SIZE


def similarity_on_device(landmarks: Tensor) -> Tensor:
    """As `align.similarity`: `[n, 5, 2]` → float32 `[n, 2, 3]`, from crop to image."""
    template = torch.from_numpy(TEMPLATE).to(landmarks.device, torch.float64)
    source = torch.view_as_complex(landmarks.double().contiguous())
    target = torch.view_as_complex(template)
    mean, target_mean = source.mean(1, keepdim=True), target.mean()
    centred = source - mean
    spread = centred.abs().square().sum(1).clamp_min(1e-12)
    turn = (centred.conj() * (target - target_mean)).sum(1) / spread
    turn = torch.where(turn.abs() < 1e-9, torch.ones_like(turn), turn)
    inverse = 1.0 / turn
    shift = mean[:, 0] - inverse * target_mean
    rows = (
        torch.stack([inverse.real, -inverse.imag, shift.real], -1),
        torch.stack([inverse.imag, inverse.real, shift.imag], -1),
    )
    return torch.stack(rows, 1).float()


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
    crops = torch.zeros(len(start), CROP_SIZE, CROP_SIZE, 3, dtype=torch.uint8, device=flat.device)
    smallest = 0.0
    for largest, positions in _LEVELS:
        own = torch.nonzero((extent >= smallest) & (extent < largest))[:, 0]
        smallest = largest
        at_once = _SAMPLES_AT_ONCE // (positions * CROP_SIZE**2)
        for chosen in torch.split(own, at_once):
            picked = flat, start[chosen], size[chosen], matrices[chosen]
            crops[chosen] = _averaged(*picked, positions)
    return crops


def _averaged(
    flat: Tensor, start: Tensor, size: Tensor, matrices: Tensor, positions: int
) -> Tensor:
    side = torch.arange(CROP_SIZE, device=flat.device, dtype=torch.float32)
    v, u = torch.meshgrid(side, side, indexing="ij")
    offsets, weights = _triangle(positions, flat.device)
    total = torch.zeros(len(start), CROP_SIZE * CROP_SIZE, 3, device=flat.device)
    for down, weight in zip(offsets, weights, strict=True):  # a row of positions at a time
        beside = u + offsets[:, None, None]
        place = torch.stack([beside, (v + down).expand_as(beside), torch.ones_like(beside)], -1)
        where = place.reshape(-1, 3) @ matrices.transpose(1, 2)  # [n, positions · 112², 2]
        sampled = _bilinear(flat, start, size, where)
        sampled = sampled.view(len(start), positions, CROP_SIZE * CROP_SIZE, 3)
        total += weight * (sampled * weights[:, None, None]).sum(1)
    total /= weights.sum() ** 2
    crops = total.round_().clamp_(0, 255).to(torch.uint8)
    return crops.view(-1, CROP_SIZE, CROP_SIZE, 3)


def _triangle(positions: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Positions around the middle of a pixel, and their weights."""
    if positions == 1:
        return torch.zeros(1, device=device), torch.ones(1, device=device)
    places = (torch.arange(positions, device=device) + 0.5) * (2.0 / positions) - 1.0
    return places * _REACH, 1.0 - places.abs()


def _bilinear(flat: Tensor, start: Tensor, size: Tensor, where: Tensor) -> Tensor:
    """float32 `[n, m, 3]` at `where` (`[n, m, 2]`, x and y) of each face's picture."""
    height, width = size[:, :1], size[:, 1:]
    corner = where.floor()
    part = where - corner
    x, y = corner[..., 0].long(), corner[..., 1].long()
    total = torch.zeros(*where.shape[:2], 3, device=flat.device)
    for right in (0, 1):
        for down in (0, 1):
            weight = (part[..., 0] if right else 1 - part[..., 0]) * (
                part[..., 1] if down else 1 - part[..., 1]
            )
            xi, yi = x + right, y + down
            inside = (xi >= 0) & (xi < width) & (yi >= 0) & (yi < height)
            at = start[:, None] + yi.clamp_min(0).minimum(height - 1) * width
            at = at + xi.clamp_min(0).minimum(width - 1)
            total += flat[at].float() * (weight * inside)[..., None]
    return total
