"""Four camera views, drawn: what each camera sees when nobody is there.

Each room has three layers: the background, something in the middle distance that hides the
legs of people far away, and something in front that hides those of people nearby.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Room:
    """One camera's view.

    Attributes:
        name: camera, the first part of an object key.
        background: RGB, the far end of the room.
        furnished: RGB, background and middle layer.
        middle, front: RGBA layers over people far away, and over everybody.
        front_top: where the front layer begins; it is cropped there.
        spots: x1, x2, y of each hiding place of the middle layer: people far away stand
            between x1 and x2 and end below y.
        front_y: people nearby end below this line.
        daylight: 0 (lamps only) to 1 (only the sun lights it).
        tint: gain of red, green, blue of the camera.
    """

    name: str
    background: Image.Image
    furnished: Image.Image
    middle: Image.Image
    front: Image.Image
    front_top: int
    spots: tuple[tuple[int, int, int], ...]
    front_y: int
    daylight: float
    tint: tuple[float, float, float]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.background.size


def rooms(seed: int) -> dict[str, Room]:
    """All four, by name. The seed only moves the grain of walls and floors."""
    rng = np.random.default_rng(seed)
    painters = (_entrance, _lobby, _car_park, _cafeteria)
    return {room.name: room for room in (paint(rng) for paint in painters)}


def _gradient(size: tuple[int, int], top: Colour, bottom: Colour) -> Image.Image:
    width, height = size
    ramp = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None, None]
    column = np.asarray(top) * (1 - ramp) + np.asarray(bottom) * ramp
    return Image.fromarray(np.broadcast_to(column, (height, width, 3)).astype(np.uint8), "RGB")


def _grain(picture: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    """Unevenness of plaster, carpet, concrete: noise at three scales."""
    width, height = picture.size
    total = np.zeros((height, width), np.float32)
    for cell, weight in ((2, 0.4), (9, 0.35), (48, 0.5)):
        noise = rng.normal(0, 1, (height // cell + 2, width // cell + 2)).astype(np.float32)
        layer = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        total += weight * np.asarray(layer)
    values = np.asarray(picture).astype(np.float32) + strength * total[..., None]
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8), "RGB")


def _finish(picture: Image.Image, blur: float = 1.2, vignette: float = 0.28) -> Image.Image:
    """Slightly out of focus, as the far wall is, and darker towards the corners."""
    width, height = picture.size
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    shade = Image.fromarray((255 * (1 - vignette * (x * x + y * y) / 2)).astype(np.uint8))
    soft = picture.filter(ImageFilter.GaussianBlur(blur))
    return ImageChops.multiply(soft, Image.merge("RGB", [shade] * 3))


def _layer(size: tuple[int, int], paint: Callable[[ImageDraw.ImageDraw], None]) -> Image.Image:
    layer = Image.new("RGBA", size)
    paint(ImageDraw.Draw(layer))
    return layer.filter(ImageFilter.GaussianBlur(0.9))


def _tiles(draw: ImageDraw.ImageDraw, size: tuple[int, int], horizon: int, line: Colour) -> None:
    """Floor joints running to a vanishing point above the horizon."""
    width, height = size
    for i in range(-14, 30):
        draw.line((width * 0.5 + (i - 8) * 26, horizon, (i - 8) * 150 + width / 2, height), line, 2)
    y, step = float(horizon), 7.0
    while y < height:
        draw.line((0, y, width, y), line, 2)
        y, step = y + step, step * 1.45


def _room(
    name: str,
    background: Image.Image,
    middle: Image.Image,
    front: Image.Image,
    *,
    spots: tuple[tuple[int, int, int], ...],
    front_y: int,
    daylight: float,
    tint: tuple[float, float, float],
) -> Room:
    furnished = background.copy()
    furnished.paste(middle, (0, 0), middle)
    top = (front.getchannel("A").getbbox() or (0, 0, 0, 0))[1]
    front = front.crop((0, top, *front.size))
    return Room(name, background, furnished, middle, front, top, spots, front_y, daylight, tint)


def _entrance(rng: np.random.Generator) -> Room:
    size = (width, height) = (960, 540)
    horizon = 330
    picture = _gradient(size, (176, 180, 184), (150, 152, 154))
    floor = _grain(_gradient((width, height - horizon), (120, 116, 110), (86, 82, 78)), rng, 7)
    picture.paste(floor, (0, horizon))
    draw = ImageDraw.Draw(picture)
    _tiles(draw, size, horizon, (100, 96, 92))
    outside = _gradient((440, 250), (186, 206, 226), (142, 158, 130))
    trees = ImageDraw.Draw(outside)
    for x, y, r in ((40, 150, 52), (120, 170, 40), (330, 140, 64), (410, 165, 44)):
        trees.ellipse((x - r, y - r, x + r, y + r), fill=(84, 108, 70))
    trees.rectangle((0, 208, 440, 250), fill=(136, 134, 130))
    picture.paste(outside, (260, 74))
    for x in (256, 364, 474, 476, 586, 696):  # door leaves
        draw.rectangle((x, 66, x + 9, horizon + 6), fill=(72, 76, 82))
    draw.rectangle((250, 62, 712, 76), fill=(72, 76, 82))
    draw.rectangle((250, 40, 712, 62), fill=(196, 198, 200))
    draw.rectangle((452, 190, 462, 236), fill=(214, 216, 218))
    draw.rectangle((498, 190, 508, 236), fill=(214, 216, 218))
    draw.rectangle((60, 120, 170, 260), fill=(206, 204, 198))  # notice board
    for row in range(4):
        draw.rectangle(
            (72, 134 + 30 * row, 150 - 12 * (row % 2), 150 + 30 * row), fill=(150, 156, 166)
        )
    draw.rectangle((790, 150, 860, 250), fill=(58, 84, 122))
    draw.polygon(
        [(360, horizon + 6), (600, horizon + 6), (690, 452), (270, 452)], fill=(62, 60, 60)
    )
    background = _finish(_grain(picture, rng, 3))

    def barrier(draw: ImageDraw.ImageDraw) -> None:  # low planters inside the door
        for x in (262, 590):
            draw.rectangle((x, 286, x + 108, 352), fill=(92, 88, 84, 255))
            for i in range(9):
                draw.ellipse(
                    (x + 4 + 11 * i, 262 + 6 * (i % 3), x + 26 + 11 * i, 294),
                    fill=(66, 92 + 6 * (i % 4), 58, 255),
                )

    def gates(draw: ImageDraw.ImageDraw) -> None:
        draw.rectangle((0, 448, width, height), fill=(96, 100, 106, 255))
        draw.rectangle((0, 442, width, 456), fill=(178, 182, 188, 255))
        for x in range(40, width, 230):
            draw.rectangle((x, 456, x + 70, height), fill=(64, 68, 74, 255))
            draw.ellipse((x + 26, 464, x + 44, 482), fill=(70, 190, 110, 255))

    return _room(
        "entrance", background, _layer(size, barrier), _layer(size, gates),
        spots=((270, 362, 296), (598, 690, 296)),
        front_y=452, daylight=0.55, tint=(0.97, 1.0, 1.05),
    )  # fmt: skip


def _lobby(rng: np.random.Generator) -> Room:
    size = (width, height) = (1280, 720)
    horizon = 430
    picture = _gradient(size, (206, 194, 172), (188, 172, 146))
    floor = _grain(_gradient((width, height - horizon), (134, 104, 76), (96, 72, 52)), rng, 8)
    picture.paste(floor, (0, horizon))
    draw = ImageDraw.Draw(picture)
    for x in range(0, width, 160):  # panelled wall
        draw.line((x, 60, x, horizon), (170, 154, 130), 3)
    draw.rectangle((0, horizon - 16, width, horizon), fill=(118, 92, 66))
    draw.rectangle((0, 0, width, 60), fill=(222, 216, 204))
    for x in (160, 560, 960):  # ceiling lights
        draw.ellipse((x, 18, x + 150, 44), fill=(252, 248, 232))
    draw.rectangle((420, 130, 820, 300), fill=(92, 62, 46))  # painting
    art = _grain(_gradient((380, 150), (122, 148, 160), (156, 128, 84)), rng, 16)
    picture.paste(art, (430, 140))
    for x in (90, 1010):  # lift doors
        draw.rectangle((x, 120, x + 180, horizon), fill=(140, 142, 144))
        draw.line((x + 90, 120, x + 90, horizon), (84, 86, 88), 4)
        draw.rectangle((x - 10, 108, x + 190, 122), fill=(96, 96, 96))
        draw.rectangle((x + 60, 86, x + 120, 106), fill=(40, 40, 42))
        draw.rectangle((x + 84, 91, x + 96, 101), fill=(236, 120, 60))
    background = _finish(_grain(picture, rng, 3), 1.4)

    def sofa(draw: ImageDraw.ImageDraw) -> None:
        draw.rounded_rectangle((400, 352, 870, 480), 22, fill=(74, 84, 98, 255))
        for x in (412, 565, 718):
            draw.rounded_rectangle((x, 362, x + 142, 440), 14, fill=(88, 100, 116, 255))

    def counter(draw: ImageDraw.ImageDraw) -> None:
        draw.rectangle((0, 598, width, height), fill=(110, 78, 52, 255))
        draw.polygon([(0, 578), (width, 578), (width, 606), (0, 606)], fill=(224, 218, 208, 255))
        for x in range(0, width, 128):
            draw.line((x, 606, x, height), (88, 60, 40, 255), 3)
        draw.rounded_rectangle((70, 540, 250, 580), 5, fill=(40, 42, 46, 255))  # back of a screen
        draw.rectangle((1060, 556, 1150, 580), fill=(240, 240, 236, 255))

    return _room(
        "lobby", background, _layer(size, sofa), _layer(size, counter),
        spots=((410, 860, 362),),
        front_y=588,
        daylight=0.2, tint=(1.04, 1.0, 0.94),
    )  # fmt: skip


def _car_park(rng: np.random.Generator) -> Room:
    size = (width, height) = (960, 540)
    horizon = 270
    picture = _gradient(size, (132, 134, 130), (120, 122, 118))
    floor = _grain(_gradient((width, height - horizon), (92, 92, 90), (66, 66, 66)), rng, 10)
    picture.paste(floor, (0, horizon))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, width, 84), fill=(96, 98, 96))  # ceiling
    for x in (120, 430, 740):
        draw.rectangle((x, 62, x + 130, 72), fill=(240, 246, 240))
    for i in range(9):  # parking lines
        draw.line((i * 130 - 60, horizon, i * 250 - 520, height), (196, 190, 150), 4)
    for x in (40, 340, 640, 900):  # pillars
        draw.rectangle((x, 70, x + 44, horizon + 70), fill=(150, 150, 144))
        for k in range(4):
            colour = (214, 178, 46) if k % 2 else (40, 40, 40)
            draw.rectangle((x, horizon - 10 + 20 * k, x + 44, horizon + 10 + 20 * k), fill=colour)
    draw.text((350, 140), "P2", fill=(40, 60, 110), font_size=44)
    background = _finish(_grain(picture, rng, 5), 1.0, 0.4)

    def cars(draw: ImageDraw.ImageDraw) -> None:
        for x, body in ((110, (120, 34, 34)), (400, (50, 74, 110)), (700, (168, 170, 172))):
            draw.rounded_rectangle((x + 34, 252, x + 186, 330), 24, fill=(*body, 255))
            draw.rounded_rectangle((x + 50, 262, x + 170, 292), 10, fill=(44, 52, 58, 255))
            draw.rounded_rectangle((x, 290, x + 220, 366), 18, fill=(*body, 255))
            draw.ellipse((x + 10, 306, x + 44, 326), fill=(238, 236, 214, 255))
            draw.ellipse((x + 176, 306, x + 210, 326), fill=(238, 236, 214, 255))
            draw.rectangle((x + 80, 334, x + 140, 350), fill=(214, 214, 206, 255))
            draw.rectangle((x + 12, 360, x + 50, 378), fill=(22, 22, 22, 255))
            draw.rectangle((x + 170, 360, x + 208, 378), fill=(22, 22, 22, 255))

    def wall(draw: ImageDraw.ImageDraw) -> None:
        draw.rectangle((0, 440, width, height), fill=(122, 122, 116, 255))
        draw.rectangle((0, 432, width, 446), fill=(150, 150, 142, 255))
        for x in range(-60, width, 80):
            draw.polygon(
                [(x, 476), (x + 40, 476), (x + 70, 446), (x + 30, 446)], fill=(206, 172, 50, 255)
            )

    return _room(
        "car-park", background, _layer(size, cars), _layer(size, wall),
        spots=((130, 310, 300), (420, 600, 300), (720, 900, 300)),
        front_y=440,
        daylight=0.75, tint=(0.98, 1.03, 0.97),
    )  # fmt: skip


def _cafeteria(rng: np.random.Generator) -> Room:
    size = (width, height) = (800, 600)
    horizon = 340
    picture = _gradient(size, (222, 220, 206), (206, 202, 186))
    floor = _grain(_gradient((width, height - horizon), (158, 150, 136), (120, 112, 100)), rng, 6)
    picture.paste(floor, (0, horizon))
    draw = ImageDraw.Draw(picture)
    for row in range(7):  # wall tiles
        for column in range(17):
            shade = int(rng.integers(-9, 9))
            x, y = column * 48 - 20 * (row % 2), 150 + row * 27
            draw.rectangle((x, y, x + 45, y + 24), fill=(150 + shade, 176 + shade, 168 + shade))
    for x in (70, 300, 530):  # menu boards
        draw.rectangle((x, 30, x + 200, 130), fill=(38, 40, 42))
        for line in range(4):
            length = int(rng.integers(80, 170))
            draw.rectangle(
                (x + 14, 44 + 20 * line, x + 14 + length, 50 + 20 * line), fill=(206, 200, 176)
            )
    for x in (180, 400, 620):  # lamps
        draw.line((x, 0, x, 46), (60, 60, 60), 2)
        draw.pieslice((x - 34, 26, x + 34, 84), 180, 360, fill=(196, 92, 52))
        draw.ellipse((x - 12, 48, x + 12, 64), fill=(255, 244, 206))
    background = _finish(_grain(picture, rng, 3), 1.3)

    def serving_counter(draw: ImageDraw.ImageDraw) -> None:
        draw.rectangle((0, 312, width, 420), fill=(168, 164, 156, 255))
        draw.rectangle((0, 300, width, 316), fill=(206, 206, 204, 255))
        for x in range(30, width, 110):
            draw.rounded_rectangle((x, 330, x + 84, 402), 6, fill=(146, 142, 134, 255))

    def table(draw: ImageDraw.ImageDraw) -> None:
        draw.polygon(
            [(0, 500), (width, 484), (width, height), (0, height)], fill=(170, 128, 84, 255)
        )
        draw.line((0, 500, width, 484), (206, 168, 120, 255), 5)
        draw.ellipse((90, 530, 230, 572), fill=(240, 240, 236, 255))
        draw.ellipse((118, 538, 202, 564), fill=(222, 220, 212, 255))
        draw.ellipse((560, 522, 616, 546), fill=(236, 236, 232, 255))
        draw.rectangle((566, 534, 610, 570), fill=(228, 228, 224, 255))

    return _room(
        "cafeteria", background, _layer(size, serving_counter), _layer(size, table),
        spots=((40, 760, 306),),
        front_y=500, daylight=0.3, tint=(1.03, 1.0, 0.93),
    )  # fmt: skip
