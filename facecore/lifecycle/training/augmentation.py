"""Augmentation by named level, for aligned crops and for scenes.

Crops stay nearly aligned, because at inference they will be: shifts and rotations are those
of an imperfect landmark detector. Every transform draws from torch's generator, so a seed
decides what happens to a picture.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import v2

from facecore.lifecycle.training.plan import AugmentationName

# The person's right eye is the left one of a mirrored picture; likewise the mouth's corners.
_MIRRORED_LANDMARKS = (1, 0, 2, 4, 3)

Transform = Callable[[Tensor], Tensor]


def for_crops(level: AugmentationName) -> Transform:
    """uint8 `[3, h, w]` → another view of the same face, same shape and dtype."""
    chain: Transform = v2.Identity()
    if level == "light":
        chain = v2.Compose(
            [
                v2.RandomHorizontalFlip(),
                v2.RandomApply(
                    [
                        v2.RandomAffine(
                            degrees=5, translate=(0.03, 0.03), scale=(0.95, 1.05), fill=127
                        )
                    ],
                    p=0.5,
                ),
                v2.RandomApply([v2.ColorJitter(brightness=0.2, contrast=0.2)], p=0.5),
            ]
        )
    elif level == "strong":
        chain = v2.Compose(
            [
                v2.RandomHorizontalFlip(),
                v2.RandomApply(
                    [
                        v2.RandomAffine(
                            degrees=10,
                            translate=(0.06, 0.06),
                            scale=(0.88, 1.12),
                            interpolation=v2.InterpolationMode.BILINEAR,
                            fill=127,
                        )
                    ],
                    p=0.8,
                ),
                v2.RandomApply([_photometric()], p=0.8),
                v2.RandomGrayscale(p=0.1),
                v2.RandomApply([v2.GaussianBlur(5, sigma=(0.3, 2.0))], p=0.2),
                v2.RandomApply([v2.JPEG((30, 90))], p=0.2),
                v2.RandomErasing(p=0.25, scale=(0.02, 0.15), value=127),
            ]
        )
    return chain


class Mixing:
    """Batches of crops → in a share of them, each crop mixed with the next one's pixels.

    Overlaid (Zhang et al., ICLR 2018) or with a rectangle of the other (Yun et al., ICCV 2019).
    A teacher says of these faces, too, where they belong, and there are far more of them than
    pictures: what Beyer et al. (CVPR 2022) found to matter most when distilling from few.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        # The labels that these transforms mix as well are of no use here.
        self._mix = v2.RandomChoice([kind(num_classes=1) for kind in (v2.MixUp, v2.CutMix)])

    def __call__(self, crops: Tensor) -> Tensor:
        """uint8 `[n, 3, h, w]` → the same shape and dtype."""
        if float(torch.rand(())) >= self.share:
            return crops
        nobody = torch.zeros(len(crops), dtype=torch.long, device=crops.device)
        mixed: Tensor = self._mix(crops.float(), nobody)[0]
        return mixed.round().to(torch.uint8)


class SceneAugmentation:
    """A scene, its boxes and landmarks → another view of it.

    Pixels get new light, and with `strong` blur and compression; the geometry changes only by
    mirroring, after which boxes and landmarks are exact.
    """

    def __init__(self, level: AugmentationName) -> None:
        self.flip = 0.0 if level == "none" else 0.5
        self.pixels: Transform = v2.Identity()
        if level == "light":
            self.pixels = v2.RandomApply([v2.ColorJitter(brightness=0.2, contrast=0.2)], p=0.5)
        elif level == "strong":
            self.pixels = v2.Compose(
                [
                    v2.RandomApply([_photometric()], p=0.8),
                    v2.RandomGrayscale(p=0.1),
                    v2.RandomApply([v2.GaussianBlur(5, sigma=(0.3, 2.0))], p=0.2),
                    v2.RandomApply([v2.JPEG((30, 90))], p=0.2),
                ]
            )

    def __call__(
        self, image: Tensor, boxes: Tensor, landmarks: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """uint8 `[3, h, w]`, float32 `[n, 4]` xyxy, float32 `[n, 5, 2]` → the same of a view."""
        if float(torch.rand(())) < self.flip:
            image, boxes, landmarks = mirror(image, boxes, landmarks)
        return self.pixels(image), boxes, landmarks


def mirror(image: Tensor, boxes: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Left and right exchanged; the landmarks stay those of the person."""
    width = image.shape[-1]
    boxes = torch.stack((width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]), dim=1)
    landmarks = landmarks[:, list(_MIRRORED_LANDMARKS)].clone()
    landmarks[..., 0] = width - landmarks[..., 0]
    return image.flip(-1), boxes, landmarks


def _photometric() -> v2.Transform:
    return v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.3, hue=0.02)
