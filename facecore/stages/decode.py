"""Bytes → an upright RGB picture, or `ImageRejected` with a stable reason code.

`inspect` looks at headers only and applies the limits; `decode` does the same first, so no
pixel is decoded before the size was accepted. Nothing but `ImageRejected` is raised, whatever
the bytes are, except for want of memory, which is no fault of the file: then what says so
(`workers.is_out_of_memory`). Both are thread-safe and change no global setting of Pillow.

What is made of each kind of picture:

================  ==================================================================
EXIF orientation  applied (1–8); a damaged EXIF block counts as absent
greyscale, 1 bit  repeated into three channels
16 bits           the high byte of each channel, inverted where a TIFF says white is 0
alpha             laid over white, as most viewers show it; so for palettes
CMYK JPEG         Adobe's inverted values and plain ones, converted without ICC profile
JPEG + more data  what follows the picture (motion photos, junk) is ignored
one-frame WebP/   a picture like any other
APNG
animation         rejected: `animated`. One frame would silently lose the others
TIFF              the only page; smaller copies (thumbnails) beside it are ignored,
                  further pages are rejected: `multiple_pages`
float, 32 bits,   rejected: `unsupported_format`; their values have no defined range
12-bit JPEG
GIF, HEIF, …      rejected: `unsupported_format`, with the format found
================  ==================================================================
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from facecore.errors import ImageRejected
from facecore.stages import reasons
from facecore.stages.headers import RawHeader, damaged, read_header, sniff, truncated, unsupported
from facecore.stages.tiff_tags import read_exif
from facecore.types import Image

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_EIGHT_BIT_MODES = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"})
_ALPHA_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_SIXTEEN_BIT_MODES = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
_WHITE = (255, 255, 255)
# Pillow counts the bits of a row, 64 a pixel at most, in 31; a longer one it calls a MemoryError.
_LONGEST_ROW = (2**31 - 1) // 64 - 7
_BYTES_A_PIXEL = 12  # that decoding takes at most: coefficients of a progressive CMYK JPEG, ink


@dataclass(frozen=True, slots=True)
class Limits:
    """What is read at all: bytes of the file, pixels (width × height) of the picture."""

    max_bytes: int = 64 * 2**20
    max_pixels: int = 64_000_000


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What the header says.

    Attributes:
        format: JPEG, PNG, WEBP, BMP or TIFF.
        width, height: pixels of the upright picture, after the EXIF orientation.
        orientation: EXIF orientation 1..8; 1 when there is none.
        mode: pixel layout in Pillow's words; `;16` marks 16 bits a channel.
        frames: always 1 today, as more are rejected.
        captured_at: EXIF capture time; naive when the camera recorded no offset from UTC.
    """

    format: str
    width: int
    height: int
    orientation: int
    mode: str
    frames: int
    captured_at: datetime | None


def inspect(data: bytes, limits: Limits) -> ImageHeader:
    """Read the header; no pixel is decoded and no memory proportional to the picture is used.

    Raises:
        ImageRejected: empty, too_many_bytes, not_an_image, unsupported_format,
            too_many_pixels, animated, multiple_pages; truncated or undecodable as far as
            headers tell.
    """
    return _inspect(data, limits)[0]


def decode(data: bytes, limits: Limits) -> Image:
    """Decode into uint8 RGB `[h, w, 3]`, upright, C-contiguous, writable.

    Raises:
        ImageRejected: as `inspect`, and truncated or undecodable when the pixels show it.
    """
    return read(data, limits).decode()


def read(data: bytes, limits: Limits) -> Encoded:
    """The first half of `decode`: no pixel is decoded yet.

    Raises:
        ImageRejected: as `inspect`.
    """
    return Encoded(data, *_inspect(data, limits))


@dataclass(frozen=True, slots=True)
class Encoded:
    """A file whose header was accepted. Made by `read`."""

    data: bytes
    header: ImageHeader
    raw: RawHeader

    def decode(self) -> Image:
        """As `decode`.

        Raises:
            ImageRejected: truncated or undecodable.
        """
        return self._upright(self._pixels(1), 1)

    def decode_reduced(self, least_px: int) -> Image:
        """The same picture at 1/2, 1/4 or 1/8 of its size, or whole; see `reduction`.

        Raises:
            ImageRejected: as `decode`.
        """
        factor = self.reduction(least_px)
        return self._upright(self._pixels(factor), factor)

    def reduction(self, least_px: int) -> int:
        """By how much `decode_reduced` divides the size: 1, 2, 4 or 8.

        A JPEG's decoder can leave out the finest detail of every block, which saves most of the
        work. The longer side keeps at least `least_px`.
        """
        if self.header.format != "JPEG" or self.raw.mode == "CMYK":
            return 1
        longest = max(self.header.width, self.header.height)
        return next((f for f in (8, 4, 2) if longest >= f * least_px), 1)

    def _pixels(self, factor: int) -> Image:
        if self.header.format == "JPEG" and self.raw.mode != "CMYK" and factor == 1:
            return _decode_jpeg(self.data)
        return _decode_with_pillow(self.data, self.header.format, self.raw, factor)

    def _upright(self, image: Image, factor: int) -> Image:
        header = self.header
        if header.format != "TIFF":  # Pillow has turned these already
            image = _upright(image, header.orientation)
        if image.shape[:2] != (-(-header.height // factor), -(-header.width // factor)):
            raise damaged(header.format, "its size differs from what the header states")
        return np.ascontiguousarray(image)


def _inspect(data: bytes, limits: Limits) -> tuple[ImageHeader, RawHeader]:
    if not data:
        raise ImageRejected(reasons.EMPTY, "the file is empty", bytes=0)
    if len(data) > limits.max_bytes:
        raise ImageRejected(
            reasons.TOO_MANY_BYTES,
            f"{len(data):,} bytes are more than the limit of {limits.max_bytes:,}",
            bytes=len(data),
            limit=limits.max_bytes,
        )
    kind = sniff(data)

    def check_size(width: int, height: int) -> None:
        if width <= 0 or height <= 0:
            raise damaged(kind, f"a size of {width} × {height}")
        if width * height > limits.max_pixels:
            raise ImageRejected(
                reasons.TOO_MANY_PIXELS,
                f"{width:,} × {height:,} pixels are more than the limit of {limits.max_pixels:,}",
                width=width,
                height=height,
                limit=limits.max_pixels,
            )

    raw = read_header(data, kind, check_size)
    if raw.frames > 1:
        reason = reasons.MULTIPLE_PAGES if kind == "TIFF" else reasons.ANIMATED
        raise ImageRejected(
            reason, f"the {kind} file holds {raw.frames} pictures", frames=raw.frames, format=kind
        )
    exif = read_exif(raw.exif)
    width, height = raw.width, raw.height
    if exif.orientation >= 5:
        width, height = height, width
    header = ImageHeader(
        kind, width, height, exif.orientation, raw.mode, raw.frames, exif.captured_at
    )
    return header, raw


def _decode_jpeg(data: bytes) -> Image:
    # Imported here: most users of this module only inspect, and torch takes seconds to import.
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    from facecore.stages.workers import is_out_of_memory

    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    try:
        pixels = decode_jpeg(encoded, mode=ImageReadMode.RGB)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        if "truncated" in str(error):
            raise truncated("JPEG", data) from None
        raise damaged("JPEG", _first_line(error)) from None
    image: Image = pixels.permute(1, 2, 0).numpy()
    return image


def _decode_with_pillow(data: bytes, kind: str, raw: RawHeader, factor: int = 1) -> Image:
    if raw.width > _LONGEST_ROW:
        raise unsupported(f"{kind} with rows of {raw.width:,} pixels")
    try:
        picture = _open(data, kind)
        opened_size = picture.size
        if opened_size not in ((raw.width, raw.height), (raw.height, raw.width)):
            raise damaged(kind, "two headers state different sizes")
        if picture.mode not in _EIGHT_BIT_MODES | _ALPHA_MODES | _SIXTEEN_BIT_MODES:
            raise unsupported(f"{kind} with pixels of type {picture.mode}")
        if factor > 1:
            picture.draft(None, (raw.width // factor, raw.height // factor))
        picture.load()
        return _rgb(picture, inverted=raw.white_is_zero or (kind == "JPEG" and not raw.adobe))
    except (ImageRejected, MemoryError):
        raise
    except Exception as error:
        # Pillow's plugins raise nearly anything on damaged bytes (OSError, SyntaxError,
        # ValueError, struct.error, KeyError …); all of it means this file, unless memory is full.
        _ask_for_memory(raw)
        if isinstance(error, EOFError) or "truncated" in str(error).lower():
            raise truncated(kind, data) from error
        raise damaged(kind, _first_line(error)) from error


def _ask_for_memory(raw: RawHeader) -> None:
    """Raise MemoryError where an intact picture could not be decoded either.

    The decoders of JPEG and WebP call it damage when they get no memory.
    """
    np.empty((raw.height, raw.width, _BYTES_A_PIXEL), np.uint8)  # had, never touched


def _open(data: bytes, kind: str) -> ImageFile:
    """The format's own plugin: `PIL.Image.open` would add a process-wide size guard that warns."""
    from PIL import (
        BmpImagePlugin,
        JpegImagePlugin,
        PngImagePlugin,
        TiffImagePlugin,
        TiffTags,
        WebPImagePlugin,
    )

    plugins: dict[str, type[ImageFile]] = {
        "BMP": BmpImagePlugin.BmpImageFile,
        "JPEG": JpegImagePlugin.JpegImageFile,
        "PNG": PngImagePlugin.PngImageFile,
        "TIFF": TiffImagePlugin.TiffImageFile,
        "WEBP": WebPImagePlugin.WebPImageFile,
    }
    picture = plugins[kind](io.BytesIO(data))
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        # Loading would read these directories, copying every value of hostile ones.
        for group in TiffTags.TAGS_V2_GROUPS:
            picture.tag_v2.pop(group, None)
    return picture


def _rgb(picture: ImageFile, *, inverted: bool) -> Image:
    from PIL import Image as PillowImage
    from PIL import ImageChops

    if picture.mode in _SIXTEEN_BIT_MODES:
        high = (np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8)
        if inverted:  # which Pillow does by itself with 8 bits
            high = ~high
        return np.repeat(high[:, :, None], 3, axis=2)
    if picture.mode in _ALPHA_MODES or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        flat = PillowImage.new("RGB", layered.size, _WHITE)
        flat.paste(layered, mask=layered.getchannel("A"))
        return np.array(flat)
    if picture.mode == "CMYK" and inverted:
        # Pillow takes every CMYK JPEG for Adobe's; this one has no such mark.
        return np.array(ImageChops.invert(picture).convert("RGB"))
    return np.array(picture.convert("RGB"))


def _upright(image: Image, orientation: int) -> Image:
    """Undo the EXIF orientation: 2–4 mirror or turn by 180°, 5–8 also swap the axes."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image


def _first_line(error: BaseException) -> str:
    """The codec's own words, without the source path that torchvision puts before them."""
    lines = re.sub(r"^decode_jpeg, \S+:\d+, ", "", str(error)).splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
