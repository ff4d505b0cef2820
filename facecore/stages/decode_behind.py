"""Files decoded behind one another into one buffer, by all cores and with next to no Python.

A picture of 250 px is decoded in a fifth of a millisecond. Going through Python for each, with
an array of its own for each, costs as much again where a GPU wants ten thousand a second: threads
queue for the interpreter, and memory is mapped and given back all the time. Here a thread decodes
its share of a batch in one call that does not hold the interpreter, into memory that is there.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from facecore.errors import ImageRejected
from facecore.stages.decode import Encoded
from facecore.stages.workers import Workers

DecodeMany = Callable[[list[Tensor], Tensor, list[int], list[int]], None]
_compiling = threading.Lock()


def decode_behind(
    contents: Sequence[Encoded], workers: Workers, *, pinned: bool = False
) -> tuple[Tensor, list[ImageRejected | None]]:
    """Decode in full, upright, on the CPU.

    Args:
        workers: of the CPU.
        pinned: whether the buffer is one that a GPU copies from by itself.

    Returns:
        The pixels, uint8 RGB `[pixels, 3]`: picture after picture in the order of the files, row
        by row, each as large as its header says. And for each file what was wrong with it; its
        pixels then mean nothing.
    """
    ends = np.cumsum([0, *(one.header.width * one.header.height for one in contents)]).tolist()
    pixels = torch.empty(ends[-1], 3, dtype=torch.uint8, pin_memory=pinned)
    places = list(zip(contents, pairwise(ends), strict=True))
    with _compiling:
        decode_jpegs = _decode_many()

    def decode(some: list[tuple[Encoded, tuple[int, int]]]) -> list[ImageRejected | None]:
        return _decode(some, pixels, decode_jpegs)

    share = -(-len(places) // workers.threads) or 1
    rejected = [one for some in workers.run(places, share, decode) for one in some]
    return pixels, rejected


def _decode(
    places: list[tuple[Encoded, tuple[int, int]]], pixels: Tensor, decode_jpegs: DecodeMany
) -> list[ImageRejected | None]:
    plain = [place for place in places if _is_plain(place[0])]
    files = [torch.frombuffer(bytearray(one.data), dtype=torch.uint8) for one, _ in plain]
    starts = [start for _, (start, _) in plain]
    heights = [one.header.height for one, _ in plain]
    try:
        decode_jpegs(files, pixels, starts, heights)
    except RuntimeError:  # one of them is damaged; which, and how, is told one by one
        plain = []
    done = {start for _, (start, _) in plain}
    return [None if start in done else _one(one, pixels[start:end]) for one, (start, end) in places]


def _one(content: Encoded, pixels: Tensor) -> ImageRejected | None:
    try:
        picture = content.decode()
    except ImageRejected as rejected:
        return rejected
    pixels.copy_(torch.from_numpy(picture).view(-1, 3))
    return None


def _is_plain(content: Encoded) -> bool:
    """Whether `Encoded.decode` would do nothing but call the JPEG decoder."""
    header = content.header
    return header.format == "JPEG" and content.raw.mode != "CMYK" and header.orientation == 1


@lru_cache(maxsize=1)
def _decode_many() -> DecodeMany:
    import torchvision.io  # noqa: F401 (brings the operator)

    # Nothing else runs a loop of operators without the interpreter on a CPU. Where TorchScript
    # is gone one day, the function does the same as it is.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted: DecodeMany = torch.jit.script(_decode_jpegs)
    return scripted


def _decode_jpegs(
    files: list[Tensor], pixels: Tensor, starts: list[int], heights: list[int]
) -> None:
    """Each JPEG (uint8 `[bytes]`) as RGB to its place in `pixels`; raises at the first bad one."""
    for i in range(len(files)):
        planes = torch.ops.image.decode_jpeg(files[i], 3, False)  # 3: RGB
        if planes.size(1) != heights[i]:
            raise RuntimeError("another size than its header states")
        rows = planes.permute(1, 2, 0).reshape(-1, 3)
        pixels[starts[i] : starts[i] + rows.size(0)].copy_(rows)
