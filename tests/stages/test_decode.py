"""Every kind of picture has a defined result; everything else is `ImageRejected`."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from facecore.errors import ImageRejected
from facecore.stages.decode import Limits, decode, inspect, read
from facecore.stages.reasons import REASONS

LIMITS = Limits()
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
WIDTH, HEIGHT = 60, 40


def scene() -> np.ndarray:
    """A smooth colour gradient, unlike itself under every mirroring and turn."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([x * 4, y * 6, 255 - x * 2 - y * 3], axis=2).astype(np.uint8)


def encoded(picture: Image.Image | np.ndarray, kind: str, **options) -> bytes:
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    file = io.BytesIO()
    if kind in ("JPEG", "WEBP"):
        options.setdefault("quality", 95)
    picture.save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def rejection(data: bytes, limits: Limits = LIMITS) -> ImageRejected:
    with pytest.raises(ImageRejected) as caught:
        decode(data, limits)
    assert caught.value.reason in REASONS
    json.dumps(caught.value.evidence)  # it is stored as JSON
    return caught.value


def assert_close(image: np.ndarray, expected: np.ndarray, tolerance: int) -> None:
    assert image.dtype == np.uint8
    assert image.shape == expected.shape
    assert image.flags.c_contiguous
    assert image.flags.writeable  # torch warns about arrays that are not
    assert np.abs(image.astype(int) - expected.astype(int)).mean() <= tolerance


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_gives_rgb(kind):
    data = encoded(scene(), kind)
    header = inspect(data, LIMITS)
    assert (header.format, header.width, header.height) == (kind, WIDTH, HEIGHT)
    assert (header.orientation, header.mode, header.frames) == (1, "RGB", 1)
    assert header.captured_at is None
    assert_close(decode(data, LIMITS), scene(), 4 if kind in ("JPEG", "WEBP") else 0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    data = encoded(scene(), kind, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    header = inspect(data, LIMITS)
    assert header.orientation == orientation
    assert (header.width, header.height) == upright.size
    assert_close(decode(data, LIMITS), np.asarray(upright), 2)


def test_exif_orientation_turns_the_stored_corner_to_its_place():
    stored = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    stored[:8, :8] = 255  # top left as stored; orientation 6 turns it to the top right
    exif = Image.Exif()
    exif[274] = 6
    image = decode(encoded(stored, "PNG", exif=exif), LIMITS)
    assert image.shape == (WIDTH, HEIGHT, 3)
    assert image[:8, -8:].min() == 255
    assert image[:8, :8].max() == 0


def test_capture_time_comes_from_exif_with_its_offset():
    exif = Image.Exif()
    exif[306] = "2030:01:01 00:00:00"  # when software last touched the file: the weakest
    exif.get_ifd(34665)[36867] = "2024:05:06 07:08:09"
    exif.get_ifd(34665)[36881] = "+02:00"
    expected = datetime(2024, 5, 6, 7, 8, 9, tzinfo=timezone(timedelta(hours=2)))
    assert inspect(encoded(scene(), "JPEG", exif=exif), LIMITS).captured_at == expected


def test_an_impossible_orientation_counts_as_upright():
    exif = Image.Exif()
    exif[274] = 9
    assert inspect(encoded(scene(), "JPEG", exif=exif), LIMITS).orientation == 1


def test_damaged_exif_does_not_cost_the_picture():
    exif = Image.Exif()
    exif[274] = 6
    data = bytearray(encoded(scene(), "JPEG", exif=exif))
    at = data.index(b"Exif\0\0") + 6
    data[at : at + 12] = b"\xff" * 12
    header = inspect(bytes(data), LIMITS)
    assert (header.orientation, header.captured_at) == (1, None)
    assert_close(decode(bytes(data), LIMITS), scene(), 4)


def test_grey_and_one_bit_fill_three_channels():
    grey = Image.fromarray(scene()).convert("L")
    for picture in (grey, grey.convert("1")):
        expected = np.asarray(picture.convert("RGB"))
        assert_close(decode(encoded(picture, "PNG"), LIMITS), expected, 0)
    assert_close(decode(encoded(grey, "JPEG"), LIMITS), np.asarray(grey.convert("RGB")), 2)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_the_high_byte(kind):
    ramp = np.linspace(0, 65535, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH).astype(np.uint16)
    data = encoded(ramp, kind)
    assert inspect(data, LIMITS).mode == "L;16"
    expected = np.repeat((ramp >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    assert_close(decode(data, LIMITS), expected, 0)


def test_sixteen_bit_colour_png():
    row = b"\0" + b"".join(struct.pack(">HHH", 0x8001, 0x40FF, 0xFF00) for _ in range(4))
    header = struct.pack(">IIBBBBB", 4, 2, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(row * 2)), (b"IEND", b"")]
    data = png(chunks)
    assert inspect(data, LIMITS).mode == "RGB;16"
    assert decode(data, LIMITS).reshape(-1, 3).tolist() == [[0x80, 0x40, 0xFF]] * 8


def test_alpha_is_laid_over_white():
    picture = Image.fromarray(scene()).convert("RGBA")
    picture.putalpha(Image.new("L", picture.size, 0))
    picture.paste((10, 20, 30, 255), (0, 0, 20, 20))
    for kind in ("PNG", "WEBP"):
        image = decode(encoded(picture, kind, lossless=True), LIMITS)
        assert image[30, 50].tolist() == [255, 255, 255]
        assert image[10, 10].tolist() == [10, 20, 30]


def test_palette_with_transparency():
    picture = Image.new("P", (WIDTH, HEIGHT), 0)
    picture.putpalette([200, 0, 0, 0, 90, 0])
    picture.paste(1, (0, 0, 20, 20))
    for transparency in (0, b"\x00\xff"):  # an index, and an alpha value per index
        image = decode(encoded(picture, "PNG", transparency=transparency), LIMITS)
        assert image[30, 50].tolist() == [255, 255, 255]
        assert image[10, 10].tolist() == [0, 90, 0]
    assert decode(encoded(picture, "PNG"), LIMITS)[30, 50].tolist() == [200, 0, 0]


def test_cmyk_jpeg_of_adobe_and_without_its_mark():
    adobe = encoded(Image.fromarray(scene()).convert("CMYK"), "JPEG")
    assert inspect(adobe, LIMITS).mode == "CMYK"
    assert_close(decode(adobe, LIMITS), scene(), 4)
    # Without Adobe's segment the same values mean the opposite: ink, not the lack of it.
    inverted = Image.fromarray(255 - np.asarray(Image.fromarray(scene()).convert("CMYK")), "CMYK")
    plain = bytearray(encoded(inverted, "JPEG"))
    at = plain.index(b"\xff\xee")
    del plain[at : at + 2 + int.from_bytes(plain[at + 2 : at + 4], "big")]
    assert b"Adobe" not in plain
    assert_close(decode(bytes(plain), LIMITS), scene(), 4)


def test_cmyk_tiff():
    picture = Image.fromarray(scene()).convert("CMYK")
    data = encoded(picture, "TIFF", compression="tiff_lzw")
    assert inspect(data, LIMITS).mode == "CMYK"
    assert_close(decode(data, LIMITS), scene(), 1)


def test_what_follows_a_jpeg_is_ignored():
    data = encoded(scene(), "JPEG")
    junk = data + b"\0junk\xff\xd8\xff\xda" * 500
    assert np.array_equal(decode(junk, LIMITS), decode(data, LIMITS))


def test_progressive_jpeg_is_decoded_and_endless_scans_are_damage():
    data = encoded(scene(), "JPEG", progressive=True)
    assert_close(decode(data, LIMITS), scene(), 4)
    last = data.rindex(b"\xff\xda")
    error = rejection(data[:last] + data[last:-2] * 1000 + b"\xff\xd9")
    assert (error.reason, error.evidence["detail"]) == ("undecodable", "more than 100 scans")
    # the same bytes after the picture are junk and no scans
    assert_close(decode(data + data[last:-2] * 1000, LIMITS), scene(), 4)


def test_second_scans_of_a_sequential_jpeg_are_damage():
    """Its header is not searched for more scans, because the decoder stops at the second."""
    data = encoded(scene(), "JPEG")
    first = data.index(b"\xff\xda")
    error = rejection(data[:-2] + data[first:-2] * 1000 + b"\xff\xd9")
    assert (error.reason, error.evidence["format"]) == ("undecodable", "JPEG")


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animations_are_rejected_and_single_frames_are_not(kind):
    frames = [Image.fromarray(np.roll(scene(), 5 * n, axis=0)) for n in range(3)]
    error = rejection(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert error.reason == "animated"
    assert error.evidence["frames"] == 3
    one = encoded(frames[0], kind, save_all=True)
    assert_close(decode(one, LIMITS), scene(), 4)


def test_gif_is_recognised_and_not_supported():
    frames = [Image.fromarray(np.roll(scene(), 5 * n, axis=0)) for n in range(3)]
    for data in (encoded(frames[0], "GIF"), encoded(frames[0], "GIF", save_all=True)):
        error = rejection(data)
        assert (error.reason, error.evidence["detected"]) == ("unsupported_format", "GIF")


def test_tiff_pages_are_rejected_and_thumbnails_are_not():
    pages = [Image.fromarray(scene()), Image.fromarray(scene()[::2, ::2])]
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    error = rejection(data)
    assert (error.reason, error.evidence["frames"]) == ("multiple_pages", 2)
    # the same file with its second page marked as a smaller copy of the first
    thumbnail = io.BytesIO()
    pages[1].encoderinfo = {"tiffinfo": {254: 1}}
    pages[0].save(thumbnail, "TIFF", save_all=True, append_images=pages[1:])
    assert_close(decode(thumbnail.getvalue(), LIMITS), scene(), 0)


def test_pixels_without_a_defined_range_are_not_supported():
    for dtype in (np.float32, np.int32):
        error = rejection(encoded(np.zeros((8, 8), dtype), "TIFF"))
        assert error.reason == "unsupported_format"


def test_not_images():
    assert rejection(b"").reason == "empty"
    for data in (b"hello", b"BM", b"\0" * 100, b"RIFF\0\0\0\0AVI ", b"\xff\xd8"):
        assert rejection(data).reason == "not_an_image"
    assert rejection(b"\0\0\0\x18ftypheic" + bytes(40)).evidence["detected"] == "HEIF"
    assert rejection(b"<svg xmlns='http://www.w3.org/2000/svg'/>").evidence["detected"] == "SVG"


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
def test_truncated_files(kind, share):
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    data = encoded(noise, kind)
    error = rejection(data[: max(int(len(data) * share), 30)])
    assert (error.reason, error.evidence["format"]) == ("truncated", kind)


def test_too_many_bytes():
    data = encoded(scene(), "PNG")
    error = rejection(data, Limits(max_bytes=len(data) - 1, max_pixels=10**6))
    assert error.reason == "too_many_bytes"
    assert error.evidence == {"bytes": len(data), "limit": len(data) - 1}


@pytest.mark.parametrize("kind", FORMATS)
def test_pixel_limit_is_inclusive(kind):
    data = encoded(scene(), kind)
    assert decode(data, Limits(max_pixels=WIDTH * HEIGHT)).shape == (HEIGHT, WIDTH, 3)
    error = rejection(data, Limits(max_pixels=WIDTH * HEIGHT - 1))
    assert error.reason == "too_many_pixels"
    assert (error.evidence["width"], error.evidence["height"]) == (WIDTH, HEIGHT)


def test_a_bomb_is_refused_from_its_header_without_memory_or_warnings():
    raw = zlib.compress(b"\0" * (20_000 * 2_501))  # 20,000 × 20,000 pixels of 1 bit: 50 MB
    body = b"IDAT" + raw
    whole = png_header(20_000, 20_000) + struct.pack(">I", len(raw)) + body + bytes(16)
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data in (png_header(50_000, 50_000), whole):
            assert rejection(data).reason == "too_many_pixels"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_a_large_picture_within_the_limit_gives_no_bomb_warning():
    data = encoded(Image.new("1", (10_000, 9_500)), "PNG")  # above Pillow's own 89 MP
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert inspect(data, Limits(max_pixels=10**8)).width == 10_000
        with Image.open(io.BytesIO(encoded(scene(), "PNG"))) as other:
            assert other.size == (WIDTH, HEIGHT)
    assert Image.MAX_IMAGE_PIXELS is not None  # the guard of other users of Pillow still stands


def test_a_file_whose_headers_disagree_is_damaged():
    data = bytearray(encoded(scene(), "PNG"))
    second = png_header(WIDTH, HEIGHT * 2)[8:]
    data[33:33] = second  # a second IHDR: Pillow believes the last one
    assert rejection(bytes(data)).reason == "undecodable"


def test_want_of_memory_is_no_fault_of_the_picture():
    program = """
import io, re, resource
from PIL import Image
from facecore.stages.decode import Limits, decode, read
from facecore.stages.workers import is_out_of_memory

def encoded(mode, kind, **options):
    buffer = io.BytesIO()
    Image.new(mode, (6000, 6000)).save(buffer, kind, **options)
    return read(buffer.getvalue(), Limits())

progressive = encoded("RGB", "JPEG", progressive=True)
calls = [
    encoded("RGB", "JPEG").decode,
    progressive.decode,
    lambda: progressive.decode_reduced(3000),
    encoded("CMYK", "JPEG").decode,
    encoded("RGB", "PNG").decode,
    encoded("RGB", "TIFF", compression="tiff_lzw").decode,
    encoded("RGB", "WEBP").decode,
]
progressive.decode()  # imports what it needs
used = int(re.search("VmSize: *\t *([0-9]+)", open("/proc/self/status").read())[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (used + (24 << 20), resource.RLIM_INFINITY))
for call in calls:
    try:
        print(call().shape)
    except Exception as error:
        print(is_out_of_memory(error) or error)
"""
    given_back = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed, at once
    done = subprocess.run(
        [sys.executable, "-c", program], env=given_back, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["True"] * 7, done.stderr


def test_a_row_too_long_for_pillow_is_the_pictures_fault():
    """Pillow says MemoryError, which would be tried again for ever."""
    header = struct.pack(">IIBBBBB", 40_000_000, 1, 16, 6, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    assert rejection(png(chunks)).reason == "unsupported_format"


def test_tiff_tags_that_claim_more_than_the_file_are_refused():
    entries = b"".join(
        struct.pack("<HHII", tag, kind, number, value)
        for tag, kind, number, value in [
            (256, 3, 1, 8),
            (257, 3, 1, 8),
            *((60_000 + n, 7, 4_000, 8) for n in range(50)),
        ]
    )
    data = b"II*\0" + struct.pack("<IH", 8, 52) + entries + struct.pack("<I", 0) + bytes(4_000)
    error = rejection(data)
    assert error.reason == "undecodable"
    assert "claim more bytes" in error.evidence["detail"]


def tiff(entries: list[tuple[int, int, int, int]], values: bytes) -> bytes:
    """Tag, kind, number and value (or its place) of each entry; `values` begin at byte 8."""
    directory = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    start = struct.pack("<I", 8 + len(values))
    return b"II*\0" + start + values + struct.pack("<H", len(entries)) + directory + bytes(4)


@pytest.mark.parametrize(("depth", "dtype"), [(8, "<u1"), (16, "<u2")])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_a_tiff_whose_white_is_zero_comes_out_positive(depth, dtype, white_is_zero):
    stored = np.linspace(0, 2**depth - 1, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH).astype(dtype)
    values = stored.tobytes()
    shape = [(256, 3, 1, WIDTH), (257, 3, 1, HEIGHT), (258, 3, 1, depth), (278, 3, 1, HEIGHT)]
    grey = [(259, 3, 1, 1), (262, 3, 1, int(not white_is_zero)), (277, 3, 1, 1)]
    data = tiff([*shape, *grey, (273, 4, 1, 8), (279, 4, 1, len(values))], values)
    high = (stored >> (depth - 8)).astype(np.uint8)
    expected = np.repeat((255 - high if white_is_zero else high)[:, :, None], 3, axis=2)
    assert_close(decode(data, LIMITS), expected, 0)


def test_a_tiffs_header_is_read_without_copying_what_it_claims():
    values = bytes(2**20)
    claims = [(tag, 3, len(values) // 2, 8) for tag in (273, 279, 324, 325)]
    data = tiff([(256, 3, 1, 100), (257, 3, 1, 100), *claims], values)
    tracemalloc.start()
    error = rejection(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "claim more bytes" in error.evidence["detail"]
    assert peak < len(data)


@pytest.mark.parametrize(("starts", "counts"), [(273, 279), (324, 325)])
def test_a_tiff_with_more_pieces_than_pixels_is_damaged(starts, counts):
    """Pillow would make objects of all of them: 120 times the file, for minutes."""
    claims = [(starts, 1, 50_000, 8), (counts, 1, 50_000, 8)]
    error = rejection(tiff([(256, 3, 1, 100), (257, 3, 1, 100), *claims], bytes(100_000)))
    assert (error.reason, "strips or tiles" in error.evidence["detail"]) == ("undecodable", True)
    # the last of two entries is what Pillow believes
    few = [(starts, 1, 1, 8), (257, 3, 1, 100), (257, 3, 1, 100)]
    error = rejection(tiff([(256, 3, 1, 100), *few], bytes(100_000)))
    assert (error.reason, error.evidence["detail"]) == ("undecodable", "a tag is there twice")


SEEDS = {kind: encoded(scene(), kind) for kind in FORMATS} | {
    "exif": encoded(scene(), "JPEG", exif=Image.Exif()),
    "cmyk": encoded(Image.fromarray(scene()).convert("CMYK"), "JPEG"),
    "palette": encoded(Image.fromarray(scene()).quantize(), "PNG"),
    "lzw": encoded(scene(), "TIFF", compression="tiff_lzw"),
    "apng": encoded(Image.fromarray(scene()), "PNG", save_all=True),
    "alpha": encoded(Image.fromarray(scene()).convert("RGBA"), "WEBP"),
}


def decoded_or_rejected(data: bytes) -> np.ndarray | ImageRejected:
    try:
        return decode(data, Limits(max_pixels=10**6))
    except ImageRejected as error:
        return error


def assert_image_or_rejected(data: bytes) -> None:
    result = decoded_or_rejected(data)
    if isinstance(result, ImageRejected):
        assert result.reason in REASONS
        json.dumps(result.evidence)
        return
    header = inspect(data, LIMITS)
    assert result.dtype == np.uint8
    assert result.shape == (header.height, header.width, 3)


@given(
    st.sampled_from(sorted(SEEDS)),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8),
    st.floats(0.2, 1),
    st.binary(max_size=20),
)
@hypothesis_settings(max_examples=300, deadline=None)
def test_mutated_files_are_decoded_or_rejected(seed, changes, keep, tail):
    data = bytearray(SEEDS[seed])
    for place, value in changes:
        # squared: headers, where damage does most, are at the front
        data[int(place**2 * (len(data) - 1))] = value
    assert_image_or_rejected(bytes(data[: int(len(data) * keep)]) + tail)
    assert_image_or_rejected(bytes(data))


MAGIC = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x20\0\0\0WEBPVP8X", b"II*\0", b"MM\0*"]


@given(st.sampled_from(MAGIC), st.binary(max_size=400))
@hypothesis_settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_are_decoded_or_rejected(magic, rest):
    assert_image_or_rejected(magic + rest)


def test_many_threads_at_once():
    files = [SEEDS[kind] for kind in FORMATS] * 20
    alone = [decode(data, LIMITS) for data in files[: len(FORMATS)]]
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(lambda data: decode(data, LIMITS), files))
    for n, image in enumerate(images):
        assert np.array_equal(image, alone[n % len(FORMATS)])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("least_px", [100, 51, 26, 13, 1])
def test_reduced_is_the_same_picture_but_smaller(orientation, least_px):
    gradient = np.zeros((101, 64, 3), np.uint8)
    gradient[..., 0] = np.linspace(0, 250, 101)[:, None]
    gradient[..., 1] = np.linspace(0, 250, 64)
    exif = Image.Exif()
    exif[0x112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(gradient).save(buffer, "JPEG", quality=95, exif=exif.tobytes())
    encoded = read(buffer.getvalue(), Limits())
    whole, reduced = encoded.decode(), encoded.decode_reduced(least_px)
    factor = encoded.reduction(least_px)
    assert factor == {100: 1, 51: 1, 26: 2, 13: 4, 1: 8}[least_px]
    assert reduced.shape[:2] == tuple(-(-side // factor) for side in whole.shape[:2])
    assert reduced.flags.c_contiguous
    centre = factor // 2
    sampled = whole[centre::factor, centre::factor].astype(int)
    part = reduced[: sampled.shape[0], : sampled.shape[1]].astype(int)
    assert np.abs(part - sampled).mean() < 8


def test_only_plain_jpegs_are_reduced():
    picture = Image.new("RGB", (400, 300), (200, 10, 30))
    for kind, mode in (("PNG", "RGB"), ("WEBP", "RGB"), ("TIFF", "RGB"), ("JPEG", "CMYK")):
        buffer = io.BytesIO()
        picture.convert(mode).save(buffer, kind)
        encoded = read(buffer.getvalue(), Limits())
        assert encoded.reduction(10) == 1
        np.testing.assert_array_equal(encoded.decode_reduced(10), encoded.decode())


def test_a_truncated_file_is_rejected_reduced_as_well():
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG")
    encoded = read(buffer.getvalue()[: len(buffer.getvalue()) // 2], Limits())
    for least_px in (400, 50):
        with pytest.raises(ImageRejected) as caught:
            encoded.decode_reduced(least_px)
        assert caught.value.reason == "truncated"
