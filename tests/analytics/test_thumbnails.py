from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from facecore.analytics.thumbnails import data_uri
from facecore.errors import ShapeError


def test_crop_survives_as_a_small_jpeg(crops) -> None:
    uri = data_uri(crops[41])
    head, _, body = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    assert len(uri) < 10_000
    with Image.open(io.BytesIO(base64.b64decode(body))) as image:
        assert (image.format, image.size) == ("JPEG", (112, 112))


@pytest.mark.parametrize(
    "crop", [np.zeros((112, 112), np.uint8), np.zeros((112, 112, 3), np.float32)]
)
def test_anything_but_a_crop_is_refused(crop) -> None:
    with pytest.raises(ShapeError):
        data_uri(crop)
