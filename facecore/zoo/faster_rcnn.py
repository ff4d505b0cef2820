"""Faster R-CNN: a region-proposal network, then a head on each proposed region.

Ren et al., "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks",
NIPS 2015, with a feature pyramid (Lin et al., CVPR 2017). Network and losses are
torchvision's. Anchors, heads and pyramid are sized for one class of upright, often small
objects, and the batch normalisations learn, because training starts from random weights.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn
from torchvision.models import mobilenet_v3_large, resnet50
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from facecore.errors import ConfigError
from facecore.zoo.registry import register_model
from facecore.zoo.torchvision_detector import CLASSES, TorchvisionDetector

# Name → trunk and the longer side (px) of the images it gets.
BACKBONES = {
    "mobilenet_v3_large_320_fpn": ("mobilenet", 320),
    "mobilenet_v3_large_fpn": ("mobilenet", 800),
    "resnet50_fpn": ("resnet", 800),
}
# Layers of the trunks with strides 8, 16 and 32, and their channels.
_MOBILENET_LEVELS = {"6": 40, "12": 112, "15": 160}
_RESNET_LEVELS = {"layer2": 512, "layer3": 1024, "layer4": 2048}
# Sides of the anchors (px at the searched size) at strides 8, 16, 32 and 64, and their height
# over width: faces are about 0.75 times as wide as high.
_ANCHORS = ((16, 24), (38, 60), (95, 150), (240, 380))
_FORM = 1.25
_ROI_SIDE = 7
_SMALLEST_SIDE = 64
_LEAST_SCORE = 0.01
_NMS_IOU = 0.45
_MOST_FACES = 200


@register_model(
    "faster-rcnn",
    task="detect",
    licence="BSD-3-Clause (torchvision)",
    paper="Ren et al., NIPS 2015; Lin et al., CVPR 2017",
    input="RGB 0..255, any height and width; searched at the backbone's side",
)
class FasterRCNNDetector(TorchvisionDetector):
    """Faster R-CNN with a feature pyramid.

    Args:
        backbone: mobilenet_v3_large_320_fpn, mobilenet_v3_large_fpn or resnet50_fpn.
        side: longer side (px) at which images are searched; 0 takes the backbone's (320 or 800).
        channels: of the feature pyramid.
        representation: width of the head's two hidden layers.
        regions_per_image: proposed regions per image that the head learns from.
    """

    def __init__(
        self,
        *,
        backbone: str = "mobilenet_v3_large_320_fpn",
        side: int = 0,
        channels: int = 128,
        representation: int = 256,
        regions_per_image: int = 64,
    ) -> None:
        if backbone not in BACKBONES:
            raise ConfigError(
                f"backbone {backbone!r} is not known.", remedy=f"Known: {', '.join(BACKBONES)}."
            )
        if side and side < _SMALLEST_SIDE:
            raise ConfigError(f"option side must be 0 or ≥ {_SMALLEST_SIDE} px, got {side}.")
        trunk, usual_side = BACKBONES[backbone]
        side = side or usual_side
        pyramid = _mobilenet(channels) if trunk == "mobilenet" else _resnet(channels)
        levels = [str(level) for level in range(len(_ANCHORS) - 1)]
        network = FasterRCNN(
            pyramid,
            min_size=side,
            max_size=side,
            image_mean=[0.5] * 3,
            image_std=[0.25] * 3,
            rpn_anchor_generator=AnchorGenerator(_ANCHORS, ((_FORM,),) * len(_ANCHORS)),
            rpn_pre_nms_top_n_train=1000,
            rpn_pre_nms_top_n_test=500,
            rpn_post_nms_top_n_train=500,
            rpn_post_nms_top_n_test=250,
            # Neighbouring anchors differ 1.6 times in size: at best an IoU of about 0.6.
            rpn_fg_iou_thresh=0.5,
            rpn_batch_size_per_image=128,
            box_roi_pool=MultiScaleRoIAlign(levels, _ROI_SIDE, sampling_ratio=2),
            box_head=TwoMLPHead(channels * _ROI_SIDE**2, representation),
            box_predictor=FastRCNNPredictor(representation, CLASSES),
            box_batch_size_per_image=regions_per_image,
            box_score_thresh=_LEAST_SCORE,
            box_nms_thresh=_NMS_IOU,
            box_detections_per_img=_MOST_FACES,
        )
        super().__init__(network, side=side, square=False)


def _mobilenet(channels: int) -> nn.Module:
    trunk = mobilenet_v3_large(weights=None, norm_layer=nn.BatchNorm2d).features
    return _pyramid(trunk, _MOBILENET_LEVELS, channels)


def _resnet(channels: int) -> nn.Module:
    return _pyramid(resnet50(weights=None, norm_layer=nn.BatchNorm2d), _RESNET_LEVELS, channels)


def _pyramid(trunk: nn.Module, levels: Mapping[str, int], channels: int) -> nn.Module:
    names = {layer: str(index) for index, layer in enumerate(levels)}
    pyramid: nn.Module = BackboneWithFPN(
        trunk, names, list(levels.values()), channels, LastLevelMaxPool()
    )
    return pyramid
