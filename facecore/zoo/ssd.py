"""SSD: one pass over several feature maps, a fixed set of default boxes at every position.

Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016 (VGG-16, 300 px), and SSDlite with
MobileNetV3 (Howard et al., ICCV 2019, 320 px). Networks, losses and hard negative mining are
torchvision's; the default boxes are faces' (see `default_boxes`).
"""

from __future__ import annotations

from functools import partial

from torch import nn
from torchvision.models.detection import ssdlite320_mobilenet_v3_large
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead

from facecore.zoo.default_boxes import DefaultBoxes
from facecore.zoo.registry import register_model
from facecore.zoo.ssd_vgg import SSD300_SIDE, VGGFeatures
from facecore.zoo.torchvision_detector import CLASSES, TorchvisionDetector

# (size in parts of the side, density) for each feature map: neighbouring sizes differ about
# 1.4 times, and boxes of one size lie no further apart than about half of it.
_VGG_BOXES = (
    ((0.05, 1), (0.075, 1), (0.11, 1)),
    ((0.155, 1), (0.22, 1)),
    ((0.31, 1), (0.43, 1)),
    ((0.57, 1), (0.72, 1)),
    ((0.87, 1),),
    ((1.0, 1),),
)
_MOBILENET_BOXES = (
    ((0.06, 2), (0.085, 2), (0.12, 1), (0.17, 1)),
    ((0.24, 1), (0.33, 1)),
    ((0.45, 1), (0.6, 1)),
    ((0.75, 1),),
    ((0.87, 1),),
    ((1.0, 1),),
)
# The cells of VGG's feature maps in px: the unpadded convolutions' borders move the last ones.
_VGG_STEPS = (8, 16, 32, 64, 100, 300)
_MOBILENET_SIDE = 320
_MOBILENET_CHANNELS = (672, 480, 512, 256, 256, 128)
# Candidates below are not even looked at; the stage has the threshold that users set.
_LEAST_SCORE = 0.01
_NMS_IOU = 0.45
_MOST_FACES = 200


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
    """

    def __init__(self, *, width: float = 1.0, batch_norm: bool = True) -> None:
        network = SSD(
            VGGFeatures(width=width, batch_norm=batch_norm),
            DefaultBoxes(_VGG_BOXES, _VGG_STEPS),
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
        norm_momentum: of the batch normalisations' running statistics; torchvision's 0.03
            suits runs of very many steps.
    """

    def __init__(self, *, norm_momentum: float = 0.05) -> None:
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
        boxes = DefaultBoxes(_MOBILENET_BOXES)
        per_cell = boxes.num_anchors_per_location()
        network.anchor_generator = boxes
        network.head = SSDLiteHead(list(_MOBILENET_CHANNELS), per_cell, CLASSES, norm)
        super().__init__(network, side=_MOBILENET_SIDE, square=True)
