"""A part of a picture moved, turned, scaled and blended into another, with its box and points.

The edge of what is pasted must not give a face away. So it is soft and irregular, its width
varies from sharp to wide, and parts without a face are pasted by the same means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facecore.types import Floats, Image

Doubles = npt.NDArray[np.float64]
Rng = np.random.Generator
_MIRRORED = np.array([1, 0, 2, 4, 3])  # right and left change places
_WAVES = np.arange(2, 7)
_ANGLES = 512
SIGNS = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]], np.float64)  # of the corners of a box


@dataclass(frozen=True, slots=True)
class Move:
    """From source pixels to scene pixels: mirrored or not, scaled, turned, shifted.

    Attributes:
        angle: radians, clockwise in the picture.
    """

    source: Doubles  # centre [2]
    target: Doubles  # where it goes [2]
    scale: float
    angle: float
    mirrored: bool

    @property
    def matrix(self) -> Doubles:
        """`[2, 3]`: scene = matrix @ (x, y, 1)."""
        cos, sin = self.scale * np.cos(self.angle), self.scale * np.sin(self.angle)
        linear = np.array([[cos, -sin], [sin, cos]])
        if self.mirrored:
            linear[:, 0] *= -1
        return np.column_stack([linear, self.target - linear @ self.source])

    def points(self, landmarks: Floats) -> Floats:
        """Landmarks float32 `[5, 2]` in the scene, in their order after mirroring."""
        matrix = self.matrix
        moved = landmarks @ matrix[:, :2].T + matrix[:, 2]
        return (moved[_MIRRORED] if self.mirrored else moved).astype(np.float32)

    def box(self, box: Floats | Doubles) -> Doubles:
        """The box `[4]` around a moved face: faces are ovals, so that of the turned oval."""
        matrix = self.matrix
        centre = matrix[:, :2] @ ((box[:2] + box[2:]) / 2) + matrix[:, 2]
        half = self.scale * (box[2:] - box[:2]) / 2
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        reach = np.array(
            [np.hypot(half[0] * cos, half[1] * sin), np.hypot(half[0] * sin, half[1] * cos)]
        )
        return np.concatenate([centre - reach, centre + reach])


@dataclass(frozen=True, slots=True)
class Outline:
    """A soft, slightly irregular oval in the source picture.

    Attributes:
        centre, radii: source pixels, `[2]`.
        power: 2 is an ellipse, 4 nearly a rectangle with round corners.
        softness: width of the edge, as a share of the radius.
        waves: amplitude and phase of the irregularity, `[5]` each.
    """

    centre: Doubles
    radii: Doubles
    power: float
    softness: float
    waves: tuple[Doubles, Doubles]

    @classmethod
    def random(cls, rng: Rng, centre: Doubles, radii: Doubles) -> Outline:
        """An outline of random softness and irregularity."""
        waves = (rng.normal(0, 0.02, len(_WAVES)), rng.uniform(0, 2 * np.pi, len(_WAVES)))
        softness = float(np.exp(rng.uniform(np.log(0.03), np.log(0.35))))
        return cls(centre, radii, float(rng.uniform(2.0, 3.2)), softness, waves)

    def reach(self) -> Doubles:
        """Half width and half height `[2]` of what it can touch."""
        reach: Doubles = self.radii * (1 + self.softness / 2 + np.abs(self.waves[0]).sum())
        return reach

    def opacity(self, x: Floats, y: Floats) -> Floats:
        """0..1 at source pixels."""
        u = (x - np.float32(self.centre[0])) / np.float32(self.radii[0])
        v = (y - np.float32(self.centre[1])) / np.float32(self.radii[1])
        amplitude, phase = self.waves
        angles = np.linspace(-np.pi, np.pi, _ANGLES)
        waved = 1 + (amplitude * np.cos(angles[:, None] * _WAVES + phase)).sum(1)
        nearest = np.round((np.arctan2(v, u) + np.pi) * ((_ANGLES - 1) / (2 * np.pi))).astype(int)
        power = np.float32(self.power)
        distance = (np.abs(u) ** power + np.abs(v) ** power) ** (1 / power)
        edge = (1 - distance / waved.astype(np.float32)[nearest]) / np.float32(self.softness)
        return smooth(edge + np.float32(0.5))


@dataclass(frozen=True, slots=True)
class Light:
    """How a pasted part is lit.

    Attributes:
        gain: per channel, `[3]`.
        gamma: exponent on 0..1.
        slope: brightness added from one side to the other, share of the picture's range, `[2]`.
        fit: how far its mean colour is drawn to that of the place, 0..1.
    """

    gain: Doubles
    gamma: float
    slope: Doubles
    fit: float

    @classmethod
    def random(cls, rng: Rng) -> Light:
        """Dim to bright, cold to warm, from any side."""
        warmth = rng.normal(0, 0.06)
        gain = np.exp(rng.normal(0, 0.2)) * np.array([1 + warmth, 1, 1 - warmth])
        slope = rng.normal(0, 0.22, 2)
        return cls(gain, float(np.exp(rng.normal(0, 0.18))), slope, float(rng.uniform(0, 0.5)))

    def shine(self, part: Floats, under: Floats, weight: Floats) -> Floats:
        """`part` float32 `[h, w, 3]` in this light; `weight` `[h, w]` says where it counts."""
        height, width = part.shape[:2]
        lit = 255 * (part / 255) ** self.gamma * self.gain
        across = np.linspace(-1, 1, width)[None, :, None] * self.slope[0]
        along = np.linspace(-1, 1, height)[:, None, None] * self.slope[1]
        lit = lit * np.exp(across + along)
        total = max(float(weight.sum()), 1e-6)
        own = (lit * weight[..., None]).sum((0, 1)) / total
        place = (under * weight[..., None]).sum((0, 1)) / total
        wanted = own + (place - own) * self.fit
        shone: Floats = np.clip(lit * (wanted / np.maximum(own, 1.0)), 0, 255).astype(np.float32)
        return shone


def warped(picture: Image, matrix: Doubles, scale: float, width: int, height: int) -> Floats:
    """The picture through `matrix` (source to target px), float32 `[height, width, 3]`.

    Args:
        scale: of the matrix; where it shrinks, the picture is reduced first, so that no pixel
            is skipped.
    """
    import cv2

    source = picture
    factor = min(1.0, scale * 1.2)
    if factor < 1:
        size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
        source = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    ratio = np.array([source.shape[1] / picture.shape[1], source.shape[0] / picture.shape[0]])
    # Centres of pixels: what lay at x lies at (x + 0.5) * ratio - 0.5 in the reduced picture.
    linear = matrix[:, :2] / ratio
    moved = np.column_stack([linear, matrix[:, 2] + linear @ (0.5 - 0.5 * ratio)])
    target: Floats = cv2.warpAffine(
        source.astype(np.float32), moved, (width, height),
        flags=cv2.INTER_LINEAR if scale <= 1 else cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT_101,
    )  # fmt: skip
    clipped: Floats = np.clip(target, 0, 255)
    return clipped


def paste(
    scene: Floats,
    picture: Image,
    move: Move,
    outlines: tuple[Outline, ...],
    light: Light,
    *,
    sigma: float = 0.0,
    border: float = 0.0,
) -> None:
    """Blend what `outlines` hold of `picture` into `scene`, float32 RGB `[h, w, 3]`, in place.

    Args:
        sigma: blur of what is pasted, scene px.
        border: width over which the picture's own border fades, source px.
    """
    import cv2

    corners = np.concatenate([o.centre + SIGNS * o.reach() for o in outlines])
    matrix = move.matrix
    seen = corners @ matrix[:, :2].T + matrix[:, 2]
    limit = np.array([scene.shape[1], scene.shape[0]])
    x1, y1 = np.clip(np.floor(seen.min(0)), 0, limit).astype(int)
    x2, y2 = np.clip(np.ceil(seen.max(0)) + 1, 0, limit).astype(int)
    if x2 <= x1 or y2 <= y1:
        return
    local = matrix.copy()
    local[:, 2] -= [x1, y1]
    part = warped(picture, local, move.scale, int(x2 - x1), int(y2 - y1))
    if sigma > 0.3:
        part = cv2.GaussianBlur(part, (0, 0), sigma)
    v, u = np.mgrid[y1:y2, x1:x2] - matrix[:, 2][::-1, None, None]
    back = np.linalg.inv(matrix[:, :2])
    x = (back[0, 0] * u + back[0, 1] * v).astype(np.float32)
    y = (back[1, 0] * u + back[1, 1] * v).astype(np.float32)
    weight = np.max([outline.opacity(x, y) for outline in outlines], axis=0)
    weight *= _inside(x, y, picture.shape[1], picture.shape[0], max(border, 1.0))
    under = scene[y1:y2, x1:x2]
    lit = light.shine(part, under, weight)
    under += weight[..., None] * (lit - under)


def smooth(share: Floats) -> Floats:
    """0 below 0, 1 above 1, and a smooth step between."""
    clipped = np.clip(share, 0, 1)
    stepped: Floats = clipped * clipped * (3 - 2 * clipped)
    return stepped


def _inside(x: Floats, y: Floats, width: int, height: int, margin: float) -> Floats:
    """0 at the picture's own border, 1 from `margin` on."""
    nearest = np.minimum(np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y))
    return smooth((nearest / margin).astype(np.float32))
