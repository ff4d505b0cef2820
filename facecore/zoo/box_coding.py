"""Boxes relative to other boxes: Girshick's parametrisation (R-CNN, CVPR 2014, appendix C).

A box `G` beside a proposal `P`, both with centre x y, width and height: `tx = (Gx - Px) / Pw`,
`ty = (Gy - Py) / Ph`, `tw = log(Gw / Pw)`, `th = log(Gh / Ph)`. A network predicts the four
numbers multiplied by `WEIGHTS`, which brings them to about unit spread.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

WEIGHTS = (10.0, 10.0, 5.0, 5.0)
# No box grows to more than this many times its proposal; exp() of a wild number overflows.
_MOST_GROWTH = 1000.0 / 16.0


def encode(proposals: Tensor, boxes: Tensor) -> Tensor:
    """`[n, 4]` offsets that turn `proposals` into `boxes`, both `[n, 4]` x1 y1 x2 y2."""
    centre, size = _centred(proposals)
    goal_centre, goal_size = _centred(boxes)
    offsets = torch.cat([(goal_centre - centre) / size, (goal_size / size).log()], 1)
    return offsets * offsets.new_tensor(WEIGHTS)


def decode(proposals: Tensor, offsets: Tensor) -> Tensor:
    """`[n, 4]` boxes x1 y1 x2 y2: the inverse of `encode`."""
    centre, size = _centred(proposals)
    offsets = offsets / offsets.new_tensor(WEIGHTS)
    centre = centre + offsets[:, :2] * size
    half = offsets[:, 2:].clamp(max=math.log(_MOST_GROWTH)).exp() * size / 2
    return torch.cat([centre - half, centre + half], 1)


def expand(boxes: Tensor, factor: float) -> Tensor:
    """`[n, 4]` boxes with the same centres, each side `factor` times as long."""
    centre, size = _centred(boxes)
    half = size * factor / 2
    return torch.cat([centre - half, centre + half], 1)


def _centred(boxes: Tensor) -> tuple[Tensor, Tensor]:
    size = boxes[:, 2:] - boxes[:, :2]
    return boxes[:, :2] + size / 2, size
