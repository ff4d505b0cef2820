"""Images → faces with five landmarks, by any network that finds boxes and looks into them.

R-CNN, Faster R-CNN and SSD look at a whole picture at a size of their own. A picture is only
reduced beforehand where it is larger than the landmarks need, so that memory stays bounded.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from facecore.errors import ConfigError
from facecore.stages.workers import Workers
from facecore.types import Detections, Image
from facecore.zoo.region_detector import RegionDetector

_SMALLEST_SIDE_PX = 32
_IMAGES_REDUCED_AT_ONCE = 4
# On a CPU every image is a batch of its own: these networks have much to do for each, and the
# threads share the images.
_CPU_IMAGES_AT_ONCE = 1


@dataclass(frozen=True, slots=True)
class _Reduced:
    """One image, waiting to be searched. `pixels` is uint8 `[3, h, w]`, `scale` is (x, y)."""

    image: int
    pixels: Tensor
    scale: tuple[float, float]


class RegionFaceDetector:
    """Finds faces in batches of images of any size.

    Args:
        model: a network that finds regions, copied to the device. It computes in float32.
        workers: where and with how many threads it runs.
        score_threshold: candidates below are dropped, 0..1.
        nms_iou: of two boxes overlapping more than this, the better one stays.
        longest_px: larger images are reduced to this longest side first.
        batch_images: images searched at once on a GPU.

    Raises:
        ConfigError: `longest_px` is under 32 px, or a threshold is outside 0..1.
    """

    def __init__(
        self,
        model: RegionDetector,
        *,
        workers: Workers | None = None,
        score_threshold: float = 0.6,
        nms_iou: float = 0.3,
        longest_px: int = 1280,
        batch_images: int = 16,
    ) -> None:
        if longest_px < _SMALLEST_SIDE_PX:
            raise ConfigError(
                f"detection sides must be ≥ {_SMALLEST_SIDE_PX} px, got {longest_px}."
            )
        if not (0.0 <= score_threshold <= 1.0 and 0.0 <= nms_iou <= 1.0):
            raise ConfigError(
                "score threshold and IoU of suppression must be 0 to 1, got"
                f" {score_threshold} and {nms_iou}."
            )
        self._workers = workers or Workers()
        self._model = copy.deepcopy(model).to(self._workers.device).eval().requires_grad_(False)
        self._score_threshold = score_threshold
        self._nms_iou = nms_iou
        self.searched_px = longest_px
        on_cpu = self._workers.device.type == "cpu"
        self._batch_images = _CPU_IMAGES_AT_ONCE if on_cpu else batch_images

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Faces of each image, best score first; coordinates in pixels of that image."""
        reducing = self._workers.on_cpu()
        parts = reducing.run(list(enumerate(images)), _IMAGES_REDUCED_AT_ONCE, self._reduce)
        # Images of like form share a batch, so that little of it is padding.
        views = sorted((view for part in parts for view in part), key=_form)
        found = self._workers.run(views, self._batch_images, self._search)
        in_order = sorted((one for part in found for one in part), key=lambda one: one[0])
        return [detections for _, detections in in_order]

    def _reduce(self, images: list[tuple[int, Image]]) -> list[_Reduced]:
        views: list[_Reduced] = []
        for index, image in images:
            height, width = image.shape[:2]
            pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
            longest = max(height, width)
            if longest > self.searched_px:
                goal = self.searched_px / longest
                size = [max(1, round(length * goal)) for length in (height, width)]
                pixels = F.interpolate(pixels[None], size, mode="bilinear", antialias=True)[0]
            h, w = pixels.shape[1:]
            views.append(_Reduced(index, pixels, (w / width, h / height)))
        return views

    @torch.inference_mode()
    def _search(self, views: list[_Reduced]) -> list[tuple[int, Detections]]:
        found = self._model.find([view.pixels for view in views])
        return [
            (view.image, self._chosen(one, torch.tensor(view.scale)))
            for view, one in zip(views, found, strict=True)
        ]

    def _chosen(self, found: dict[str, Tensor], scale: Tensor) -> Detections:
        boxes, scores, landmarks = (
            found[name].float().cpu() for name in ("boxes", "scores", "landmarks")
        )
        likely = torch.nonzero(scores >= self._score_threshold)[:, 0]
        # Suppression also puts the best first.
        kept = likely[torchvision.ops.nms(boxes[likely], scores[likely], self._nms_iou)]
        return Detections(
            (boxes[kept] / scale.repeat(2)).numpy(),
            scores[kept].clamp(0.0, 1.0).numpy(),
            (landmarks[kept] / scale).numpy(),
        )


def _form(view: _Reduced) -> tuple[float, int]:
    """Height over width, then size."""
    height, width = view.pixels.shape[1:]
    return height / width, height * width
