"""Single pictures for pages: a face, or what lies in the quarantine, as a small JPEG.

A pack of crops is never read whole for one face: its rows have one length, so one range is read.
"""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np

from facecore.errors import NotFound, ObjectMissing, ShapeError
from facecore.jobs.stores import Stores
from facecore.stages.decode import Limits, inspect
from facecore.stores.catalog.faces import faces
from facecore.stores.catalog.images import images
from facecore.stores.objects import ObjectStore
from facecore.types import CROP_SIZE, Image, ImageStatus

PREVIEW_PX = 480
_QUALITY = 82
_ROW_BYTES = CROP_SIZE * CROP_SIZE * 3
_HEAD_BYTES = 512


def face(face_id: int, stores: Stores | None = None) -> bytes:
    """The aligned crop of a face as JPEG.

    Raises:
        NotFound: there is no such face, or its picture was erased.
        ObjectMissing: its pack is gone.
    """
    stores = stores or Stores()
    with stores.catalog.transaction() as tx:
        row = faces.get(tx, face_id)
        if images.get(tx, row.image_id).status is ImageStatus.ERASED:
            raise NotFound("face", str(face_id), remedy="Its picture was erased.")
    return jpeg(read_crop(stores.objects, row.crop_key, row.crop_index))


def read_crop(objects: ObjectStore, key: str, index: int) -> Image:
    """One crop of a pack, uint8 RGB `[112, 112, 3]`.

    Raises:
        ObjectMissing: there is no such pack, or it has no such row.
        ShapeError: it is not a pack of crops.
    """
    start, rows = _layout(objects, key)
    if not 0 <= index < rows:
        raise ObjectMissing("crops", f"{key}#{index}")
    data = objects.get_range("crops", key, start + index * _ROW_BYTES, _ROW_BYTES)
    if len(data) != _ROW_BYTES:
        raise ObjectMissing("crops", f"{key}#{index}")
    return np.frombuffer(data, np.uint8).reshape(CROP_SIZE, CROP_SIZE, 3)


def jpeg(pixels: Image) -> bytes:
    """uint8 RGB `[h, w, 3]` as JPEG without any metadata."""
    from PIL import Image as PillowImage

    buffer = io.BytesIO()
    PillowImage.fromarray(pixels).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def preview(data: bytes, limits: Limits, side_px: int = PREVIEW_PX) -> bytes | None:
    """A picture from outside as a JPEG of at most `side_px`; None where it cannot be decoded.

    Headers are held against the limits before a pixel is decoded, and nothing but pixels is
    kept. A JPEG is decoded at a fraction of its size.

    Raises:
        ImageRejected: as `decode.inspect`.
    """
    from PIL import Image as PillowImage
    from PIL import ImageOps

    header = inspect(data, limits)
    try:
        with PillowImage.open(io.BytesIO(data), formats=(header.format,)) as picture:
            picture.draft("RGB", (side_px, side_px))
            picture.thumbnail((side_px, side_px))
            upright = ImageOps.exif_transpose(picture).convert("RGB")
    except Exception:  # Pillow raises nearly anything on damaged bytes
        return None
    return jpeg(np.asarray(upright))


def _layout(objects: ObjectStore, key: str) -> tuple[int, int]:
    """Where the rows of a pack start, in bytes, and how many there are."""
    head = objects.get_range("crops", key, 0, _HEAD_BYTES)
    length = int.from_bytes(head[:8], "little")
    try:
        tensor: dict[str, Any] = json.loads(head[8 : 8 + length])["crops"]
        shape, offset = tensor["shape"], int(tensor["data_offsets"][0])
    except (ValueError, KeyError) as error:
        raise ShapeError("crop pack", "a safetensors file with crops", key) from error
    if tensor["dtype"] != "U8" or shape[1:] != [CROP_SIZE, CROP_SIZE, 3]:
        raise ShapeError("crop pack", f"uint8 [n, {CROP_SIZE}, {CROP_SIZE}, 3]", str(tensor))
    return 8 + length + offset, int(shape[0])
