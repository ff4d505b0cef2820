"""Reads image headers by hand: format, size, frames, EXIF, from a few bytes each.

Not left to Pillow because its own size guard is a process-wide setting that only warns, its
WebP reader allocates the whole canvas on opening, and a lone 50,000 × 50,000 PNG header must be
told from a merely broken file. Every parser states the size as soon as it knows it (so that
"too many pixels" wins over "truncated") and takes a bounded number of steps.

Sources: ITU-T T.81 annex B (JPEG), W3C PNG 3rd edition, RFC 9649 (WebP), TIFF 6.0, and
Microsoft's BITMAPINFOHEADER.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from facecore.errors import ImageRejected
from facecore.stages import reasons
from facecore.stages.tiff_tags import TagsDamaged, byte_order, read_directory

_MAX_STEPS = 20_000  # segments, chunks or pages looked at in one file
_SOF_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL_MARKERS = frozenset({0xC0, 0xC1, 0xC9})
_BARE_MARKERS = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})
_MAX_SCANS = 100  # encoders write about ten; each costs a pass over the whole picture
_MARKER = re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]")  # not stuffing (00), not a restart (D0–D7)
_JPEG_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_PNG_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}
_MAX_PAGES = 64
_MAX_PLANES = 8  # samples of a TIFF's pixel that are stored apart; Pillow takes six
_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES = 273, 279, 324, 325
_TIFF_TAGS = (256, 257, 258, 262, 277, 322, 323, 273, 279, 324, 325)

SizeCheck = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class RawHeader:
    """What the file itself states.

    Attributes:
        width, height: as stored, before any EXIF rotation.
        mode: pixel layout in Pillow's words, with `;16` for 16 bits a channel.
        frames: pictures in the file, as far as they were counted.
        exif: the EXIF block (a TIFF structure), empty when there is none.
        adobe: a JPEG with Adobe's marker, whose CMYK values are stored inverted.
        white_is_zero: a TIFF whose grey values are stored inverted.
    """

    width: int
    height: int
    mode: str
    frames: int = 1
    exif: bytes = b""
    adobe: bool = False
    white_is_zero: bool = False


def sniff(data: bytes) -> str:
    """The format by its first bytes: JPEG, PNG, WEBP, BMP, TIFF.

    Raises:
        ImageRejected: `unsupported_format` (with `detected`) or `not_an_image`.
    """
    for magic, name in _SUPPORTED:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:2] == b"BM" and len(data) >= 26 and data[14:18] in _BMP_HEADER_SIZES:
        return "BMP"
    detected = _detect_unsupported(data)
    if detected:
        raise unsupported(detected)
    raise ImageRejected(
        reasons.NOT_AN_IMAGE,
        "the content is not an image",
        bytes=len(data),
        starts_with=data[:8].hex(),
    )


_SUPPORTED = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)
_BMP_HEADER_SIZES = tuple(struct.pack("<I", n) for n in (12, 16, 40, 52, 56, 64, 108, 124))
_UNSUPPORTED = (
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II+\0", "BigTIFF"),
    (b"MM\0+", "BigTIFF"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"8BPS", "Photoshop"),
    (b"\0\0\1\0", "icon"),
    (b"%PDF-", "PDF"),
    (b"v/1\1", "OpenEXR"),
    (b"FUJIFILMCCD-RAW", "raw photo"),
)
_ISO_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"crx ": "raw photo"}
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


def _detect_unsupported(data: bytes) -> str:
    for magic, name in _UNSUPPORTED:
        if data.startswith(magic):
            return name
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        return _ISO_BRANDS.get(brand) or ("HEIF" if brand in _HEIF_BRANDS else "")
    head = data[:512].lstrip().lower()
    return "SVG" if head.startswith((b"<svg", b"<?xml")) and b"<svg" in head else ""


def read_header(data: bytes, kind: str, check_size: SizeCheck) -> RawHeader:
    """Parse the header of a file of a sniffed format.

    Args:
        check_size: called with width and height once they are known, before anything else
            is looked at; raises `ImageRejected` when they are not acceptable.

    Raises:
        ImageRejected: `truncated`, `undecodable`, or what `check_size` raises.
    """
    try:
        return _PARSERS[kind](data, check_size)
    except (struct.error, IndexError):  # read past the last byte
        raise truncated(kind, data) from None


def truncated(kind: str, data: bytes) -> ImageRejected:
    """The error for a file that ends too early."""
    return ImageRejected(
        reasons.TRUNCATED, f"the {kind} file ends too early", format=kind, bytes=len(data)
    )


def damaged(kind: str, why: str) -> ImageRejected:
    """The error for a file whose structure makes no sense."""
    return ImageRejected(
        reasons.UNDECODABLE, f"the {kind} file is damaged: {why}", format=kind, detail=why
    )


def unsupported(detected: str) -> ImageRejected:
    """The error for a picture of a kind that is recognised and not accepted."""
    return ImageRejected(
        reasons.UNSUPPORTED_FORMAT, f"{detected} is not supported", detected=detected
    )


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of a JPEG's segments, up to and including the first scan header."""
    at = 2
    for _ in range(_MAX_STEPS):
        at = data.find(b"\xff", at)
        if at < 0:
            raise truncated("JPEG", data)
        while data[at] == 0xFF:  # fill bytes are allowed before a marker
            at += 1
        marker = data[at]
        at += 1
        if marker == 0 or marker in _BARE_MARKERS:
            continue
        if marker == 0xD9:
            raise damaged("JPEG", "it ends before the first scan")
        (length,) = struct.unpack_from(">H", data, at)
        if length < 2:
            raise damaged("JPEG", "a segment has no length")
        yield marker, data[at + 2 : at + length]
        at += length
    raise damaged("JPEG", "no scan among its segments")


def _jpeg(data: bytes, check_size: SizeCheck) -> RawHeader:
    frame: tuple[int, int, int] | None = None
    exif, adobe, single = b"", False, False
    for marker, body in _segments(data):
        if marker in _SOF_MARKERS and frame is None:
            sequential = marker in _SEQUENTIAL_MARKERS
            precision, height, width, components = struct.unpack_from(">BHHB", body)
            check_size(width, height)
            if precision != 8:
                raise unsupported(f"JPEG of {precision} bits a channel")
            frame = width, height, components
        elif marker == 0xE1 and not exif and body.startswith(b"Exif\0"):
            exif = body[6:]
        elif marker == 0xEE and body.startswith(b"Adobe"):
            adobe = True
        elif marker == 0xDA:
            # All components in a first sequential scan: decoders take no second one.
            single = frame is not None and sequential and body[:1] == bytes([frame[2]])
            break
    if frame is None:
        raise damaged("JPEG", "a scan comes before the size")
    if not single and data.count(b"\xff\xda") > _MAX_SCANS and _scans(data) > _MAX_SCANS:
        raise damaged("JPEG", f"more than {_MAX_SCANS} scans")
    mode = _JPEG_MODES.get(frame[2])
    if mode is None:
        raise damaged("JPEG", f"{frame[2]} colour components")
    return RawHeader(frame[0], frame[1], mode, exif=exif, adobe=adobe)


def _scans(data: bytes) -> int:
    """Scans up to the end of the picture; stops counting beyond the limit."""
    scans, at = 0, 2
    for _ in range(_MAX_STEPS):
        found = _MARKER.search(data, at)
        if found is None or scans > _MAX_SCANS or data[found.end() - 1] == 0xD9:
            break
        at = found.end()
        scans += data[at - 1] == 0xDA
        if data[at - 1] not in _BARE_MARKERS:
            at += int.from_bytes(data[at : at + 2], "big")
    return scans


def _chunks(
    data: bytes, at: int, layout: str, overhead: int, pad: int
) -> Iterator[tuple[bytes, int, int]]:
    """Walk length-prefixed chunks: name, start of the content, length of the content."""
    for _ in range(_MAX_STEPS):
        if at + 8 > len(data):
            return
        fields = struct.unpack_from(layout, data, at)
        length, name = (fields[0], fields[1]) if layout[0] == ">" else (fields[1], fields[0])
        yield name, at + 8, length
        at += overhead + length + (length & pad)


def _png(data: bytes, check_size: SizeCheck) -> RawHeader:
    length, name, width, height, depth, colour = struct.unpack_from(">I4sIIBB", data, 8)
    if name != b"IHDR" or length != 13:
        raise damaged("PNG", "no image header")
    check_size(width, height)
    mode = _PNG_MODES.get(colour)
    if mode is None:
        raise damaged("PNG", f"colour type {colour}")
    frames, exif, pixels, ended = 1, b"", False, False
    for name, start, length in _chunks(data, 33, ">I4s", 12, 0):
        if name == b"IEND":
            ended = True
            break
        if start + length > len(data):
            raise truncated("PNG", data)
        if name == b"acTL" and not pixels:
            (frames,) = struct.unpack_from(">I", data, start)
        elif name == b"eXIf":
            exif = data[start : start + length]
        pixels = pixels or name == b"IDAT"
    if not ended:
        raise truncated("PNG", data)
    return RawHeader(width, height, mode + ";16" * (depth == 16), max(frames, 1), exif)


def _webp(data: bytes, check_size: SizeCheck) -> RawHeader:
    riff, _, first = struct.unpack_from("<I4s4s", data, 4)
    alpha = False
    if first == b"VP8X":
        flags, low_w, high_w, low_h, high_h = struct.unpack_from("<B3xHBHB", data, 20)
        width, height = 1 + low_w + (high_w << 16), 1 + low_h + (high_h << 16)
        alpha = bool(flags & 0x10)
    elif first == b"VP8L":
        signature, bits = struct.unpack_from("<BI", data, 20)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        alpha = bool(bits >> 28 & 1)
        if signature != 0x2F:
            raise damaged("WEBP", "no lossless signature")
    elif first == b"VP8 ":
        start_code, width, height = struct.unpack_from("<3sHH", data, 23)
        width, height = width & 0x3FFF, height & 0x3FFF
        if start_code != b"\x9d\x01\x2a":
            raise damaged("WEBP", "no key frame")
    else:
        raise damaged("WEBP", "no image chunk")
    check_size(width, height)
    if riff + 8 > len(data):
        raise truncated("WEBP", data)
    frames, exif = 0, b""
    if first == b"VP8X":
        for name, start, length in _chunks(data, 12, "<4sI", 8, 1):
            frames += name == b"ANMF"
            if name == b"EXIF":
                exif = data[start : start + length].removeprefix(b"Exif\0\0")
    return RawHeader(width, height, "RGBA" if alpha else "RGB", max(frames, 1), exif)


def _bmp(data: bytes, check_size: SizeCheck) -> RawHeader:
    (header,) = struct.unpack_from("<I", data, 14)
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    else:
        width, height, _, bits = struct.unpack_from("<iiHH", data, 18)
    check_size(width, abs(height))  # a negative height only means: top row first
    return RawHeader(width, abs(height), {1: "1", 4: "P", 8: "P", 32: "RGBX"}.get(bits, "RGB"))


def _tiff(data: bytes, check_size: SizeCheck) -> RawHeader:
    try:
        order, offset = byte_order(data)
        page = read_directory(data, order, offset, _TIFF_TAGS)
        width, height = page.first(256), page.first(257)
        check_size(width, height)
        check_size(page.first(322, 1), page.first(323, 1))  # one tile is decoded at a time
        if page.value_bytes > len(data):
            # values that overlap: Pillow would copy each of them
            raise damaged("TIFF", "its tags claim more bytes than the file has")
        if page.repeated:  # Pillow believes the last
            raise damaged("TIFF", "a tag is there twice")
        tiles = -(-width // max(page.first(322), 16)) * -(-height // max(page.first(323), 16))
        planes = min(page.first(277, 1), _MAX_PLANES)
        for starts, counts, pieces in (
            (_STRIP_OFFSETS, _STRIP_BYTES, height),
            (_TILE_OFFSETS, _TILE_BYTES, tiles),
        ):
            if len(page.integers(starts)) > pieces * planes:  # Pillow makes objects of them
                raise damaged("TIFF", "it has more strips or tiles than the picture has room for")
            if page.last_end(starts, counts) > len(data):
                raise truncated("TIFF", data)
        pages, seen, following = 1, {offset}, page.next_offset
        while following and following not in seen and len(seen) < _MAX_PAGES:
            seen.add(following)
            other = read_directory(data, order, following, (254,))
            pages += not other.first(254) & 1  # bit 0: a smaller copy, such as a thumbnail
            following = other.next_offset
    except TagsDamaged:
        raise truncated("TIFF", data) from None
    deep = int(page.integers(258).max(initial=1))
    modes = {1: "L", 3: "RGB", 4: "CMYK" if page.first(262) == 5 else "RGBA"}
    mode = modes.get(page.first(277, 1), "other") + ";16" * (deep == 16)
    return RawHeader(width, height, mode, pages, data, white_is_zero=page.first(262, 1) == 0)


_PARSERS: dict[str, Callable[[bytes, SizeCheck], RawHeader]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WEBP": _webp,
    "BMP": _bmp,
    "TIFF": _tiff,
}
