from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from facecore.config import GateSettings
from facecore.errors import ShapeError
from facecore.stages.measure import measure, sharpness

GATE = GateSettings()


def leaves(seed: int, side: int = 640) -> Image.Image:
    """Overlapping discs of many sizes: the statistics of edges in photographs."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((side, side, 3), np.uint8)
    y, x = np.mgrid[0:side, 0:side]
    for radius in np.sort(side * 0.01 / rng.power(2, 400))[::-1].clip(max=side / 3):
        cy, cx = rng.uniform(0, side, 2)
        box = np.s_[
            max(0, int(cy - radius)) : int(cy + radius) + 2,
            max(0, int(cx - radius)) : int(cx + radius) + 2,
        ]
        inside = (y[box] - cy) ** 2 + (x[box] - cx) ** 2 < radius**2
        picture[box][inside] = rng.integers(20, 235, 3)
    return Image.fromarray(picture)


def noisy(picture: Image.Image, deviation: float) -> np.ndarray:
    pixels = np.asarray(picture).astype(float)
    noise = np.random.default_rng(0).normal(0, deviation, pixels.shape)
    return (pixels + noise).clip(0, 255).astype(np.uint8)


def as_jpeg(picture: Image.Image, quality: int) -> np.ndarray:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


@pytest.fixture(scope="module")
def scenes() -> list[Image.Image]:
    return [leaves(seed) for seed in range(4)]


def test_plain_numbers():
    image = np.zeros((100, 250, 3), np.uint8)
    image[:, 125:] = 200
    found = measure(image, 5000)
    assert (found.bytes, found.width, found.height, found.pixels) == (5000, 250, 100, 25_000)
    assert (found.short_side, found.aspect, found.bits_per_pixel) == (100, 2.5, 1.6)
    assert found.brightness == pytest.approx(100, abs=1)
    assert found.contrast == pytest.approx(100, abs=1)
    assert found.dynamic_range == 200
    assert set(found.as_dict()) == set(type(found).__slots__)


def test_brightness_weighs_colours_as_the_eye_does():
    green, blue = np.zeros((2, 64, 64, 3), np.uint8)
    green[..., 1] = blue[..., 2] = 255
    assert measure(green, 1).brightness == pytest.approx(0.587 * 255, abs=1)
    assert measure(blue, 1).brightness == pytest.approx(0.114 * 255, abs=1)


def test_dynamic_range_ignores_a_few_stray_pixels():
    image = np.full((100, 100, 3), 120, np.uint8)
    image[0, :40] = 255
    assert measure(image, 1).dynamic_range == 0
    assert measure(image, 1).contrast > 0


def test_ordinary_pictures_are_sharp_at_every_size(scenes):
    for scene in scenes:
        for side in (64, 125, 250, 640, 2000):
            image = np.asarray(scene.resize((side, side), Image.Resampling.LANCZOS))
            assert measure(image, 1).sharpness > 1.3 * GATE.min_sharpness


def test_far_too_blurred_pictures_are_not(scenes):
    # 9 of 640 pixels: discs have detail everywhere, photographs already fail at 8
    for scene in scenes:
        blurred = scene.filter(ImageFilter.GaussianBlur(9))
        small = scene.resize((250, 250)).filter(ImageFilter.GaussianBlur(9 * 250 / 640))
        large = scene.resize((2560, 2560)).filter(ImageFilter.GaussianBlur(9 * 4))
        for image in (
            np.asarray(blurred),
            np.asarray(small),
            np.asarray(large),
            as_jpeg(blurred, 30),
            noisy(blurred, 5),
            noisy(large, 5),
        ):
            assert measure(image, 1).sharpness < GATE.min_sharpness


def test_sharpness_falls_with_every_step_of_blur(scenes):
    values = [
        measure(np.asarray(scenes[0].filter(ImageFilter.GaussianBlur(sigma))), 1).sharpness
        for sigma in (0, 1, 2, 4, 8, 16)
    ]
    assert values == sorted(values, reverse=True)


def test_low_contrast_and_darkness_are_not_taken_for_blur(scenes):
    for scene in scenes:
        pixels = np.asarray(scene)
        foggy = (pixels * 0.1 + 120).astype(np.uint8)
        dark = (pixels * 0.05).astype(np.uint8)
        assert measure(foggy, 1).sharpness > GATE.min_sharpness
        assert measure(foggy, 1).contrast < GATE.min_contrast
        assert measure(foggy, 1).dynamic_range < GATE.min_dynamic_range
        assert measure(dark, 1).brightness < GATE.min_brightness


def test_flat_and_tiny_pictures_have_no_sharpness():
    for value in (0, 127, 255):
        assert measure(np.full((300, 300, 3), value, np.uint8), 1).sharpness == 0
    for side in (1, 3, 4):
        image = np.random.default_rng(0).integers(0, 256, (side, 50, 3), dtype=np.uint8)
        assert measure(image, 1).sharpness == 0


def test_sharpness_of_a_stack_is_that_of_each():
    stack = np.random.default_rng(0).uniform(0, 255, (5, 30, 40)).astype(np.float32)
    stack[2] = 7
    alone = [float(sharpness(one[None])[0]) for one in stack]
    assert sharpness(stack).tolist() == pytest.approx(alone)
    assert alone[2] == 0


def test_strips_and_read_only_views():
    image = np.random.default_rng(0).integers(0, 256, (3000, 5, 3), dtype=np.uint8)[::-1]
    image.flags.writeable = False
    found = measure(image, 1)
    assert (found.aspect, found.width, found.height) == (600, 5, 3000)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((5, 5), np.uint8),
        np.zeros((5, 5, 3), np.float32),
        np.zeros((5, 5, 4), np.uint8),
        np.zeros((0, 5, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(image):
    with pytest.raises(ShapeError):
        measure(image, 1)
