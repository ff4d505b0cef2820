"""Many files into one buffer: the same pixels as one by one."""

import io

import numpy as np
import pytest
from PIL import Image

from facecore.errors import ImageRejected
from facecore.stages.decode import Limits, read
from facecore.stages.decode_behind import decode_behind
from facecore.stages.workers import Workers


def encoded(picture, kind="JPEG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def contents():
    rng = np.random.default_rng(0)
    pictures = [
        Image.fromarray(rng.integers(0, 256, (30 + n, 50, 3), dtype=np.uint8)) for n in range(9)
    ]
    turned = Image.Exif()
    turned[0x112] = 6
    files = [
        *(encoded(picture) for picture in pictures),
        encoded(pictures[0], progressive=True),
        encoded(pictures[1].convert("L")),
        encoded(pictures[2].convert("CMYK")),
        encoded(pictures[3], exif=turned.tobytes()),
        encoded(pictures[4], "PNG"),
        encoded(pictures[5].convert("RGBA"), "WEBP", lossless=True),
    ]
    return [read(data, Limits()) for data in files]


def parts(contents, pixels):
    start = 0
    for content in contents:
        height, width = content.header.height, content.header.width
        yield pixels[start : start + height * width].view(height, width, 3).numpy()
        start += height * width
    assert start == len(pixels)


@pytest.mark.parametrize("threads", [1, 2, 32])
def test_the_pixels_of_every_format_in_order(contents, threads):
    pixels, rejected = decode_behind(contents, Workers(threads=threads))
    assert rejected == [None] * len(contents)
    for content, part in zip(contents, parts(contents, pixels), strict=True):
        np.testing.assert_array_equal(part, content.decode())


def test_a_damaged_file_costs_itself_only(contents):
    data = contents[0].data
    broken = [read(data[: len(data) // 2], Limits()), read(data[:-40], Limits())]
    mixed = [contents[1], broken[0], contents[2], contents[13], broken[1], contents[3]]
    pixels, rejected = decode_behind(mixed, Workers(threads=2))
    assert [type(one) for one in rejected] == [
        *(type(None), ImageRejected, type(None), type(None), ImageRejected, type(None)),
    ]
    with pytest.raises(ImageRejected) as alone:
        broken[0].decode()
    assert rejected[1].reason == alone.value.reason == "truncated"
    for content, wrong, part in zip(mixed, rejected, parts(mixed, pixels), strict=True):
        if wrong is None:
            np.testing.assert_array_equal(part, content.decode())


def test_nothing_to_decode():
    pixels, rejected = decode_behind([], Workers())
    assert pixels.shape == (0, 3)
    assert rejected == []
