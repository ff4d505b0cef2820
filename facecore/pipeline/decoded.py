"""Files decoded apart from where they are extracted: in another thread, process or machine.

What extraction needs to know of a file then travels in three plain values: the pixels, the size
of the file and that of the picture. The last two decide which pictures are computed together
(`pipeline.window`), so that a picture decoded elsewhere gives the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass

from facecore.errors import ImageRejected
from facecore.pipeline.extract import Picture
from facecore.stages.decode import Encoded, Limits, read


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of a file.

    Attributes:
        picture: to be searched, or why the file cannot be used.
        bytes: of the file.
        pixels: of the whole picture; 0 where its header was refused.
    """

    picture: Picture | ImageRejected
    bytes: int
    pixels: int


def decode_file(data: bytes, limits: Limits, least_px: int) -> Decoded:
    """Bytes → a picture to be searched; whatever is wrong with them is in the answer.

    Args:
        least_px: see `decode_for_search`.
    """
    try:
        encoded = read(data, limits)
    except ImageRejected as rejected:
        return Decoded(rejected, 0, 0)
    header = encoded.header
    try:
        picture: Picture | ImageRejected = decode_for_search(encoded, least_px)
    except ImageRejected as rejected:
        picture = rejected
    return Decoded(picture, len(data), header.width * header.height)


def decode_for_search(encoded: Encoded, least_px: int) -> Picture:
    """Decode on a CPU, reduced where that is enough to search it.

    Args:
        least_px: what the longer side keeps at least when a JPEG is decoded at 1/2, 1/4 or 1/8;
            0 decodes in full.

    Raises:
        ImageRejected: truncated or undecodable.
    """
    size = encoded.header.width, encoded.header.height
    if not least_px or encoded.reduction(least_px) == 1:
        return Picture(encoded.decode(), *size)
    return Picture(encoded.decode_reduced(least_px), *size, whole=encoded.decode)
