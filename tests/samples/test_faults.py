"""Each broken file fails in the way it says, by the product's own decoder and limits."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from facecore.config import GateSettings
from facecore.errors import ImageRejected
from facecore.samples.faults import Fault, broken, decompression_bomb, odd_but_good
from facecore.samples.rooms import rooms
from facecore.stages.decode import Limits, decode
from facecore.stages.measure import measure
from facecore.stages.reasons import REASONS

LIMITS = Limits(64 * 2**20, 64_000_000)


@pytest.fixture(scope="module")
def frame() -> Image.Image:
    return rooms(1)["cafeteria"].furnished


def verdict(data: bytes) -> set[str]:
    """The reason codes for these bytes, by the decoder and the gate's default limits."""
    gate = GateSettings()
    try:
        found = measure(decode(data, LIMITS), len(data))
    except ImageRejected as error:
        return {error.reason}
    checks = {
        "too_small": found.short_side < gate.min_side_px,
        "extreme_aspect": found.aspect > gate.max_aspect,
        "too_blurred": found.sharpness < gate.min_sharpness,
        "too_dark": found.brightness < gate.min_brightness,
        "too_bright": found.brightness > gate.max_brightness,
        "low_contrast": found.contrast < gate.min_contrast,
        "low_dynamic_range": found.dynamic_range < gate.min_dynamic_range,
    }
    return {code for code, failed in checks.items() if failed}


def test_every_way_to_fail_fails_that_way(frame: Image.Image) -> None:
    faults = broken(frame, np.random.default_rng(1))
    assert len({fault.name for fault in faults}) == len(faults) == 15
    for fault in faults:
        assert fault.reason in REASONS
        assert fault.reason in verdict(fault.data), fault.name
        assert fault.status == "quarantined"


def test_rare_layouts_are_good_pictures_of_the_same_thing(frame: Image.Image) -> None:
    expected = np.asarray(frame.convert("L")).astype(int)
    for fault in odd_but_good(frame):
        assert fault.status == "extracted"
        assert verdict(fault.data) == set(), fault.name
        picture = Image.fromarray(decode(fault.data, LIMITS)).convert("L")
        assert np.abs(np.asarray(picture).astype(int) - expected).mean() < 6, fault.name


def test_the_bomb_is_small_and_promises_much() -> None:
    bomb = decompression_bomb()
    assert len(bomb) < 200
    assert bomb[16:24] == (50_000).to_bytes(4, "big") * 2


def test_a_fault_without_reason_is_good() -> None:
    assert Fault("a.jpg", b"").status == "extracted"
