"""Detect, align and embed on a GPU: pictures go up once, results come back once per batch.

Pictures are laid behind one another, sorted by size, on the calling thread's stream, while other
threads compute on theirs. Those that were decoded for the GPU are there already, others go up in
one copy. Everything up to the embeddings stays there; no step loops over faces.
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
    shapes = [tuple(pictures[i].shape) for i in order]
    ends = np.cumsum([0, *(height * width for height, width, _ in shapes)])
    table = np.empty((4, len(order)), np.int64)  # order; then of each picture: start, size
    table[0] = order
    table[1, order], table[2:, order] = ends[:-1], np.array(shapes).T[:2]
    columns = _on(device, table)
    on_device = _copied_up(pictures, device)
    flat = torch.cat([on_device[i].reshape(-1, 3) for i in order])
    stacks: list[tuple[Tensor, Tensor]] = []
    place = 0
    for shape, group in groupby(shapes):
        end = place + len(list(group))
        part = flat[ends[place] : ends[end]]
        stacks.append((columns[0, place:end], part.view(end - place, *shape)))
        place = end
    return _Uploaded(flat, columns[1], columns[2:].T, stacks)


def _copied_up(pictures: Sequence[Image | Tensor], device: torch.device) -> list[Tensor]:
    """All of them on the device; those on the host get there in one copy."""
    on_host = [picture for picture in pictures if isinstance(picture, np.ndarray)]
    if not on_host:
        return [picture for picture in pictures if isinstance(picture, Tensor)]
    ends = np.cumsum([0, *(picture.size for picture in on_host)]).tolist()
    staged = torch.empty(ends[-1], dtype=torch.uint8, pin_memory=device.type == "cuda")
    for picture, (start, end) in zip(on_host, pairwise(ends), strict=True):
        staged[start:end].copy_(torch.from_numpy(np.ascontiguousarray(picture)).view(-1))
    copied = iter(torch.split(staged.to(device, non_blocking=True), np.diff(ends).tolist()))
    return [
        picture if isinstance(picture, Tensor) else next(copied).view(picture.shape)
        for picture in pictures
    ]


def _on(device: torch.device, values: npt.NDArray[np.int64]) -> Tensor:
    tensor = torch.from_numpy(values)
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
        # Waiting so leaves the core to those that decode.
        arrived = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        arrived.record(torch.cuda.current_stream(packed.device))
        arrived.synchronize()
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
