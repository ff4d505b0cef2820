from __future__ import annotations

import hashlib
import io

import imagehash
import numpy as np
from PIL import Image, ImageEnhance

from facecore.stages.fingerprint import content_digest, perceptual_hash


def scene(seed: int = 0, size: int = 256) -> Image.Image:
    """Random coarse blobs: like photographs, most energy is in low frequencies."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)


def differing_bits(one: int, other: int) -> int:
    return ((one ^ other) & (2**64 - 1)).bit_count()


def test_digest_is_sha256():
    assert content_digest(b"abc") == hashlib.sha256(b"abc").hexdigest()


def test_hash_is_phash_as_a_signed_64_bit_integer():
    for seed in range(20):
        value = perceptual_hash(np.asarray(scene(seed)))
        assert -(2**63) <= value < 2**63
        assert f"{value & (2**64 - 1):016x}" == str(imagehash.phash(scene(seed)))
    assert perceptual_hash(np.zeros((64, 64, 3), np.uint8)) == 0


def test_near_duplicates_are_near_and_others_far():
    picture = scene()
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=40)
    near = [
        Image.open(file),
        picture.resize((1700, 1700)),
        picture.resize((97, 97)),
        ImageEnhance.Brightness(picture).enhance(0.9),
    ]
    original = perceptual_hash(np.asarray(picture))
    assert max(differing_bits(original, perceptual_hash(np.asarray(n))) for n in near) <= 3
    others = [perceptual_hash(np.asarray(scene(seed))) for seed in range(1, 10)]
    assert min(differing_bits(original, other) for other in others) > 12
