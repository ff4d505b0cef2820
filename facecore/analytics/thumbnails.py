"""Face crops as small JPEGs that live inside the page."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from facecore.errors import ShapeError
from facecore.types import CROP_SIZE


def data_uri(crop: npt.NDArray[np.uint8], quality: int = 82) -> str:
    """One crop as `data:image/jpeg;base64,…` (about 4 KB).

    Args:
        crop: uint8 RGB `[112, 112, 3]`.
        quality: of the JPEG, 1..95.

    Raises:
        ShapeError: the crop has another shape or dtype.
    """
    if crop.shape != (CROP_SIZE, CROP_SIZE, 3) or crop.dtype != np.uint8:
        raise ShapeError(
            "crop", f"uint8 [{CROP_SIZE}, {CROP_SIZE}, 3]", f"{crop.dtype} {list(crop.shape)}"
        )
    buffer = io.BytesIO()
    PillowImage.fromarray(np.ascontiguousarray(crop)).save(
        buffer, "JPEG", quality=quality, optimize=True
    )
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
