"""One camera frame: people of a visit put into a room, seen through an imperfect camera."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from facecore.samples.figures import Figure, Pose, posed
from facecore.samples.ground_truth import ExpectedFace
from facecore.samples.rooms import Room
from facecore.samples.schedule import Visit

IDENTIFIABLE_PX = 60  # narrower faces are not marked identifiable
_ALONE_PX = {
    "entrance": (66, 150),
    "lobby": (72, 185),
    "car-park": (64, 120),
    "cafeteria": (66, 150),
}
_GROUP_PX = {"entrance": (62, 88), "lobby": (66, 110), "car-park": (62, 80), "cafeteria": (62, 84)}
_HALF_FACE_PX = (100, 160)
_FAR_PX = (11, 17)
_MARGIN = 6  # pixels a figure reaches below the layer that hides its end


@dataclass(frozen=True, slots=True)
class Studio:
    """Everything frames are made of; shared by threads, never changed.

    Attributes:
        rooms: by camera.
        figures: cut-outs that may appear, by person, each at several scales.
        noise: sensor noise around 128, larger than any frame; one per strength.
    """

    rooms: Mapping[str, Room]
    figures: Mapping[str, Sequence[Sequence[Figure]]]
    noise: Sequence[Image.Image]


def sensor_noise(rng: np.random.Generator, size: tuple[int, int]) -> list[Image.Image]:
    """RGB noise images of three strengths; frames take a random window of one."""
    shape = (size[1], size[0], 3)
    base = rng.standard_normal(shape, np.float32)
    return [
        Image.fromarray(np.clip(128.5 + sigma * base, 0, 255).astype(np.uint8), "RGB")
        for sigma in (2.0, 4.0, 6.5)
    ]


def render(
    visit: Visit, studio: Studio, enrolled: Sequence[str], rng: np.random.Generator
) -> tuple[Image.Image, tuple[ExpectedFace, ...]]:
    """The frame (RGB, upright) and who is where on it."""
    room = studio.rooms[visit.camera]
    frame = (room.background if visit.far else room.furnished).copy()
    placed: list[tuple[Figure, int, int]] = []
    for slot, person in enumerate(visit.people):
        figure = _pose(_choose(studio.figures[person], visit, rng), visit, rng)
        x, y = _position(figure, room, visit, slot, rng)
        frame.paste(figure.pixels, (x, y), figure.pixels)
        placed.append((figure, x, y))
    if visit.far:
        frame.paste(room.middle, (0, 0), room.middle)
    frame.paste(room.front, (0, room.front_top), room.front)
    frame = _through_camera(frame, room, visit, studio.noise, rng)
    faces = tuple(
        ExpectedFace(
            figure.person,
            _clipped(figure, x, y, room.size),
            figure.person in enrolled,
            not visit.far and figure.face_px >= IDENTIFIABLE_PX,
        )
        for figure, x, y in placed
    )
    return frame, faces


def _choose(
    choices: Sequence[Sequence[Figure]], visit: Visit, rng: np.random.Generator
) -> Sequence[Figure]:
    whole = [levels for levels in choices if not levels[0].cut]
    halves = [levels for levels in choices if levels[0].cut]
    if halves and len(visit.people) == 1 and not visit.far and rng.random() < 0.12:
        return halves[rng.integers(len(halves))]
    return whole[rng.integers(len(whole))]


def _pose(levels: Sequence[Figure], visit: Visit, rng: np.random.Generator) -> Figure:
    if visit.far:
        return posed(levels, Pose(rng.uniform(*_FAR_PX)))
    if levels[0].cut:
        return posed(levels, Pose(rng.uniform(*_HALF_FACE_PX), side_light=rng.uniform(-0.1, 0.1)))
    alone = len(visit.people) == 1
    low, high = (_ALONE_PX if alone else _GROUP_PX)[visit.camera]
    face_px = low + (high - low) * rng.beta(1.2, 1.8)
    limit = 20.0 if alone else 10.0
    angle = float(np.clip(rng.normal(0, limit / 2.2), -limit, limit))
    light = float(rng.uniform(-0.3, 0.3))
    mirrored, stretch = bool(rng.random() < 0.3), float(rng.uniform(0.95, 1.05))
    return posed(levels, Pose(face_px, angle, mirrored, light, stretch))


def _position(
    figure: Figure, room: Room, visit: Visit, slot: int, rng: np.random.Generator
) -> tuple[int, int]:
    """Top left corner, such that the cut lower end of the figure is hidden."""
    width, height = room.size
    if visit.far:
        x1, x2, line = room.spots[rng.integers(len(room.spots))]
        half = figure.pixels.width / 2
        x = rng.uniform(min(x1, x2 - 2 * half), max(x1, x2 - 2 * half))
        return round(x), round(line + _MARGIN - figure.pixels.height + rng.uniform(0, 4))
    lowest_end = room.front_y + _MARGIN + figure.pixels.width * 0.03
    # turned figures end in a slanted edge: hide all of it
    top_min = lowest_end - figure.pixels.height + _slant(figure)
    top_max = max(top_min, 0.3 * height)
    y = max(-0.2 * figure.face_px, rng.uniform(top_min, top_max)) if top_max > 0 else 0.0
    y = max(y, top_min)
    if figure.cut:
        x = 0 if figure.cut == "left" else width - figure.pixels.width
        return x, round(y)
    face_middle = (figure.face[0] + figure.face[2]) / 2
    places = len(visit.people)
    span = 0.72 * width / places
    centre = (
        0.14 * width
        + span * (slot + 0.5)
        + rng.uniform(-0.5, 0.5) * span * (0.9 if places == 1 else 0.25)
    )
    return round(centre - face_middle), round(y)


def _slant(figure: Figure) -> float:
    """Height of the transparent wedge under a turned figure, in pixels."""
    alpha = np.asarray(figure.pixels.getchannel("A"))
    columns = np.flatnonzero(alpha.max(axis=0) > 128)
    ends = [
        int(np.flatnonzero(alpha[:, c] > 128)[-1]) for c in columns[:: max(1, len(columns) // 12)]
    ]
    return float(alpha.shape[0] - np.percentile(ends, 25))


def _clipped(
    figure: Figure, x: int, y: int, size: tuple[int, int]
) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = figure.face
    box = (max(0.0, x1 + x), max(0.0, y1 + y), min(float(size[0]), x2 + x), min(size[1], y2 + y))
    return tuple(round(float(value), 1) for value in box)  # type: ignore[return-value]


def _through_camera(
    frame: Image.Image,
    room: Room,
    visit: Visit,
    noise: Sequence[Image.Image],
    rng: np.random.Generator,
) -> Image.Image:
    """Light of the hour, exposure, colour cast, blur, noise, the stamp of date and time."""
    hour = visit.at.hour + visit.at.minute / 60
    sun = max(0.0, float(np.sin(np.pi * (hour - 6) / 13)))
    light = 1.0 - 0.5 * room.daylight * (1.0 - sun)
    exposure, gamma = rng.uniform(0.88, 1.12) * light, rng.uniform(0.85, 1.2)
    ramp = np.linspace(0.0, 1.0, 256) ** gamma
    table: list[int] = []
    for tint in room.tint:
        gain = exposure * tint * rng.uniform(0.98, 1.02)
        table += np.clip(255 * gain * ramp, 0, 255).astype(int).tolist()
    frame = frame.point(table)
    if (radius := rng.choice((0.0, 0.4, 0.7, 1.1), p=(0.5, 0.25, 0.15, 0.1))) > 0:
        frame = frame.filter(ImageFilter.BoxBlur(float(radius)))
    grain = noise[min(len(noise) - 1, int(rng.integers(0, 2) + (light < 0.75)))]
    dx = int(rng.integers(grain.width - frame.width + 1))
    dy = int(rng.integers(grain.height - frame.height + 1))
    window = grain.crop((dx, dy, dx + frame.width, dy + frame.height))
    frame = ImageChops.add(frame, window, offset=-128)
    stamp = f"{room.name.upper():<10} {visit.at:%Y-%m-%d  %H:%M:%S}"
    draw = ImageDraw.Draw(frame)
    draw.rectangle((8, 8, 318, 32), fill=(24, 24, 24))
    draw.text((14, 10), stamp, fill=(238, 238, 232), font_size=17)
    return frame
