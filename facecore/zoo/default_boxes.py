"""Where SSD looks: boxes of fixed sizes at every position of every feature map, for faces.

All have a face's form. Where a feature map is coarse for a size, that size is laid out more
densely than the map's own positions (Zhang et al.: "FaceBoxes: A CPU Real-time Face Detector
with High Accuracy", IJCB 2017): otherwise a small face between two positions overlaps none.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

# Width over height of a face's box (YuNet's boxes of LFW: 0.76).
FORM = 0.8


class DefaultBoxes(nn.Module):
    """Takes the place of torchvision's `DefaultBoxGenerator`.

    Args:
        levels: for each feature map (size, density) of its boxes: the side of a square of the
            same area, in parts of the image's side, and how many lie along each axis of a cell.
        steps: the cells' sides in px; None divides the image evenly.
    """

    def __init__(
        self, levels: Sequence[Sequence[tuple[float, int]]], steps: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self._levels = [tuple(level) for level in levels]
        self._steps = steps
        # SSD compares its length with the number of feature maps.
        self.aspect_ratios: list[list[int]] = [[] for _ in levels]

    def num_anchors_per_location(self) -> list[int]:
        """How many boxes each position of each feature map has."""
        return [sum(density**2 for _, density in level) for level in self._levels]

    def forward(self, images: ImageList, features: Sequence[Tensor]) -> list[Tensor]:
        """Boxes `[n, 4]` x1 y1 x2 y2 (px) for each image, map by map, row by row."""
        height, width = images.tensors.shape[-2:]
        tables = [
            self._table(index, one.shape[-2:], (height, width), one.device)
            for index, one in enumerate(features)
        ]
        boxes = torch.cat(tables)
        return [boxes for _ in images.image_sizes]

    def _table(
        self, index: int, cells: Sequence[int], image: tuple[int, int], device: torch.device
    ) -> Tensor:
        step_y, step_x = (
            (float(self._steps[index]),) * 2
            if self._steps
            else (image[0] / cells[0], image[1] / cells[1])
        )
        rows, columns = torch.meshgrid(
            torch.arange(cells[0], dtype=torch.float32, device=device),
            torch.arange(cells[1], dtype=torch.float32, device=device),
            indexing="ij",
        )
        corner = torch.stack([columns, rows], -1).reshape(-1, 1, 2)
        within, half = self._pattern(index, image, device)
        centre = (corner + within) * torch.tensor([step_x, step_y], device=device)
        return torch.cat([centre - half, centre + half], -1).reshape(-1, 4)

    def _pattern(
        self, index: int, image: tuple[int, int], device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Boxes of one cell: centres `[n, 2]` from 0 to 1 across it, half sizes `[n, 2]` px."""
        centres, halves = [], []
        for size, density in self._levels[index]:
            places = [(number + 0.5) / density for number in range(density)]
            for y in places:
                for x in places:
                    centres.append((x, y))
                    halves.append(
                        (size * image[1] * FORM**0.5 / 2, size * image[0] / FORM**0.5 / 2)
                    )
        return torch.tensor(centres, device=device), torch.tensor(halves, device=device)
