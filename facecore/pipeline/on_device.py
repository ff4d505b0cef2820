"""Detect, align and embed on a GPU: pictures go up once, results come back once per batch.

Pictures are sorted by size and laid behind one another in one pinned buffer, which goes to the
GPU on the calling thread's stream while other threads compute on theirs. Pictures that nvJPEG
decoded are there already. Everything up to the embeddings stays there; no step loops over faces.
The code runs on any device, and is tested on the CPU against `FaceExtractor`'s own way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from facecore.stages.align_on_device import align_on_device
from facecore.stages.detect import FaceDetector, Found
from facecore.stages.embed import FaceEmbedder
from facecore.types import CROP_SIZE, Floats, Image

_CROP_BYTES = CROP_SIZE * CROP_SIZE * 3


@dataclass(frozen=True, slots=True)
class Faces:
    """All faces of a batch on the host, by image and best first.

    Attributes:
        counts: faces of each image.
        boxes, scores, landmarks: float32 `[n, 4]`, `[n]`, `[n, 5, 2]`.
        crops: uint8 `[n, 112, 112, 3]`.
        vectors: float32 `[n, d]`.
    """

    counts: list[int]
    boxes: Floats
    scores: Floats
    landmarks: Floats
    crops: npt.NDArray[np.uint8]
    vectors: Floats


@dataclass(frozen=True, slots=True)
class _Uploaded:
    """Pictures in one buffer on the device, and where each begins; `stacks` are views of it."""

    flat: Tensor
    start: Tensor
    size: Tensor
    stacks: list[tuple[Tensor, Tensor]]


def extract_on_device(
    detector: FaceDetector, embedder: FaceEmbedder, pictures: Sequence[Image | Tensor]
) -> Faces:
    """Faces of uint8 RGB pictures `[h, w, 3]`, arrays on the host or tensors on the device."""
    device = detector.device
    uploaded = _upload(pictures, device)
    found = detector.detect_stacks(uploaded.stacks)
    crops = align_on_device(
        uploaded.flat, uploaded.start[found.image], uploaded.size[found.image], found.landmarks
    )
    vectors = embedder.embed_on_device(crops)
    return _download(found, crops, vectors, len(pictures))


def _upload(pictures: Sequence[Image | Tensor], device: torch.device) -> _Uploaded:
    order = sorted(range(len(pictures)), key=lambda i: tuple(pictures[i].shape))
    pixels = [pictures[i].shape[0] * pictures[i].shape[1] for i in order]
    ends = np.cumsum([0, *pixels])
    flat = torch.empty(int(ends[-1]), 3, dtype=torch.uint8, device=device)
    on_host = [i for i in order if isinstance(pictures[i], np.ndarray)]
    if on_host:
        _copy_up(pictures, order, ends, flat)
    for place, index in enumerate(order):
        picture = pictures[index]
        if isinstance(picture, Tensor):  # decoded on the device
            flat[ends[place] : ends[place + 1]] = picture.reshape(-1, 3)
    start = np.empty(len(order), np.int64)
    start[order] = ends[:-1]
    size = np.array([picture.shape[:2] for picture in pictures], np.int64)
    stacks: list[tuple[Tensor, Tensor]] = []
    place = 0
    for shape, group in groupby(order, key=lambda i: tuple(pictures[i].shape)):
        numbers = list(group)
        part = flat[ends[place] : ends[place + len(numbers)]]
        stacks.append((_on(device, np.array(numbers)), part.view(len(numbers), *shape)))
        place += len(numbers)
    return _Uploaded(flat, _on(device, start), _on(device, size), stacks)


def _copy_up(
    pictures: Sequence[Image | Tensor], order: list[int], ends: npt.NDArray[np.int64], flat: Tensor
) -> None:
    """Pictures on the host → their places in `flat`, in as few copies as there are runs of them."""
    runs = groupby(range(len(order)), key=lambda p: isinstance(pictures[order[p]], np.ndarray))
    for is_host, run in runs:
        if not is_host:
            continue
        places = list(run)
        first, last = ends[places[0]], ends[places[-1] + 1]
        staged = torch.empty(int(last - first), 3, dtype=torch.uint8, pin_memory=flat.is_cuda)
        for place in places:
            picture = np.ascontiguousarray(pictures[order[place]])
            slot = staged[ends[place] - first : ends[place + 1] - first]
            slot.copy_(torch.from_numpy(picture).view(-1, 3))
        flat[first:last].copy_(staged, non_blocking=True)


def _on(device: torch.device, values: npt.NDArray[np.int64]) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(values, np.int64))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _download(found: Found, crops: Tensor, vectors: Tensor, pictures: int) -> Faces:
    """One copy for everything: the columns' bytes behind one another, row by row."""
    columns = [
        torch.bincount(found.image, minlength=pictures).to(torch.int32),
        found.boxes.float(),
        found.scores.float(),
        found.landmarks.float(),
        vectors,
        crops,
    ]
    parts = [column.contiguous().view(-1).view(torch.uint8) for column in columns]
    packed = torch.cat(parts)
    host = torch.empty(len(packed), dtype=torch.uint8, pin_memory=packed.is_cuda)
    host.copy_(packed, non_blocking=True)
    if packed.is_cuda:
        torch.cuda.current_stream(packed.device).synchronize()
    ends = np.cumsum([0, *(len(part) for part in parts)])
    raw = [host.numpy()[a:b] for a, b in pairwise(ends)]
    floats = [part.view(np.float32) for part in raw[1:5]]
    return Faces(
        counts=raw[0].view(np.int32).tolist(),
        boxes=floats[0].reshape(-1, 4),
        scores=floats[1],
        landmarks=floats[2].reshape(-1, 5, 2),
        crops=raw[5].reshape(-1, CROP_SIZE, CROP_SIZE, 3),
        vectors=floats[3].reshape(vectors.shape),
    )
