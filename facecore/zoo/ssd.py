"""SSD: one pass over several feature maps, a fixed set of default boxes at every position.

Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016 (VGG-16, 300 px), and SSDlite with
MobileNetV3 (Howard et al., ICCV 2019, 320 px). Networks, losses and hard negative mining are
torchvision's. Default boxes are squares of more and smaller sizes than for general objects:
a face is about 0.75 times as wide as high and often small.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import nn
from torchvision.models.detection import ssdlite320_mobilenet_v3_large
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead

from facecore.errors import ConfigError
from facecore.zoo.registry import register_model
from facecore.zoo.ssd_vgg import SSD300_SIDE, VGGFeatures
from facecore.zoo.torchvision_detector import CLASSES, TorchvisionDetector

# Sizes of the default boxes, in parts of the image's side, one per feature map and one more:
# at every position squares of that size and of the mean of it and the next.
_SCALES = (0.07, 0.14, 0.26, 0.42, 0.6, 0.8, 1.0)
# The cells of VGG's feature maps in px; the third convolution's borders shift the last ones.
_VGG_STEPS = (8, 16, 32, 64, 100, 300)
# Candidates below are not even looked at; the stage has the threshold that users set.
_LEAST_SCORE = 0.01
_NMS_IOU = 0.45
_MOST_FACES = 200


def _squares(scales: Sequence[float], steps: Sequence[int] | None = None) -> DefaultBoxGenerator:
    if len(scales) != len(_SCALES) or sorted(scales) != list(scales) or scales[0] <= 0:
        raise ConfigError(
            f"option scales needs {len(_SCALES)} growing numbers above 0, got {list(scales)}.",
            remedy=f"The default is {list(_SCALES)}.",
        )
    without_ratios: list[list[int]] = [[] for _ in scales[1:]]
    return DefaultBoxGenerator(without_ratios, scales=list(scales), steps=steps)


@register_model(
    "ssd",
    task="detect",
    licence="BSD-3-Clause (torchvision)",
    paper="Liu et al., ECCV 2016",
    input="RGB 0..255, any height and width; searched at 300 px",
)
class SSDDetector(TorchvisionDetector):
    """SSD300 with VGG-16.

    Args:
        width: channels of VGG-16 in parts of the original's; 0.25 trains in minutes on a CPU.
        batch_norm: batch normalisation after every convolution; without it (as published) the
            network does not learn from random weights.
        scales: sizes of the default boxes in parts of the side, seven growing numbers.
    """

    def __init__(
        self,
        *,
        width: float = 1.0,
        batch_norm: bool = True,
        scales: Sequence[float] = _SCALES,
    ) -> None:
        network = SSD(
            VGGFeatures(width=width, batch_norm=batch_norm),
            _squares(scales, _VGG_STEPS),
            (SSD300_SIDE, SSD300_SIDE),
            CLASSES,
            image_mean=[0.5] * 3,
            image_std=[0.25] * 3,
            score_thresh=_LEAST_SCORE,
            nms_thresh=_NMS_IOU,
            detections_per_img=_MOST_FACES,
        )
        super().__init__(network, side=SSD300_SIDE, square=True)


@register_model(
    "ssdlite",
    task="detect",
    licence="BSD-3-Clause (torchvision)",
    paper="Howard et al., ICCV 2019; Liu et al., ECCV 2016",
    input="RGB 0..255, any height and width; searched at 320 px",
)
class SSDLiteDetector(TorchvisionDetector):
    """SSDlite320 with MobileNetV3-Large.

    Args:
        scales: sizes of the default boxes in parts of the side, seven growing numbers.
        norm_momentum: of the batch normalisations' running statistics; torchvision's 0.03
            suits runs of very many steps.
    """

    def __init__(self, *, scales: Sequence[float] = _SCALES, norm_momentum: float = 0.05) -> None:
        norm = partial(nn.BatchNorm2d, eps=0.001, momentum=norm_momentum)
        network = ssdlite320_mobilenet_v3_large(
            weights=None,
            weights_backbone=None,
            num_classes=CLASSES,
            norm_layer=norm,
            score_thresh=_LEAST_SCORE,
            nms_thresh=_NMS_IOU,
            detections_per_img=_MOST_FACES,
        )
        channels = [672, 480, 512, 256, 256, 128]
        boxes = _squares(scales)
        network.anchor_generator = boxes
        per_cell = boxes.num_anchors_per_location()
        network.head = SSDLiteHead(channels, per_cell, CLASSES, norm)
        super().__init__(network, side=320, square=True)
