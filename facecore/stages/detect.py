"""Images → faces with five landmarks.

YuNet finds faces of about 10 to 300 px, so each picture is searched at several sizes: with its
longest side reduced to each of `sides_px` (never enlarged). Close-up faces are found at the
small size, distant ones at the large size, and non-maximum suppression merges what both found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from facecore.errors import ConfigError
from facecore.stages.workers import Workers
from facecore.types import Detections, Image
from facecore.zoo import yunet
from facecore.zoo.backend import make_backend

# Faces of this many pixels at the searched size have the most exact boxes and landmarks.
_EXACT_PX = (24.0, 256.0)
# On a CPU, activations of more pixels than this at once fall out of the cache.
_CPU_PIXELS_AT_ONCE = 4 * 256 * 256
_IMAGES_REDUCED_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class _View:
    """One image at one size, waiting to be searched. `pixels` is uint8 `[h, w, 3]`."""

    image: int
    pixels: Tensor
    scale_x: float
    scale_y: float


@dataclass(frozen=True, slots=True)
class _Found:
    """Candidates on the CPU, in pixels of the original images: one row per candidate."""

    image: Tensor
    boxes: Tensor
    scores: Tensor
    landmarks: Tensor
    exact: Tensor


class FaceDetector:
    """Finds faces in batches of images of any size.

    Args:
        model: `yunet.YuNet`, copied to the device. It computes in float32 everywhere: it is so
            small that a lower precision gains nothing and only blurs the landmarks.
        workers: where and with how many threads it runs.
        score_threshold: candidates below are dropped, 0..1.
        nms_iou: of two boxes overlapping more than this, the better one stays.
        sides_px: longest sides (px) at which each image is searched.
        batch_images: images of one size searched at once.
        backend: what computes; see `zoo.backend.make_backend`.

    Raises:
        ConfigError: `sides_px` is empty or holds a side under 32 px.
    """

    def __init__(
        self,
        model: yunet.YuNet,
        *,
        workers: Workers | None = None,
        score_threshold: float = 0.6,
        nms_iou: float = 0.3,
        sides_px: Sequence[int] = (320, 1280),
        batch_images: int = 32,
        backend: str = "auto",
    ) -> None:
        if not sides_px or min(sides_px) < yunet.MULTIPLE:
            raise ConfigError(f"detection sides must be ≥ {yunet.MULTIPLE} px, got {sides_px}.")
        self._workers = workers or Workers()
        self._device = self._workers.device
        self.backend = make_backend(
            model,
            self._device,
            torch.float32,
            (_CPU_PIXELS_AT_ONCE // 256**2, 256, 256, 3),
            wanted=backend,
            threads=self._workers.threads,
            any_size=True,
        )
        self._score_threshold = score_threshold
        self._nms_iou = nms_iou
        self._sides = tuple(sides_px)
        self.searched_px = max(sides_px)
        self._batch_images = batch_images

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Faces of each image, best score first; coordinates in pixels of that image."""
        by_shape: dict[tuple[int, int], list[_View]] = defaultdict(list)
        reducing = self._workers.on_cpu()
        for few in reducing.run(list(enumerate(images)), _IMAGES_REDUCED_AT_ONCE, self._views):
            for view in few:
                by_shape[_padded(view.pixels)].append(view)
        found: list[_Found] = []
        for (height, width), views in by_shape.items():
            size = self._batch_images
            if self._device.type == "cpu":
                size = max(1, min(size, _CPU_PIXELS_AT_ONCE // (height * width)))
            search = partial(self._search, height=height, width=width)
            found += self._workers.run(views, size, search)
        return self._merge(found, len(images))

    def _views(self, images: list[tuple[int, Image]]) -> list[_View]:
        """The sizes at which numbered images are searched, each made from the next larger."""
        views: list[_View] = []
        for index, image in images:
            height, width = image.shape[:2]
            longest = max(height, width)
            pixels = torch.from_numpy(np.ascontiguousarray(image))
            # Sides above the image's own all mean: as it is.
            for goal in sorted({min(side, longest) for side in self._sides}, reverse=True):
                h, w = (max(1, round(length * goal / longest)) for length in (height, width))
                pixels = _resized(pixels, h, w)
                views.append(_View(index, pixels, w / width, h / height))
        return views

    @torch.inference_mode()
    def _search(self, views: list[_View], height: int, width: int) -> _Found:
        batch = torch.zeros(len(views), height, width, 3, dtype=torch.uint8)
        for slot, view in zip(batch, views, strict=True):
            slot[: view.pixels.shape[0], : view.pixels.shape[1]] = view.pixels
        raw = self.backend(batch)
        scores = yunet.scores(raw)
        which, cells = torch.nonzero(scores >= self._score_threshold, as_tuple=True)
        boxes, landmarks = yunet.decode(raw[which, cells], cells, height, width)
        found = scores[which, cells]
        kept = torchvision.ops.batched_nms(boxes, found, which, self._nms_iou)
        boxes, landmarks, found, which = (t[kept].cpu() for t in (boxes, landmarks, found, which))
        side = (boxes[:, 2:] - boxes[:, :2]).amax(1)
        scale = torch.tensor([[v.scale_x, v.scale_y] for v in views])[which]
        return _Found(
            image=torch.tensor([view.image for view in views])[which],
            boxes=boxes / scale.repeat(1, 2),
            scores=found,
            landmarks=landmarks / scale[:, None],
            exact=(side >= _EXACT_PX[0]) & (side <= _EXACT_PX[1]),
        )

    def _merge(self, found: Sequence[_Found], images: int) -> list[Detections]:
        image = torch.cat([f.image for f in found]) if found else torch.zeros(0, dtype=torch.long)
        if not len(image):
            return [Detections.empty() for _ in range(images)]
        boxes, scores, landmarks, exact = (
            torch.cat([getattr(f, name) for f in found])
            for name in ("boxes", "scores", "landmarks", "exact")
        )
        # A face found at two sizes: the size that suits it wins, then the better score. Within
        # one size this changes nothing any more.
        kept = torchvision.ops.batched_nms(boxes, scores + exact, image, self._nms_iou)
        kept = kept[scores[kept].argsort(descending=True, stable=True)]
        kept = kept[image[kept].argsort(stable=True)]
        counts = torch.bincount(image[kept], minlength=images).tolist()
        parts = [t[kept].float().split_with_sizes(counts) for t in (boxes, scores, landmarks)]
        return [Detections(*(part.numpy() for part in one)) for one in zip(*parts, strict=True)]


def _padded(pixels: Tensor) -> tuple[int, int]:
    """Height and width rounded up to what the network takes."""
    height, width = pixels.shape[:2]
    step = yunet.MULTIPLE
    return -(-height // step) * step, -(-width // step) * step


def _resized(pixels: Tensor, height: int, width: int) -> Tensor:
    """uint8 `[h, w, 3]` resized with antialiasing (torch works on uint8 directly here)."""
    if pixels.shape[:2] == (height, width):
        return pixels
    planes = pixels.permute(2, 0, 1)[None]
    resized = F.interpolate(planes, (height, width), mode="bilinear", antialias=True)
    return resized[0].permute(1, 2, 0)
