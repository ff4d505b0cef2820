"""Faces → upright 112×112 crops, by a similarity transform of five landmarks.

The template is ArcFace's (Deng et al., CVPR 2019). The transform is the least-squares
similarity (Umeyama, IEEE TPAMI 1991), which in two dimensions and without reflection has a
closed form: with points as complex numbers, `z → a z + b`. OpenCV's
`FaceRecognizerSF.alignCrop` is the reference; unlike it, faces much larger than the crop are
reduced with antialiasing first, because plain bilinear sampling would skip most pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from facecore.errors import ShapeError
from facecore.stages.workers import Workers
from facecore.types import CROP_SIZE, Detections, FaceCrops, Floats, Image

# Where the landmarks lie in the crop (px), in the order of `types.LANDMARK_NAMES`.
TEMPLATE: Floats = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    np.float32,
)
# From this many image pixels per crop pixel on, the face is reduced before it is sampled.
_REDUCE_FROM = 2.0
_FACES_AT_ONCE = 8
# Patches are padded to a multiple of it. The size of what is sampled decides how positions in it
# are rounded: it must follow from the face alone, or a crop would depend on its company.
_SIDE_STEP = 64
# (u, v, 1) of every pixel of a crop, row by row. Made by NumPy: an operation of torch this large
# would start its threads at import, and a process forked after that hangs in its first one.
_CROP_PIXELS = torch.from_numpy(
    np.stack(
        [
            np.tile(np.arange(CROP_SIZE), CROP_SIZE),
            np.repeat(np.arange(CROP_SIZE), CROP_SIZE),
            np.ones(CROP_SIZE * CROP_SIZE),
        ],
        1,
    ).astype(np.float32)
)

Doubles = npt.NDArray[np.float64]


def similarity(landmarks: Floats) -> Doubles:
    """Transforms from crop to image: `[n, 5, 2]` landmarks → float64 `[n, 2, 3]`.

    A crop pixel `(u, v)` shows the image at `matrix @ (u, v, 1)`. The transform is fitted from
    the image to the crop (errors are measured in crop pixels, as OpenCV does) and inverted.
    """
    source = landmarks[..., 0].astype(np.float64) + 1j * landmarks[..., 1]
    target = TEMPLATE[:, 0].astype(np.float64) + 1j * TEMPLATE[:, 1]
    source_mean, target_mean = source.mean(1, keepdims=True), target.mean()
    centred = source - source_mean
    spread = np.maximum((np.abs(centred) ** 2).sum(1), 1e-12)
    turn = (np.conj(centred) * (target - target_mean)).sum(1) / spread
    # All five points in one place, or no better turn than none: fall back to a plain shift.
    turn = np.where(np.abs(turn) < 1e-9, 1.0, turn)
    inverse = 1.0 / turn
    shift = source_mean[:, 0] - inverse * target_mean
    return np.stack(
        [
            np.stack([inverse.real, -inverse.imag, shift.real], -1),
            np.stack([inverse.imag, inverse.real, shift.imag], -1),
        ],
        -2,
    )


def align(
    images: Sequence[Image], detections: Sequence[Detections], workers: Workers | None = None
) -> list[FaceCrops]:
    """One upright crop per detection, image by image; what lies outside an image is black.

    Raises:
        ShapeError: detections have no landmarks, or there is not one `Detections` per image.
    """
    if len(images) != len(detections):
        raise ShapeError("detections", f"{len(images)} (one per image)", str(len(detections)))
    for found in detections:
        if found.landmarks is None:
            raise ShapeError("landmarks", "float32 [n, 5, 2]", "none")
    if not detections:
        return []
    owner = [i for i, found in enumerate(detections) for _ in range(len(found))]
    crops = np.empty((len(owner), CROP_SIZE, CROP_SIZE, 3), np.uint8)
    if owner:
        landmarks = np.concatenate([d.landmarks for d in detections if d.landmarks is not None])
        matrices = similarity(landmarks)
        # Faces of like extent share a batch, so that little of it is padding.
        order = np.argsort(_extent(matrices), kind="stable")

        def fill(chosen: npt.NDArray[np.intp]) -> None:
            crops[chosen] = _sample([images[owner[i]] for i in chosen], matrices[chosen])

        # Sampling takes the CPU also beside a GPU: the pictures are there.
        (workers or Workers()).on_cpu().run(order, _FACES_AT_ONCE, fill)
    ends = np.cumsum([len(found) for found in detections])[:-1]
    return [FaceCrops(part) for part in np.split(crops, ends)]


def pixels_per_crop_pixel(landmarks: Floats) -> Doubles:
    """How many pixels of the image lie under one of the crop's, across: float64 `[n]`."""
    return _extent(similarity(landmarks))


def _extent(matrices: Doubles) -> Doubles:
    """Image pixels per crop pixel."""
    return np.hypot(matrices[:, 0, 0], matrices[:, 1, 0])


def _sample(images: Sequence[Image], matrices: Doubles) -> npt.NDArray[np.uint8]:
    """Crops `[n, 112, 112, 3]`: face `i` from `images[i]` through `matrices[i]`."""
    patches, moved = zip(*map(_patch, images, matrices), strict=True)
    sides = np.array([-(-max(patch.shape[:2]) // _SIDE_STEP) * _SIDE_STEP for patch in patches])
    crops = np.empty((len(patches), CROP_SIZE, CROP_SIZE, 3), np.uint8)
    for side in np.unique(sides).tolist():
        alike = np.flatnonzero(sides == side)
        crops[alike] = _sample_squares([patches[i] for i in alike], [moved[i] for i in alike], side)
    return crops


@torch.inference_mode()
def _sample_squares(
    patches: Sequence[Image], matrices: Sequence[Doubles], side: int
) -> npt.NDArray[np.uint8]:
    """Crops of patches that are padded to `side` pixels."""
    batch = torch.zeros(len(patches), side, side, 3, dtype=torch.uint8)
    for slot, patch in zip(batch, patches, strict=True):
        slot[: patch.shape[0], : patch.shape[1]] = torch.from_numpy(patch)
    # grid_sample counts from -1 to 1 between the centres of the outermost pixels.
    unit = np.stack(matrices) * (2.0 / (side - 1)) - np.array([0.0, 0.0, 1.0])
    where = _CROP_PIXELS @ torch.from_numpy(unit.astype(np.float32)).transpose(1, 2)
    grid = where.view(-1, CROP_SIZE, CROP_SIZE, 2)
    planes = batch.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    sampled = F.grid_sample(planes, grid, "bilinear", "zeros", align_corners=True)
    crops: npt.NDArray[np.uint8] = sampled.round_().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return crops


def _patch(image: Image, matrix: Doubles) -> tuple[Image, Doubles]:
    """The part of `image` that a crop shows, and the transform from the crop to that part.

    Faces of more than twice the crop's size come reduced to it. A crop that shows nothing of
    the image gets one black pixel.
    """
    corners = np.array([[0, 0, 1], [CROP_SIZE, 0, 1], [0, CROP_SIZE, 1], [CROP_SIZE, CROP_SIZE, 1]])
    seen = corners @ matrix.T
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    margin = 2 + int(scale)  # antialiasing looks beyond the corner
    limit = np.array([image.shape[1], image.shape[0]])
    x1, y1 = np.clip(np.floor(seen.min(0)) - margin, 0, limit).astype(int)
    x2, y2 = np.clip(np.ceil(seen.max(0)) + margin, 0, limit).astype(int)
    if x2 <= x1 or y2 <= y1:
        return np.zeros((1, 1, 3), np.uint8), matrix + np.array([0.0, 0.0, 1e6])
    patch = image[y1:y2, x1:x2]
    moved = matrix - np.array([[0, 0, x1], [0, 0, y1]])
    if scale < _REDUCE_FROM:
        return patch, moved
    height, width = (max(1, round(length / scale)) for length in patch.shape[:2])
    planes = torch.from_numpy(np.ascontiguousarray(patch)).permute(2, 0, 1)[None]
    reduced = F.interpolate(planes, (height, width), mode="bilinear", antialias=True)
    factor = np.array([[width / patch.shape[1]], [height / patch.shape[0]]])
    # Pixel centres: what lay at x lies at (x + 0.5) * factor - 0.5 now.
    moved = moved * factor
    moved[:, 2:] += 0.5 * factor - 0.5
    return reduced[0].permute(1, 2, 0).numpy(), moved
