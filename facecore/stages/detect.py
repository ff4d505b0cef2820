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
from facecore.stages.workers import Workers, run_halving
from facecore.types import Detections, Image
from facecore.zoo import yunet
from facecore.zoo.backend import make_backend
from facecore.zoo.graph_store import GraphStore

# Faces of this many pixels at the searched size have the most exact boxes and landmarks.
_EXACT_PX = (24.0, 256.0)
# On a CPU, activations of more pixels than this at once fall out of the cache.
_CPU_PIXELS_AT_ONCE = 4 * 256 * 256
_IMAGES_REDUCED_AT_ONCE = 4
_GPU_PIXELS_AT_ONCE = 256 * 256 * 256


@dataclass(frozen=True, slots=True)
class _View:
    """One image at one size, waiting to be searched. `pixels` is uint8 `[h, w, 3]`."""

    image: int
    pixels: Tensor
    scale_x: float
    scale_y: float


@dataclass(frozen=True, slots=True)
class Found:
    """Faces or candidates of many images, one row each, in pixels of the original images.

    Attributes:
        image: int64 `[n]`, number of the image.
        boxes, scores, landmarks: float `[n, 4]`, `[n]`, `[n, 5, 2]`.
        exact: bool `[n]`, of a size at which the network is most exact.
    """

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
        backend, kept: what computes; see `zoo.backend.make_backend`.

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
        kept: GraphStore | None = None,
    ) -> None:
        if not sides_px or min(sides_px) < yunet.MULTIPLE:
            raise ConfigError(f"detection sides must be ≥ {yunet.MULTIPLE} px, got {sides_px}.")
        self._workers = workers or Workers()
        self.device = self._workers.device
        self.backend = make_backend(
            model,
            self.device,
            torch.float32,
            (_CPU_PIXELS_AT_ONCE // 256**2, 256, 256, 3),
            wanted=backend,
            any_size=True,
            kept=kept,
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
        found: list[Found] = []
        for (height, width), views in by_shape.items():
            size = self._batch_images
            if self.device.type == "cpu":
                size = max(1, min(size, _CPU_PIXELS_AT_ONCE // (height * width)))
            search = partial(self._search, height=height, width=width)
            found += self._workers.run(views, size, search)
        if not found:
            return []
        best = self._best(found)
        counts = torch.bincount(best.image, minlength=len(images)).tolist()
        columns = (best.boxes, best.scores, best.landmarks)
        parts = [column.float().cpu().split_with_sizes(counts) for column in columns]
        return [Detections(*(part.numpy() for part in one)) for one in zip(*parts, strict=True)]

    @torch.inference_mode()
    def detect_stacks(self, stacks: Sequence[tuple[Tensor, Tensor]]) -> Found:
        """Faces in pictures that lie on the network's device; nothing is copied back.

        Args:
            stacks: numbers (int64 `[n]`) of pictures of one size, and the pictures: uint8 RGB
                `[n, h, w, 3]`; no number twice, all on the network's device.

        Returns:
            The faces by image, best first, on that device.
        """
        found: list[Found] = []
        several = False
        for numbers, pictures in stacks:
            height, width = pictures.shape[1:3]
            longest = max(height, width)
            views = pictures
            goals = sorted({min(side, longest) for side in self._sides}, reverse=True)
            several = several or len(goals) > 1
            for goal in goals:
                h, w = (max(1, round(length * goal / longest)) for length in (height, width))
                views = _resized_stack(views, h, w)
                scale = w / width, h / height
                search = partial(self._search_stack, numbers, views, scale)
                size = max(1, min(8 * self._batch_images, _GPU_PIXELS_AT_ONCE // (h * w)))
                found += run_halving(range(len(numbers)), size, search)
        return self._best(found, several=several)

    def _search_stack(
        self, numbers: Tensor, views: Tensor, scale: tuple[float, float], part: range
    ) -> Found:
        chosen = slice(part.start, part.stop)
        few = views[chosen]
        height, width = _padded(few[0])
        below, beside = height - few.shape[1], width - few.shape[2]
        batch = F.pad(few, (0, 0, 0, beside, 0, below)) if below or beside else few
        # Filled on the device: a tensor made here would have to be copied, which waits.
        own = torch.stack([torch.full((len(few),), s, device=self.device) for s in scale], 1)
        return self._candidates(batch.contiguous(), numbers[chosen], own)

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
    def _search(self, views: list[_View], height: int, width: int) -> Found:
        batch = torch.zeros(len(views), height, width, 3, dtype=torch.uint8)
        for slot, view in zip(batch, views, strict=True):
            slot[: view.pixels.shape[0], : view.pixels.shape[1]] = view.pixels
        numbers = torch.tensor([view.image for view in views], device=self.device)
        scale = torch.tensor([[v.scale_x, v.scale_y] for v in views], device=self.device)
        return self._candidates(batch, numbers, scale)

    def _candidates(self, batch: Tensor, numbers: Tensor, scale: Tensor) -> Found:
        """Of pictures `[n, height, width, 3]` with their numbers `[n]` and scales `[n, 2]`."""
        height, width = batch.shape[1:3]
        raw = self.backend(batch)
        scores = yunet.scores(raw)
        which, cells = torch.nonzero(scores >= self._score_threshold, as_tuple=True)
        boxes, landmarks = yunet.decode(raw[which, cells], cells, height, width)
        found = scores[which, cells]
        kept = torchvision.ops.batched_nms(boxes, found, which, self._nms_iou)
        boxes, landmarks, found, which = (t[kept] for t in (boxes, landmarks, found, which))
        side = (boxes[:, 2:] - boxes[:, :2]).amax(1)
        own = scale[which]
        return Found(
            image=numbers[which],
            boxes=boxes / own.repeat(1, 2),
            scores=found,
            landmarks=landmarks / own[:, None],
            exact=(side >= _EXACT_PX[0]) & (side <= _EXACT_PX[1]),
        )

    def _best(self, found: Sequence[Found], *, several: bool = True) -> Found:
        """One face for those found at several sizes; by image, best first."""
        image, boxes, scores, landmarks, exact = (
            torch.cat([getattr(f, name) for f in found])
            for name in ("image", "boxes", "scores", "landmarks", "exact")
        )
        if several:
            # A face found at two sizes: the size that suits it wins, then the better score.
            # Within one size this would change nothing any more.
            kept = torchvision.ops.batched_nms(boxes, scores + exact, image, self._nms_iou)
            kept = kept[scores[kept].argsort(descending=True, stable=True)]
        else:
            kept = scores.argsort(descending=True, stable=True)
        kept = kept[image[kept].argsort(stable=True)]
        return Found(*(t[kept] for t in (image, boxes, scores, landmarks, exact)))


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


def _resized_stack(pictures: Tensor, height: int, width: int) -> Tensor:
    """uint8 `[n, h, w, 3]` resized with antialiasing, on any device."""
    if pictures.shape[1:3] == (height, width):
        return pictures
    planes = pictures.permute(0, 3, 1, 2).float()
    resized = F.interpolate(planes, (height, width), mode="bilinear", antialias=True)
    return resized.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
