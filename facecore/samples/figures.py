"""Portraits cut out along their outline, ready to be put into a camera frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from facecore.samples.sources import Portrait

Box = tuple[float, float, float, float]

_LEVELS_PX = (190.0, 134.0, 95.0, 67.0, 34.0, 17.0)  # face widths kept ready, large to small
_FACE_ASPECT = 1.35  # height of a face over its width
_BODY_HEIGHT = 4.4  # face widths from the forehead down; more is always hidden in a frame


@dataclass(frozen=True, slots=True)
class Figure:
    """A person without background.

    Attributes:
        person: who it is.
        portrait: file name it was cut from.
        pixels: RGBA; alpha is the outline, softened by about a pixel.
        face: x1 y1 x2 y2 in pixels of `pixels`.
        cut: the side of the picture that runs through the face, if one does.
    """

    person: str
    portrait: str
    pixels: Image.Image
    face: Box
    cut: Literal["left", "right", ""] = ""

    @property
    def face_px(self) -> float:
        """Width the face would have if it were whole."""
        x1, y1, x2, y2 = self.face
        return (y2 - y1) / _FACE_ASPECT if self.cut else x2 - x1


@dataclass(frozen=True, slots=True)
class Pose:
    """How a figure is shown: face width in pixels, degrees, mirrored, light from one side."""

    face_px: float
    angle: float = 0.0
    mirrored: bool = False
    side_light: float = 0.0
    stretch: float = 1.0


def cut_out(portrait: Portrait) -> list[Figure]:
    """The person of a portrait at several scales, largest first; none larger than the picture."""
    with Image.open(portrait.path) as opened:
        picture = opened.convert("RGB")
    x1, y1, x2, y2 = portrait.face
    cut: Literal["left", "right", ""] = (
        "left" if x1 <= 1 else "right" if x2 >= picture.width - 1 else ""
    )
    face_px = (y2 - y1) / _FACE_ASPECT if cut else x2 - x1
    mask = Image.new("L", picture.size)
    ImageDraw.Draw(mask).polygon([tuple(point) for point in portrait.silhouette], fill=255)
    left, top, right, bottom = mask.getbbox() or (0, 0, *picture.size)
    rim = max(2, round(0.03 * face_px))  # room for the softened outline
    left, top = max(0, left - rim), max(0, top - rim)
    right, bottom = min(picture.width, right + rim), min(picture.height, bottom + rim)
    area = (left, top, right, min(bottom, round(y1 + _BODY_HEIGHT * face_px)))
    figures = []
    for level in _LEVELS_PX:
        scale = level / face_px
        size = (round((area[2] - left) * scale), round((area[3] - top) * scale))
        pixels = picture.resize(size, Image.Resampling.LANCZOS, box=area)
        alpha = mask.resize(size, Image.Resampling.BOX, box=area)
        if level >= _LEVELS_PX[-3]:
            # one pixel less than the outline: no rim of the old background comes along
            alpha = alpha.filter(ImageFilter.MinFilter(3)).filter(ImageFilter.GaussianBlur(0.8))
        pixels.putalpha(alpha)
        face = ((x1 - left) * scale, (y1 - top) * scale, (x2 - left) * scale, (y2 - top) * scale)
        figures.append(Figure(portrait.person, portrait.name, pixels, face, cut))
    return figures


def posed(levels: Sequence[Figure], pose: Pose) -> Figure:
    """The figure at a scale and angle. The face box stays upright and as large as the face.

    One bilinear resampling of the next larger level. Mirroring swaps the side at which a half
    face is cut.
    """
    figure = next((f for f in reversed(levels) if f.face_px >= pose.face_px), levels[0])
    scale = pose.face_px / figure.face_px
    sx, sy = scale * pose.stretch, scale
    pixels, (x1, y1, x2, y2), cut = figure.pixels, figure.face, figure.cut
    if pose.mirrored:
        pixels = pixels.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        x1, x2 = pixels.width - x2, pixels.width - x1
        cut = {"left": "right", "right": "left"}.get(cut, "")  # type: ignore[assignment]
    # x' = A (x - middle) + middle', counter-clockwise as seen, y pointing down
    c, s = np.cos(np.deg2rad(pose.angle)), np.sin(np.deg2rad(pose.angle))
    forward = np.array([[c, s], [-s, c]]) @ np.diag([sx, sy])
    middle = np.array(pixels.size) / 2
    extent = np.abs(forward) @ np.array(pixels.size)
    size = (max(1, round(extent[0])), max(1, round(extent[1])))
    back = np.linalg.inv(forward)
    shift = middle - back @ (np.array(size) / 2)
    turned = pixels.transform(
        size,
        Image.Transform.AFFINE,
        (*back[0].tolist(), float(shift[0]), *back[1].tolist(), float(shift[1])),
        Image.Resampling.BILINEAR,
    )
    if pose.side_light:
        turned = _lit(turned, pose.side_light)
    x, y = forward @ (np.array([x1 + x2, y1 + y2]) / 2 - middle) + np.array(size) / 2
    half_w, half_h = (x2 - x1) * sx / 2, (y2 - y1) * sy / 2
    box = (float(x - half_w), float(y - half_h), float(x + half_w), float(y + half_h))
    return Figure(figure.person, figure.portrait, turned, box, cut)


def _lit(pixels: Image.Image, side_light: float) -> Image.Image:
    """Darker towards one side: +0.3 leaves 40 % less light at the left edge, -0.3 at the right."""
    ramp = np.linspace(1.0 - 2 * abs(side_light), 1.0, pixels.width)
    row = Image.fromarray((255 * (ramp if side_light > 0 else ramp[::-1]))[None].astype(np.uint8))
    shade = row.resize(pixels.size, Image.Resampling.NEAREST)
    opaque = Image.new("L", pixels.size, 255)
    return ImageChops.multiply(pixels, Image.merge("RGBA", (shade, shade, shade, opaque)))
