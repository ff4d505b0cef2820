"""Formats are told apart by content, and headers are read in a bounded number of steps."""

from __future__ import annotations

import struct

import pytest

from facecore.errors import ImageRejected
from facecore.stages.headers import read_header, sniff


def accept(width: int, height: int) -> None:
    assert width > 0
    assert height > 0


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WEBP"),
        (b"BM" + bytes(12) + struct.pack("<I", 40) + bytes(40), "BMP"),
        (b"II*\0", "TIFF"),
        (b"MM\0*", "TIFF"),
    ],
)
def test_supported_formats(head, kind):
    assert sniff(head + bytes(20)) == kind


@pytest.mark.parametrize(
    ("head", "detected"),
    [
        (b"GIF89a", "GIF"),
        (b"\0\0\0\x20ftypavif", "AVIF"),
        (b"\0\0\0\x20ftypheic", "HEIF"),
        (b"II+\0", "BigTIFF"),
        (b"%PDF-1.7", "PDF"),
        (b"\xff\x0a", "JPEG XL"),
        (b"<?xml version='1.0'?><svg>", "SVG"),
    ],
)
def test_other_formats_are_named(head, detected):
    with pytest.raises(ImageRejected) as caught:
        sniff(head + bytes(20))
    assert caught.value.reason == "unsupported_format"
    assert caught.value.evidence == {"detected": detected}


def test_text_that_mentions_an_image_is_not_one():
    with pytest.raises(ImageRejected) as caught:
        sniff(b"BM stands for bitmap, GIF89a does not start here")
    assert caught.value.reason == "not_an_image"


def test_endless_segments_are_damage():
    data = b"\xff\xd8" + b"\xff\xe0\0\x02" * 200_000
    with pytest.raises(ImageRejected) as caught:
        read_header(data, "JPEG", accept)
    assert caught.value.reason == "undecodable"


def test_fill_bytes_and_junk_between_jpeg_segments():
    frame = b"\xff\xff\xff\xc0" + struct.pack(">HBHHB", 17, 8, 30, 50, 3) + bytes(9)
    scan = b"\xff\xda\0\x02"
    header = read_header(b"\xff\xd8junk" + frame + scan, "JPEG", accept)
    assert (header.width, header.height, header.mode, header.adobe) == (50, 30, "RGB", False)


def test_twelve_bit_jpeg_is_not_supported():
    frame = b"\xff\xc1" + struct.pack(">HBHHB", 17, 12, 30, 50, 3) + bytes(9)
    with pytest.raises(ImageRejected) as caught:
        read_header(b"\xff\xd8" + frame + b"\xff\xda\0\x02", "JPEG", accept)
    assert caught.value.reason == "unsupported_format"


def test_bottom_up_and_top_down_bmp():
    for height in (20, -20):
        info = struct.pack("<IiiHH", 40, 10, height, 1, 24) + bytes(24)
        header = read_header(b"BM" + bytes(12) + info, "BMP", accept)
        assert (header.width, header.height) == (10, 20)
