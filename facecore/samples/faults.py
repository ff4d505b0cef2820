"""Files that cameras and people deliver although they should not, with what must become of them."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

BOMB_SIDE_PX = 50_000


@dataclass(frozen=True, slots=True)
class Fault:
    """One odd file.

    Attributes:
        name: file name with extension, telling what is odd.
        data: its bytes.
        reason: code that must be among the reasons of the quarantine; empty when the file is
            odd but good and must be accepted.
    """

    name: str
    data: bytes
    reason: str = ""

    @property
    def status(self) -> Literal["extracted", "quarantined"]:
        """Where it must end."""
        return "quarantined" if self.reason else "extracted"


def broken(frame: Image.Image, rng: np.random.Generator) -> list[Fault]:
    """One file for each way to fail, made from a good frame where there is a picture in it.

    Args:
        frame: RGB, at least 640 × 400.
    """
    good = _encoded(frame, "JPEG", quality=85)
    return [
        Fault("truncated.jpg", good[: len(good) * 2 // 5], "truncated"),
        Fault("notes.jpg", b"Camera 3 was cleaned this morning.\n", "not_an_image"),
        Fault("login-page.jpg", b"<!doctype html><title>Camera login</title>\n", "not_an_image"),
        Fault("zero-bytes.jpg", b"", "empty"),
        Fault("lens-cap.jpg", _encoded(_noise(frame.size, 4, 2, rng), "JPEG"), "too_dark"),
        Fault("into-the-sun.jpg", _encoded(_overexposed(frame), "JPEG"), "too_bright"),
        Fault("out-of-focus.jpg", _encoded(_blurred(frame), "JPEG"), "too_blurred"),
        Fault("fog.jpg", _encoded(_noise(frame.size, 150, 2, rng), "JPEG"), "low_contrast"),
        Fault("thumbnail.png", _encoded(frame.resize((24, 24)), "PNG"), "too_small"),
        Fault("strip.jpg", _encoded(frame.resize((1200, 120)), "JPEG"), "extreme_aspect"),
        Fault("bomb.png", decompression_bomb(), "too_many_pixels"),
        Fault("damaged.png", _damaged_png(frame), "undecodable"),
        Fault("clip.gif", _animation(frame, "GIF"), "unsupported_format"),
        Fault("clip.webp", _animation(frame, "WEBP"), "animated"),
        Fault("scan.tiff", _animation(frame, "TIFF"), "multiple_pages"),
    ]  # fmt: skip


def odd_but_good(frame: Image.Image) -> list[Fault]:
    """The frame in pixel layouts that are rare and must work all the same."""
    grey = frame.convert("L")
    deep = Image.fromarray((np.asarray(grey).astype(np.uint16) * 257).astype(np.uint16))
    return [
        Fault("print-cmyk.jpg", _encoded(frame.convert("CMYK"), "JPEG", quality=90)),
        Fault("infrared-grey.jpg", _encoded(grey, "JPEG", quality=90)),
        Fault("scientific-16-bit.png", _encoded(deep, "PNG")),
        Fault("palette.png", _encoded(frame.quantize(256, Image.Quantize.FASTOCTREE), "PNG")),
        Fault("transparent.png", _encoded(_opaque(frame), "PNG", compress_level=1)),
    ]


def decompression_bomb(side: int = BOMB_SIDE_PX) -> bytes:
    """A PNG of a hundred bytes whose header promises `side` × `side` pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(64))), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def _encoded(picture: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _noise(
    size: tuple[int, int], mean: float, sigma: float, rng: np.random.Generator
) -> Image.Image:
    values = rng.normal(mean, sigma, (size[1], size[0], 3))
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8), "RGB")


def _overexposed(frame: Image.Image) -> Image.Image:
    return frame.point(lambda value: min(255, 228 + value // 2))


def _blurred(frame: Image.Image) -> Image.Image:
    return frame.filter(ImageFilter.GaussianBlur(frame.width / 24))


def _opaque(frame: Image.Image) -> Image.Image:
    with_alpha = frame.copy()
    with_alpha.putalpha(255)
    return with_alpha


def _damaged_png(frame: Image.Image) -> bytes:
    """The right header, but the compressed pixels are overwritten in the middle."""
    data = bytearray(_encoded(frame.resize((320, 200)), "PNG"))
    start = data.index(b"IDAT") + 200
    data[start : start + 400] = bytes(400)
    return bytes(data)


def _animation(frame: Image.Image, kind: str) -> bytes:
    pages = []
    for shift in range(3):
        page = frame.resize((160, 120))
        ImageDraw.Draw(page).rectangle((10 * shift, 30, 10 * shift + 20, 50), fill=(200, 40, 40))
        pages.append(page)
    buffer = io.BytesIO()
    pages[0].save(buffer, kind, save_all=True, append_images=pages[1:])
    return buffer.getvalue()
