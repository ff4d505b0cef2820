"""Portraits cut out along their outline, ready to be put into a camera frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from facecore.samples.sources import Portrait

Box = tuple[float, float, float, float]

_MAX_FACE_PX = 260.0  # frames never need a larger one; keeps the cut-outs small


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
        return (y2 - y1) / 1.35 if self.cut else x2 - x1


@dataclass(frozen=True, slots=True)
class Pose:
    """How a figure is shown: face width in pixels, degrees, mirrored, light from one side."""

    face_px: float
    angle: float = 0.0
    mirrored: bool = False
    side_light: float = 0.0
    stretch: float = 1.0


def cut_out(portrait: Portrait) -> Figure:
    """The person of a portrait, at the largest scale that frames need."""
    with Image.open(portrait.path) as opened:
        picture = opened.convert("RGB")
    mask = Image.new("L", picture.size)
    ImageDraw.Draw(mask).polygon([tuple(point) for point in portrait.silhouette], fill=255)
    left, top, right, bottom = mask.getbbox() or (0, 0, *picture.size)
    x1, y1, x2, y2 = portrait.face
    cut: Literal["left", "right", ""] = (
        "left" if x1 <= 1 else "right" if x2 >= picture.width - 1 else ""
    )
    scale = min(1.0, _MAX_FACE_PX * 1.35 / (y2 - y1))
    size = (round((right - left) * scale), round((bottom - top) * scale))
    pixels = picture.resize(size, Image.Resampling.LANCZOS, box=(left, top, right, bottom))
    alpha = mask.resize(size, Image.Resampling.BOX, box=(left, top, right, bottom))
    # one pixel less than the outline, so that no rim of the old background comes along
    alpha = alpha.filter(ImageFilter.MinFilter(3)).filter(ImageFilter.GaussianBlur(1.0))
    pixels.putalpha(alpha)
    face = ((x1 - left) * scale, (y1 - top) * scale, (x2 - left) * scale, (y2 - top) * scale)
    return Figure(portrait.person, portrait.name, pixels, face, cut)


def posed(figure: Figure, pose: Pose) -> Figure:
    """The figure at a scale and angle. The face box stays upright and as large as the face.

    Mirroring swaps the side at which a half face is cut.
    """
    scale = pose.face_px / figure.face_px
    width = max(1, round(figure.pixels.width * scale * pose.stretch))
    height = max(1, round(figure.pixels.height * scale))
    # two steps when much smaller: box averaging first is as good and several times faster
    pixels = figure.pixels.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)
    x1, y1, x2, y2 = figure.face
    sx, sy = width / figure.pixels.width, height / figure.pixels.height
    x1, y1, x2, y2 = x1 * sx, y1 * sy, x2 * sx, y2 * sy
    cut = figure.cut
    if pose.mirrored:
        pixels = pixels.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        x1, x2 = width - x2, width - x1
        cut = {"left": "right", "right": "left"}.get(cut, "")  # type: ignore[assignment]
    if pose.side_light:
        pixels = _lit(pixels, pose.side_light)
    if pose.angle:
        turned = pixels.rotate(pose.angle, Image.Resampling.BICUBIC, expand=True)
        x1, y1, x2, y2 = _turned_box((x1, y1, x2, y2), pixels.size, turned.size, pose.angle)
        pixels = turned
    return Figure(figure.person, figure.portrait, pixels, (x1, y1, x2, y2), cut)


def _turned_box(box: Box, before: Sequence[int], after: Sequence[int], angle: float) -> Box:
    """The box moved to where its centre went; Pillow turns counter-clockwise, y points down."""
    radians = np.deg2rad(angle)
    dx = (box[0] + box[2] - before[0]) / 2
    dy = (box[1] + box[3] - before[1]) / 2
    x = after[0] / 2 + dx * np.cos(radians) + dy * np.sin(radians)
    y = after[1] / 2 - dx * np.sin(radians) + dy * np.cos(radians)
    half_w, half_h = (box[2] - box[0]) / 2, (box[3] - box[1]) / 2
    return float(x - half_w), float(y - half_h), float(x + half_w), float(y + half_h)


def _lit(pixels: Image.Image, side_light: float) -> Image.Image:
    """Brighter towards one side: +0.3 means 30 % more at the right edge, 30 % less at the left."""
    values = np.asarray(pixels).astype(np.float32)
    ramp = 1.0 + side_light * np.linspace(-1.0, 1.0, pixels.width, dtype=np.float32)
    values[..., :3] *= ramp[None, :, None]
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8), "RGBA")
