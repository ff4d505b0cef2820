"""R-CNN: regions proposed by selective search, each warped through a CNN and classified.

Girshick, Donahue, Darrell, Malik: "Rich feature hierarchies for accurate object detection and
semantic segmentation", CVPR 2014. As there: category-independent proposals, each warped with
context to a fixed square; a linear classifier on the CNN's features; box regression per class;
greedy non-maximum suppression. Two things are of today: classifier and regression are trained
with the CNN in one go, and the classifier is a softmax instead of one SVM per class:
`P(C | F, M) = exp(w_c · f(x) + b_c) / Σ_j exp(w_j · f(x) + b_j)`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from facecore.errors import ConfigError
from facecore.zoo.box_coding import decode, encode
from facecore.zoo.landmark_head import warp
from facecore.zoo.proposals import ProposalCache
from facecore.zoo.region_detector import RegionDetector, within
from facecore.zoo.registry import register_model

BACKGROUND, FACE = 0, 1
SIDE = 48  # px of a warped proposal
# Of 227 px, the paper shows 16 px of context on every side.
_CONTEXT = 227.0 / (227.0 - 2 * 16.0)
FACE_IOU, BACKGROUND_IOU = 0.5, 0.3
_LEAST_SCORE = 0.01
_NMS_IOU = 0.3
_MOST_FACES = 200
_PROPOSALS_AT_ONCE = 256
# Boxes drawn around each true one for training: selective search gives few that overlap it.
_DRAWN = 8
_DRAWN_SHIFT, _DRAWN_GROWTH = 0.2, 0.35
# Background proposals looked at for each one that is learned from as a hard one.
_LOOKED_AT = 4


@register_model(
    "rcnn",
    task="detect",
    licence="Apache-2.0 (this implementation; selective search: OpenCV)",
    paper="Girshick et al., CVPR 2014; Uijlings et al., IJCV 2013",
    input="RGB 0..255, any height and width; proposals are searched at a reduced size",
)
class RCNN(RegionDetector):
    """Warped proposals RGB 0..1 `[n, 3, 48, 48]` → class logits `[n, 2]`, box offsets `[n, 4]`.

    Args:
        width: channels of the first convolution; later layers have 2, 4 and 8 times as many.
        proposal_side: longer side (px) at which selective search works.
        proposals: most proposals per image.
        dropout: before the classifier, 0..1.
        passes: how often boxes are regressed; from the second time on, the regressed boxes are
            warped and scored again.
        regions_per_image: proposals per image that a training step learns from, a quarter of
            them faces if there are so many.
    """

    def __init__(
        self,
        *,
        width: int = 24,
        proposal_side: int = 200,
        proposals: int = 400,
        dropout: float = 0.2,
        passes: int = 2,
        regions_per_image: int = 48,
    ) -> None:
        if min(width, proposals, passes) < 1 or proposal_side < SIDE or regions_per_image < 4:
            raise ConfigError(
                f"options of rcnn need width, proposals, passes ≥ 1, proposal_side ≥ {SIDE} and"
                " regions_per_image ≥ 4."
            )
        super().__init__()
        wide = [width, 2 * width, 4 * width, 8 * width]
        self.features = nn.Sequential(
            *_block(3, wide[0], 2),
            *_block(wide[0], wide[1], 2),
            *_block(wide[1], wide[1], 1),
            *_block(wide[1], wide[2], 2),
            *_block(wide[2], wide[2], 1),
            *_block(wide[2], wide[3], 2),
            nn.Flatten(),
            nn.Linear(wide[3] * (SIDE // 16) ** 2, wide[3], bias=False),
            nn.BatchNorm1d(wide[3]),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
        )
        self.classify = nn.Linear(wide[3], 2)
        # One row of four per class that has boxes: only faces do.
        self.regress = nn.Linear(wide[3], 4)
        nn.init.normal_(self.classify.weight, std=0.01)
        nn.init.zeros_(self.classify.bias)
        nn.init.normal_(self.regress.weight, std=0.001)
        nn.init.zeros_(self.regress.bias)
        self._proposals = ProposalCache(side=proposal_side, limit=proposals)
        self._passes = passes
        self._regions_per_image = regions_per_image
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, warped: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features((warped - 0.5) / 0.25)
        return self.classify(features), self.regress(features)

    def regions(
        self, images: Sequence[Tensor], pixels: Sequence[Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        return [self._search(*one) for one in zip(images, pixels, strict=True)]

    def _search(self, image: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
        boxes = self._proposals(image).to(pixels.device)
        scores = boxes.new_zeros(0)
        for _ in range(self._passes if len(boxes) else 0):
            scores, offsets = self._judge(pixels, boxes)
            boxes = within(decode(boxes, offsets), pixels)
            likely = torch.nonzero(scores >= _LEAST_SCORE)[:, 0]
            # Suppression also spares the next pass the copies.
            kept = likely[torchvision.ops.nms(boxes[likely], scores[likely], _NMS_IOU)]
            boxes, scores = boxes[kept[:_MOST_FACES]], scores[kept[:_MOST_FACES]]
        return boxes, scores

    def _judge(self, pixels: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """P(face) `[n]` and box offsets `[n, 4]` of boxes in one image."""
        parts = [
            self(warp(pixels, part, SIDE, _CONTEXT))
            for part in torch.split(boxes, _PROPOSALS_AT_ONCE)
        ]
        if not parts:
            return boxes.new_zeros(0), boxes.new_zeros(0, 4)
        logits, offsets = (torch.cat(values) for values in zip(*parts, strict=True))
        return class_probabilities(logits)[:, FACE], offsets

    def region_losses(
        self, images: Sequence[Tensor], pixels: Sequence[Tensor], boxes: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        warped, labels, goals = [], [], []
        for image, own, true in zip(images, pixels, boxes, strict=True):
            proposals = self._proposals(image).to(own.device)
            proposals = torch.cat([proposals, true, within(_drawn(true), own)])
            chosen, label, matched = self._sample(own, proposals, true)
            warped.append(warp(own, proposals[chosen], SIDE, _CONTEXT))
            labels.append(label)
            is_face = label == FACE
            goals.append(encode(proposals[chosen][is_face], true[matched[is_face]]))
        pixels_of, label, goal = torch.cat(warped), torch.cat(labels), torch.cat(goals)
        if len(label) < 2:
            # Nothing was proposed in these images, and one value cannot be normalised.
            nothing = torch.stack([p.sum() for p in self.parameters()]).sum() * 0.0
            return {"classification": nothing, "bbox_regression": nothing}
        logits, offsets = self(pixels_of)
        error = F.smooth_l1_loss(
            offsets[label == FACE].float(), goal, beta=1.0 / 9.0, reduction="sum"
        )
        return {
            "classification": F.cross_entropy(logits.float(), label),
            "bbox_regression": error / max(1, len(goal)) / 4.0,
        }

    @torch.no_grad()
    def _sample(
        self, pixels: Tensor, proposals: Tensor, true: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Proposals of one image to learn from.

        Returns:
            Their rows, their labels, and which true box belongs to each (only of use for faces).
        """
        overlap, matched = best_overlaps(proposals, true)
        faces = _some(torch.nonzero(overlap >= FACE_IOU)[:, 0], self._regions_per_image // 4)
        wanted = self._regions_per_image - len(faces)
        background = torch.nonzero(overlap < BACKGROUND_IOU)[:, 0]
        easy = _some(background, wanted // 2)
        looked_at = _some(background, wanted // 2 * _LOOKED_AT)
        training = self.training
        self.eval()  # this look must not move the batch normalisations
        scores, _ = self._judge(pixels, proposals[looked_at])
        self.train(training)
        hard = looked_at[scores.argsort(descending=True)[: wanted - len(easy)]]
        chosen = torch.cat([faces, torch.unique(torch.cat([easy, hard]))])
        labels = torch.full_like(chosen, BACKGROUND)
        labels[: len(faces)] = FACE
        return chosen, labels, matched[chosen]


def class_probabilities(logits: Tensor) -> Tensor:
    """`[n, classes]` logits `w_c · f(x) + b_c` → `P(C | F, M)`, float32, each row sums to 1."""
    return logits.float().softmax(1)


def best_overlaps(proposals: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """For each of `[n, 4]` proposals the IoU `[n]` with the nearest true box, and its row `[n]`."""
    if not len(true):
        return proposals.new_zeros(len(proposals)), torch.zeros_like(proposals[:, 0]).long()
    overlap, matched = torchvision.ops.box_iou(proposals, true).max(1)
    return overlap, matched


def _block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def _some(rows: Tensor, count: int) -> Tensor:
    """At most `count` of `rows`, drawn at random (torch's generator)."""
    return rows[torch.randperm(len(rows), device=rows.device)[:count]]


def _drawn(true: Tensor) -> Tensor:
    """Boxes around the true ones, moved and resized at random; not all overlap them enough."""
    boxes = true.repeat(_DRAWN, 1)
    size = boxes[:, 2:] - boxes[:, :2]
    shift = size * torch.empty_like(size).uniform_(-_DRAWN_SHIFT, _DRAWN_SHIFT)
    centre = boxes[:, :2] + size / 2 + shift
    half = size / 2 * torch.empty_like(size).uniform_(-_DRAWN_GROWTH, _DRAWN_GROWTH).exp()
    return torch.cat([centre - half, centre + half], 1)
