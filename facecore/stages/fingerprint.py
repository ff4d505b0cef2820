"""Identity of a picture: exactly (SHA-256 of the bytes) and roughly (perceptual hash)."""

from __future__ import annotations

import hashlib

import numpy as np

from facecore.types import Image

_SAMPLED_SIDE = 512  # of which the hash sees 32 × 32: more cannot change it noticeably


def content_digest(data: bytes) -> str:
    """SHA-256 of a file, 64 lower-case hex digits: the identity of an image."""
    return hashlib.sha256(data).hexdigest()


def perceptual_hash(image: Image) -> int:
    """64-bit DCT hash (pHash) as a signed integer, which is what PostgreSQL's bigint holds.

    Pictures that look alike differ in few bits: scaling, JPEG quality and small changes of
    light cost 0–3, different pictures differ in about 32. Mirrored or turned pictures do not
    match. Computed by `imagehash.phash` (Zauner, 2010), large pictures thinned first.

    Args:
        image: uint8 RGB `[h, w, 3]`.

    Returns:
        -2⁶³ … 2⁶³ − 1.
    """
    import imagehash
    from PIL import Image as PillowImage

    step = max(1, min(image.shape[:2]) // _SAMPLED_SIDE)
    bits = imagehash.phash(PillowImage.fromarray(np.ascontiguousarray(image[::step, ::step]))).hash
    return int(np.packbits(bits.ravel()).view(">i8")[0])
