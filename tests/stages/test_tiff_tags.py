"""EXIF is read tag by tag; damaged blocks count as absent."""

from __future__ import annotations

import struct
import tracemalloc
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from facecore.stages.tiff_tags import Exif, TagsDamaged, byte_order, read_directory, read_exif


def block(main: dict[int, object], sub: dict[int, object] | None = None) -> bytes:
    exif = Image.Exif()
    for tag, value in main.items():
        exif[tag] = value
    for tag, value in (sub or {}).items():
        exif.get_ifd(34665)[tag] = value
    return exif.tobytes().removeprefix(b"Exif\0\0")


def test_orientation_and_original_time():
    data = block({274: 3, 306: "2030:01:01 00:00:00"}, {36867: "2024:05:06 07:08:09"})
    assert read_exif(data) == Exif(3, datetime(2024, 5, 6, 7, 8, 9))


@pytest.mark.parametrize(
    ("main", "sub", "expected"),
    [
        ({306: "2001:02:03 04:05:06"}, {}, datetime(2001, 2, 3, 4, 5, 6)),
        ({}, {36868: "2001:02:03 04:05:06"}, datetime(2001, 2, 3, 4, 5, 6)),
        (
            {},
            {36867: "2001:02:03 04:05:06", 36881: "-03:30"},
            datetime(2001, 2, 3, 4, 5, 6, tzinfo=timezone(-timedelta(hours=3, minutes=30))),
        ),
        ({}, {36867: "2001:02:03 04:05:06", 36881: "Z"}, datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)),
        ({}, {36867: "2001:02:03 04:05:06", 36881: "+99:00"}, datetime(2001, 2, 3, 4, 5, 6)),
        ({}, {36867: "0000:00:00 00:00:00"}, None),
        ({}, {36867: "0001:01:01 00:00:00"}, None),
        ({}, {36867: "yesterday"}, None),
    ],
)
def test_times(main, sub, expected):
    assert read_exif(block(main, sub)).captured_at == expected


def test_big_endian():
    entry = struct.pack(">HHIHH", 274, 3, 1, 6, 0)
    assert read_exif(b"MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)).orientation == 6


def test_values_beyond_the_end_are_damage():
    entry = struct.pack("<HHII", 273, 4, 1000, 8)
    data = b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
    order, offset = byte_order(data)
    with pytest.raises(TagsDamaged):
        read_directory(data, order, offset, (273,))
    directory = read_directory(data, order, offset, ())
    assert (directory.values, directory.value_bytes, directory.next_offset) == ({}, 4000, 0)


def test_values_are_not_copied():
    """However many integers or characters a tag claims, and however often."""
    body = b"\x00\x01" * 2**20
    tags = [(274, 3, 2**20, 8), (306, 2, 2**21, 8), (34665, 3, 2**20, 8), (36880, 2, 2**21, 8)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    data = b"II*\0" + struct.pack("<I", 8 + len(body)) + body
    data += struct.pack("<H", len(tags)) + entries + bytes(4)
    tracemalloc.start()
    assert read_exif(data) == Exif()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**16


def test_a_tag_that_is_there_twice_is_told():
    entry = struct.pack("<HHIHH", 274, 3, 1, 6, 0)
    data = b"II*\0" + struct.pack("<IH", 8, 2) + entry * 2 + bytes(4)
    assert read_directory(data, "<", 8, (274,)).repeated
    assert not read_directory(data, "<", 8, ()).repeated
    assert read_exif(data).orientation == 6


@given(st.sampled_from([b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"]), st.binary(max_size=200))
def test_any_block_gives_a_usable_answer(head, rest):
    assert 1 <= read_exif(head + rest).orientation <= 8
