"""Measures a picture for the quality gate, at a bounded size so that it stays cheap.

Everything but bytes and pixels is measured on the brightness (ITU-R BT.601 luma, 0..255) of the
picture reduced to `WORKING_SIDE` pixels, so that one threshold serves a thumbnail and a 12 MP
photograph. Smaller pictures are measured as they are.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from facecore.errors import ShapeError
from facecore.types import Floats, Image

WORKING_SIDE = 192
_SAMPLED_SIDE = 4 * WORKING_SIDE  # large pictures are first thinned to at least this
_FLAT = 0.05  # gradient energy of rounding alone; keeps a flat picture from looking sharp


@dataclass(frozen=True, slots=True)
class ImageMeasurements:
    """What the gate judges.

    Attributes:
        bytes: size of the file.
        width, height: pixels of the upright picture.
        pixels: width × height.
        short_side: the smaller of width and height.
        aspect: longer side / shorter side, from 1.
        sharpness: see `sharpness`; about 0.2 when far too blurred, 1 for a photograph.
        brightness: mean luma, 0..255.
        contrast: standard deviation of luma, 0..127.5.
        dynamic_range: 99th − 1st percentile of luma, 0..255.
        bits_per_pixel: 8 · bytes / pixels.
    """

    bytes: int
    width: int
    height: int
    pixels: int
    short_side: int
    aspect: float
    sharpness: float
    brightness: float
    contrast: float
    dynamic_range: float
    bits_per_pixel: float

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, as stored in the catalogue."""
        return asdict(self)


def measure(image: Image, n_bytes: int) -> ImageMeasurements:
    """Measure one picture.

    Args:
        image: uint8 RGB `[h, w, 3]`, upright.
        n_bytes: size of the file it came from.

    Raises:
        ShapeError: not such an array, or one without pixels.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ShapeError("image", "uint8 [h, w, 3]", f"{image.dtype} {list(image.shape)}")
    height, width = image.shape[:2]
    luma = _reduced_luma(image)
    levels = np.bincount(luma.ravel(), minlength=256)
    cumulated = np.cumsum(levels) / luma.size
    low, high = np.searchsorted(cumulated, (0.01, 0.99))
    return ImageMeasurements(
        bytes=n_bytes,
        width=width,
        height=height,
        pixels=width * height,
        short_side=min(width, height),
        aspect=round(max(width, height) / min(width, height), 4),
        sharpness=round(float(sharpness(luma[None].astype(np.float32))[0]), 4),
        brightness=round(float(luma.mean()), 3),
        contrast=round(float(luma.std()), 3),
        dynamic_range=float(high - low),
        bits_per_pixel=round(8 * n_bytes / (width * height), 4),
    )


def sharpness(luma: Floats) -> Floats:
    """Energy of the Laplacian over the energy of the gradient, after a light smoothing.

    The ratio is the mean squared spatial frequency of the edges: it falls as 1/σ² under a blur
    of σ pixels. Unlike the usual variance of the Laplacian (Pech-Pacheco et al., 2000), it does
    not mistake low contrast for blur, and the 3 × 3 binomial smoothing keeps sensor noise and
    JPEG blocks from counting as detail.

    Args:
        luma: float32 `[n, h, w]`, 0..255, all at the scale the threshold was made for.

    Returns:
        float32 `[n]`, ≥ 0; 0 where a side is too short (under 5 pixels) to tell.
    """
    if min(luma.shape[1:]) < 5:
        return np.zeros(len(luma), np.float32)
    smooth = luma[:, :, :-2] + 2 * luma[:, :, 1:-1] + luma[:, :, 2:]
    smooth = (smooth[:, :-2] + 2 * smooth[:, 1:-1] + smooth[:, 2:]) / 16
    right, down = np.diff(smooth, axis=2), np.diff(smooth, axis=1)
    bend = np.diff(right, axis=2)[:, 1:-1] + np.diff(down, axis=1)[:, :, 1:-1]
    gradient = (right.var(axis=(1, 2)) + down.var(axis=(1, 2))) / 2
    ratio: npt.NDArray[np.float32] = (bend.var(axis=(1, 2)) / (gradient + _FLAT)).astype(np.float32)
    return ratio


def _reduced_luma(image: Image) -> npt.NDArray[np.uint8]:
    from PIL import Image as PillowImage

    height, width = image.shape[:2]
    step = max(1, max(height, width) // _SAMPLED_SIDE)
    # A copy of the thinned picture: converting all of 12 MP would cost ten times as much.
    luma = PillowImage.fromarray(np.ascontiguousarray(image[::step, ::step])).convert("L")
    scale = WORKING_SIDE / max(luma.size)
    if scale < 1:
        size = (max(1, round(luma.width * scale)), max(1, round(luma.height * scale)))
        luma = luma.resize(size, PillowImage.Resampling.BOX)
    return np.asarray(luma)
