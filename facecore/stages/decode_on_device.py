"""JPEGs decoded by the GPU (nvJPEG, through torchvision) beside those decoded by the CPU."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from facecore.errors import ImageRejected
from facecore.stages.decode import Encoded
from facecore.stages.decode_behind import decode_behind
from facecore.stages.workers import Workers
from facecore.types import Image

_log = logging.getLogger(__name__)

# Pictures of 250 px a second: what one core decodes, nvJPEG as a whole, and what all that follows
# on the GPU takes (measured on an H100; docs/performance.md).
_CORE_RATE, _NVJPEG_RATE, _GPU_RATE = 2_500.0, 10_000.0, 12_000.0

DecodeOnDevice = Callable[[list[Tensor], torch.device], list[Tensor]]


def nvjpeg_share(cores: int) -> float:
    """Share of the pictures that the GPU decodes: what the cores would be too slow for.

    It is fixed, not timed: the two decoders differ in the last bit, and which of them took a
    picture must not depend on how busy the machine was.
    """
    missing = 1.0 - cores * _CORE_RATE / _GPU_RATE
    both_end_together = _NVJPEG_RATE / (_NVJPEG_RATE + cores * _CORE_RATE)
    return max(0.0, min(missing, both_end_together))


def decode_mixed(
    contents: Sequence[Encoded],
    device: torch.device,
    workers: Workers,
    share: float,
    decode_jpegs: DecodeOnDevice | None = None,
) -> list[Image | Tensor | ImageRejected]:
    """Decode in full, in order: uint8 `[h, w, 3]` on `device`.

    Upright baseline and progressive RGB JPEGs may go to the GPU. If nvJPEG refuses its batch,
    the CPU decodes it, which also tells which picture is broken. Where the device has no memory
    for what the CPU decoded, those pictures are arrays on the host.

    Args:
        workers: of the CPU.
        share: see `nvjpeg_share`.
        decode_jpegs: encoded bytes → uint8 `[3, h, w]` on `device`; nvJPEG by default.
    """
    suited = [i for i, content in enumerate(contents) if _suits(content)]
    chosen = [i for n, i in enumerate(suited) if int((n + 1) * share) > int(n * share)]
    decoded: dict[int, Image | Tensor | ImageRejected] = {}
    if chosen:
        encoded = [torch.frombuffer(bytearray(contents[i].data), dtype=torch.uint8) for i in chosen]
        try:
            found = (decode_jpegs or _nvjpeg)(encoded, device)
            decoded |= _interleaved(contents, chosen, found)
        except RuntimeError as error:  # also where the device has no memory for them
            _log.warning("nvJPEG refused %d pictures, the CPU decodes them: %s", len(chosen), error)
    left = [i for i in range(len(contents)) if i not in decoded]
    decoded |= _on_cpu(contents, left, device, workers)
    return [decoded[i] for i in range(len(contents))]


def _interleaved(
    contents: Sequence[Encoded], numbers: list[int], planes: list[Tensor]
) -> dict[int, Image | Tensor | ImageRejected]:
    """`[3, h, w]` → `[h, w, 3]`, pictures of one size in one go; those of a wrong size are left
    out."""
    by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place, (number, one) in enumerate(zip(numbers, planes, strict=True)):
        header = contents[number].header
        if tuple(one.shape) == (3, header.height, header.width):
            by_size[header.height, header.width].append(place)
    done: dict[int, Image | Tensor | ImageRejected] = {}
    for places in by_size.values():
        pictures = torch.stack([planes[place] for place in places]).permute(0, 2, 3, 1)
        numbered = (numbers[place] for place in places)
        done |= dict(zip(numbered, pictures.contiguous().unbind(), strict=True))
    return done


def _on_cpu(
    contents: Sequence[Encoded], numbers: list[int], device: torch.device, workers: Workers
) -> dict[int, Image | Tensor | ImageRejected]:
    """Decoded by the CPU and copied to `device` in one go."""
    pixels, rejected = decode_behind(
        [contents[i] for i in numbers], workers, pinned=device.type == "cuda"
    )
    on_host = False
    try:
        pixels = pixels.to(device, non_blocking=True)
    except torch.OutOfMemoryError:
        _log.warning("memory is full: %d pictures stay on the host for now", len(numbers))
        on_host = True
    done: dict[int, Image | Tensor | ImageRejected] = {}
    start = 0
    for number, wrong in zip(numbers, rejected, strict=True):
        height, width = contents[number].header.height, contents[number].header.width
        end = start + height * width
        picture = pixels[start:end].view(height, width, 3)
        done[number] = wrong or (picture.numpy() if on_host else picture)
        start = end
    return done


def _suits(content: Encoded) -> bool:
    header = content.header
    return header.format == "JPEG" and content.raw.mode == "RGB" and header.orientation == 1


def _nvjpeg(encoded: list[Tensor], device: torch.device) -> list[Tensor]:
    from torchvision.io import ImageReadMode, decode_jpeg

    found: list[Tensor] = decode_jpeg(encoded, mode=ImageReadMode.RGB, device=device)
    return found
