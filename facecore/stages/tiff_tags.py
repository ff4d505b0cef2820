"""Reads single tags out of TIFF directories: TIFF files, and the EXIF block inside the others.

Only wanted tags are read, their integers stay where they are in the block, and nothing is
followed twice, so hostile directories (overlapping values, endless chains) cost neither memory
nor time. Pillow's own EXIF reader copies every value of every entry: 64 KiB of EXIF can grow to
hundreds of MiB there.

Source: TIFF 6.0 (Adobe, 1992), section 2; Exif 2.32 (CIPA DC-008), sections 4.6.4 and 4.6.5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import numpy.typing as npt

ORIENTATION = 274
_DATE_TIME = 306
_EXIF_DIRECTORY = 34665
_DATE_ORIGINAL, _DATE_DIGITIZED = 36867, 36868
_OFFSET, _OFFSET_ORIGINAL, _OFFSET_DIGITIZED = 36880, 36881, 36882
# byte length of each TIFF field type, by its number
_SIZES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8)
_INTEGER_TYPES = {1: "u1", 3: "u2", 4: "u4"}
_TEXT_BYTES = 64  # of an ASCII tag; a time takes 20
_EARLIEST_YEAR = 1900  # before cameras had clocks: not a date

Integers = npt.NDArray[np.unsignedinteger]


class TagsDamaged(ValueError):
    """A directory points outside the block or is no directory at all."""


@dataclass(frozen=True, slots=True)
class Directory:
    """The wanted tags of one image file directory (IFD).

    Attributes:
        values: tag → integers, a view of the block; or the first bytes of an ASCII tag.
        value_bytes: bytes that the values of *all* entries claim.
        repeated: whether a wanted tag is there twice; `values` has the first.
        next_offset: where the next directory starts; 0 when this is the last.
    """

    values: dict[int, Integers | bytes]
    value_bytes: int
    repeated: bool
    next_offset: int

    def first(self, tag: int, default: int = 0) -> int:
        """The first integer of a tag."""
        found = self.integers(tag)
        return int(found[0]) if len(found) else default

    def integers(self, tag: int) -> Integers:
        """All integers of a tag; none when it is not there."""
        value = self.values.get(tag)
        return value if isinstance(value, np.ndarray) else np.zeros(0, np.uint32)

    def last_end(self, starts: int, counts: int) -> int:
        """Where the last of the spans ends that two tags state."""
        both = min(len(self.integers(starts)), len(self.integers(counts)))
        ends = np.add(self.integers(starts)[:both], self.integers(counts)[:both], dtype=np.uint64)
        return int(ends.max(initial=0))


def byte_order(block: bytes) -> tuple[str, int]:
    """`struct`'s order character and the offset of the first directory.

    Raises:
        TagsDamaged: the block is not a classic TIFF.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None or len(block) < 8:
        raise TagsDamaged("no TIFF header")
    (offset,) = struct.unpack_from(order + "I", block, 4)
    return order, int(offset)


def read_directory(block: bytes, order: str, offset: int, wanted: Iterable[int]) -> Directory:
    """Read the wanted tags of the directory at `offset`.

    Raises:
        TagsDamaged: the directory does not fit into the block.
    """
    wanted = frozenset(wanted)
    try:
        (count,) = struct.unpack_from(order + "H", block, offset)
        (next_offset,) = struct.unpack_from(order + "I", block, offset + 2 + 12 * count)
    except struct.error:
        raise TagsDamaged(f"directory at {offset} reaches beyond the end") from None
    values: dict[int, Integers | bytes] = {}
    claimed, repeated = 0, False
    entries = struct.iter_unpack(order + "HHI4s", block[offset + 2 : offset + 2 + 12 * count])
    for tag, kind, number, inline in entries:
        size = number * (_SIZES[kind] if kind < len(_SIZES) else 1)
        claimed += size
        repeated |= tag in values
        if tag not in wanted or tag in values:
            continue
        held, start = inline, 0
        if size > 4:
            held, (start,) = block, struct.unpack(order + "I", inline)
            if start + size > len(block):
                raise TagsDamaged(f"tag {tag} reaches beyond the end")
        if kind in _INTEGER_TYPES:
            values[tag] = np.frombuffer(held, order + _INTEGER_TYPES[kind], number, start)
        elif kind == 2:
            values[tag] = held[start : start + min(size, _TEXT_BYTES)]
    return Directory(values, claimed, repeated, int(next_offset))


@dataclass(frozen=True, slots=True)
class Exif:
    """What facecore uses of EXIF: orientation 1..8, and the capture time if there is one.

    `captured_at` is aware when the camera recorded its offset from UTC, otherwise naive.
    """

    orientation: int = 1
    captured_at: datetime | None = None


def read_exif(block: bytes) -> Exif:
    """Read an EXIF block (a TIFF structure); whatever is damaged counts as absent."""
    orientation, captured_at = 1, None
    try:
        order, offset = byte_order(block)
        main = read_directory(
            block, order, offset, (ORIENTATION, _DATE_TIME, _EXIF_DIRECTORY, _OFFSET)
        )
        stated = main.first(ORIENTATION, 1)
        orientation = stated if 1 <= stated <= 8 else 1
        captured_at = _time(main, _DATE_TIME, _OFFSET)
        if pointer := main.first(_EXIF_DIRECTORY):
            times = (_DATE_ORIGINAL, _DATE_DIGITIZED, _OFFSET_ORIGINAL, _OFFSET_DIGITIZED, _OFFSET)
            sub = read_directory(block, order, pointer, times)
            captured_at = (
                _time(sub, _DATE_ORIGINAL, _OFFSET_ORIGINAL)
                or _time(sub, _DATE_DIGITIZED, _OFFSET_DIGITIZED)
                or _time(main, _DATE_TIME, _OFFSET, offsets=sub)
            )
    except TagsDamaged:  # damaged metadata is no reason to refuse a picture
        return Exif(orientation, captured_at)
    return Exif(orientation, captured_at)


def _time(
    directory: Directory, tag: int, offset_tag: int, offsets: Directory | None = None
) -> datetime | None:
    text = _ascii(directory.values.get(tag))
    try:
        moment = datetime.strptime(text[:19], "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    if moment.year < _EARLIEST_YEAR:
        return None
    zone = _zone(_ascii((offsets or directory).values.get(offset_tag)))
    return moment.replace(tzinfo=zone)


def _ascii(value: Integers | bytes | None) -> str:
    raw = value if isinstance(value, bytes) else b""
    return raw.split(b"\0", 1)[0].decode("ascii", "replace").strip()


def _zone(text: str) -> timezone | None:
    """`+02:00` → a zone; None when absent or nonsense."""
    if text == "Z":
        return UTC
    sign, hours, colon, minutes = text[:1], text[1:3], text[3:4], text[4:6]
    digits = hours + minutes
    if sign not in ("+", "-") or colon != ":" or not (digits.isascii() and digits.isdigit()):
        return None
    shift = timedelta(hours=int(hours), minutes=int(minutes or 0))
    if shift > timedelta(hours=14):
        return None
    return timezone(-shift if sign == "-" else shift)
