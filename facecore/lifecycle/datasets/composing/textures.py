"""Backgrounds without a face: drawn, or taken from where a photograph shows none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from facecore.lifecycle.datasets.composing.photos import Photo, head, overlap
from facecore.types import Floats, Image

Rng = np.random.Generator
_WINDOWS_TRIED = 40
_LEAST_WINDOW_PX = 30


def drawn(rng: Rng, height: int, width: int) -> Floats:
    """A drawn texture, float32 RGB `[h, w, 3]`, 0..255."""
    draw = _DRAWINGS[int(rng.integers(len(_DRAWINGS)))]
    picture = draw(rng, height, width)
    if rng.random() < 0.6:
        picture = picture + _clouds(rng, height, width, 2, 5)[..., None] * rng.uniform(5, 50)
    return np.clip(picture, 0, 255).astype(np.float32)


def without_face(photo: Photo, rng: Rng) -> Image | None:
    """A part of a photograph without a head, or None if it has no room for one."""
    limit = min(photo.width, photo.height)
    heads = head(photo.boxes)
    for _ in range(_WINDOWS_TRIED):
        side = rng.uniform(0.14, 0.6) * limit
        width, height = (side * rng.uniform(0.7, 1.4, 2)).astype(int)
        if min(width, height) < _LEAST_WINDOW_PX or width > photo.width or height > photo.height:
            continue
        left = int(rng.integers(photo.width - width + 1))
        top = int(rng.integers(photo.height - height + 1))
        window = np.array([left, top, left + width, top + height], np.float64)
        if (overlap(window, heads) <= 0).all():
            return photo.read()[top : top + height, left : left + width]
    return None


def stretched(part: Image, rng: Rng, height: int, width: int) -> Floats:
    """A part of a photograph as a whole background: cut to shape, maybe mirrored or upside down."""
    import cv2

    have_h, have_w = part.shape[:2]
    factor = max(height / have_h, width / have_w) * rng.uniform(1.0, 1.3)
    cut_h, cut_w = max(1, int(height / factor)), max(1, int(width / factor))
    top, left = rng.integers(have_h - cut_h + 1), rng.integers(have_w - cut_w + 1)
    cut = part[top : top + cut_h, left : left + cut_w]
    if rng.random() < 0.5:
        cut = cut[:, ::-1]
    if rng.random() < 0.2:
        cut = cut[::-1]
    scaled = cv2.resize(np.ascontiguousarray(cut), (width, height), interpolation=cv2.INTER_CUBIC)
    # An enlarged photograph is smooth; grain as of a camera that focuses on somebody in front.
    grain = rng.normal(0, rng.uniform(0, 5), (height, width, 1))
    grainy: Floats = np.clip(scaled + grain, 0, 255).astype(np.float32)
    return grainy


def _colours(rng: Rng, count: int) -> npt.NDArray[np.float64]:
    """Colours of one scheme, `[count, 3]`, 0..255; skin tones are among the schemes."""
    from colorsys import hsv_to_rgb

    hue = rng.uniform(0.02, 0.11) if rng.random() < 0.3 else rng.random()
    spread = rng.uniform(0, 0.5)
    colours = [
        hsv_to_rgb(
            (hue + spread * rng.uniform(-0.5, 0.5)) % 1.0, rng.uniform(0, 0.8), rng.uniform(0.05, 1)
        )
        for _ in range(count)
    ]
    return np.array(colours) * 255


def _clouds(rng: Rng, height: int, width: int, first: int = 1, octaves: int = 6) -> Floats:
    """Noise of several scales, float32 `[h, w]`, about -1..1."""
    import cv2

    total = np.zeros((height, width), np.float32)
    fade = rng.uniform(0.4, 0.75)
    for octave in range(first, first + octaves):
        cells = 2**octave + 1
        coarse = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
        total += fade ** (octave - first) * cv2.resize(
            coarse, (width, height), interpolation=cv2.INTER_CUBIC
        )
    return total


def _grid(rng: Rng, height: int, width: int) -> tuple[Floats, Floats]:
    """Turned coordinates of each pixel, in units of the shorter side."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / min(height, width)
    angle = rng.uniform(0, 2 * np.pi)
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _mixed(share: npt.NDArray[np.floating], colours: npt.NDArray[np.float64]) -> Floats:
    """Each pixel's colour on the way through `colours`; `share` is `[h, w]`, 0..1."""
    position = np.clip(share, 0, 1) * (len(colours) - 1)
    stops = np.arange(len(colours))
    channels = [np.interp(position, stops, colours[:, c]) for c in range(3)]
    return np.stack(channels, -1).astype(np.float32)


def _gradient(rng: Rng, height: int, width: int) -> Floats:
    along, across = _grid(rng, height, width)
    if rng.random() < 0.4:
        along = np.hypot(along - rng.uniform(-0.5, 1), across - rng.uniform(-0.5, 1))
    return _mixed(_spread(along), _colours(rng, int(rng.integers(2, 5))))


def _cloudy(rng: Rng, height: int, width: int) -> Floats:
    return _mixed(_spread(_clouds(rng, height, width)), _colours(rng, int(rng.integers(2, 6))))


def _stripes(rng: Rng, height: int, width: int) -> Floats:
    along, _ = _grid(rng, height, width)
    bent = along + _clouds(rng, height, width, 1, 2) * rng.uniform(0, 0.1)
    wave = np.sin(bent * rng.uniform(4, 60)) * rng.uniform(0.6, 6)
    return _mixed(np.clip(wave, -1, 1) * 0.5 + 0.5, _colours(rng, int(rng.integers(2, 4))))


def _tiles(rng: Rng, height: int, width: int) -> Floats:
    along, across = _grid(rng, height, width)
    depth = 1 + rng.uniform(0, 0.8) * along  # as on a wall or floor that recedes
    row = np.floor(along * rng.uniform(3, 16) / np.maximum(depth, 0.2))
    column = np.floor(across * rng.uniform(3, 16) / np.maximum(depth, 0.2) + 0.5 * (row % 2))
    shade = np.sin(row * 12.9898 + column * 78.233) * 43758.5453
    share = (shade - np.floor(shade)).astype(np.float32)
    return _mixed(share if rng.random() < 0.5 else (row + column) % 2, _colours(rng, 3))


def _shapes(rng: Rng, height: int, width: int) -> Floats:
    """Boxes, discs, ovals and bars before a gradient: furniture, balls, plates, lamps."""
    import cv2

    picture = _gradient(rng, height, width)
    for _ in range(int(rng.integers(4, 30))):
        colour = [float(value) for value in _colours(rng, 1)[0]]
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = [max(2, int(v)) for v in rng.gamma(2, min(height, width) / 14, 2)]
        turned = float(rng.uniform(0, 360))
        if rng.random() < 0.5:
            if rng.random() < 0.4:
                axes[1] = axes[0]
            cv2.ellipse(picture, centre, axes, turned, 0, 360, colour, -1, cv2.LINE_AA)
        else:
            corners = cv2.boxPoints((centre, (2 * axes[0], 2 * axes[1]), turned))
            cv2.fillPoly(picture, [corners.astype(np.int32)], colour, cv2.LINE_AA)
        if rng.random() < 0.15:
            picture = _blurred(picture, rng.uniform(0.5, 6))
    return _blurred(picture, rng.uniform(0, 2))


def _blurred(picture: Floats, sigma: float) -> Floats:
    import cv2

    if sigma < 0.3:
        return picture
    blurred: Floats = cv2.GaussianBlur(picture, (0, 0), sigma)
    return blurred


def _spread(values: Floats) -> Floats:
    low, high = float(values.min()), float(values.max())
    spread: Floats = (values - low) / max(high - low, 1e-6)
    return spread


_DRAWINGS: tuple[Callable[[Rng, int, int], Floats], ...] = (
    _gradient,
    _cloudy,
    _cloudy,
    _stripes,
    _tiles,
    _shapes,
    _shapes,
)
