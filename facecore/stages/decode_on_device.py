"""JPEGs decoded by the GPU (nvJPEG, through torchvision) beside those decoded by the CPU."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from facecore.errors import ImageRejected
from facecore.stages.decode import Encoded
from facecore.stages.workers import Workers
from facecore.types import Image

_log = logging.getLogger(__name__)

# Pictures of 250 px a second: nvJPEG as a whole, and one core of a CPU. Only their ratio is used.
_NVJPEG_RATE, _CORE_RATE = 8_000.0, 4_000.0

DecodeOnDevice = Callable[[list[Tensor], torch.device], list[Tensor]]


def nvjpeg_share(cores: int) -> float:
    """Share of the pictures that the GPU decodes, so that both end at about the same time.

    It is fixed, not timed: the two decoders differ in the last bit, and which of them took a
    picture must not depend on how busy the machine was.
    """
    return _NVJPEG_RATE / (_NVJPEG_RATE + cores * _CORE_RATE)


def decode_mixed(
    contents: Sequence[Encoded],
    device: torch.device,
    workers: Workers,
    share: float,
    decode_jpegs: DecodeOnDevice | None = None,
) -> list[Image | Tensor | ImageRejected]:
    """Decode in full, in order: uint8 `[h, w, 3]`, arrays on the host or tensors on `device`.

    Upright baseline and progressive RGB JPEGs may go to the GPU. If nvJPEG refuses its batch,
    the CPU decodes it, which also tells which picture is broken.

    Args:
        workers: of the CPU.
        share: see `nvjpeg_share`.
        decode_jpegs: encoded bytes → uint8 `[3, h, w]` on `device`; nvJPEG by default.
    """
    suited = [i for i, content in enumerate(contents) if _suits(content)]
    chosen = [i for n, i in enumerate(suited) if int((n + 1) * share) > int(n * share)]
    decoded: list[Image | Tensor | ImageRejected | None] = [None] * len(contents)
    if chosen:
        encoded = [torch.frombuffer(bytearray(contents[i].data), dtype=torch.uint8) for i in chosen]
        try:
            found = (decode_jpegs or _nvjpeg)(encoded, device)
        except RuntimeError as error:
            _log.warning("nvJPEG refused %d pictures, the CPU decodes them: %s", len(chosen), error)
            found = []
        for index, planes in zip(chosen, found, strict=False):
            header = contents[index].header
            if tuple(planes.shape) == (3, header.height, header.width):
                decoded[index] = planes.permute(1, 2, 0)
    left = [i for i, picture in enumerate(decoded) if picture is None]

    def on_cpu(some: list[int]) -> list[Image | ImageRejected]:
        return [_decoded(contents[i]) for i in some]

    results = [one for some in workers.run(left, 4, on_cpu) for one in some]
    for index, picture in zip(left, results, strict=True):
        decoded[index] = picture
    return [picture for picture in decoded if picture is not None]


def _suits(content: Encoded) -> bool:
    header = content.header
    return header.format == "JPEG" and content.raw.mode == "RGB" and header.orientation == 1


def _decoded(content: Encoded) -> Image | ImageRejected:
    try:
        return content.decode()
    except ImageRejected as rejected:
        return rejected


def _nvjpeg(encoded: list[Tensor], device: torch.device) -> list[Tensor]:
    from torchvision.io import ImageReadMode, decode_jpeg

    found: list[Tensor] = decode_jpeg(encoded, mode=ImageReadMode.RGB, device=device)
    return found
