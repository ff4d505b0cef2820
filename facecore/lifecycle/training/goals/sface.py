"""Sigmoid-constrained hypersphere loss.

Zhong, Deng, Hu, Zhao, Li, Wen: "SFace: Sigmoid-Constrained Hypersphere Loss for Robust Face
Recognition", IEEE TIP 2021 (arXiv:2205.12010), equations 6 to 9.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# At 1, the derivative of acos is infinite and rounding leads beyond it.
_MOST_COSINE = 1.0 - 1e-6


class SFaceLoss(nn.Module):
    """Pulls embeddings to their identity's centre and away from the others, with both speeds
    rescaled by sigmoids of the angle, so that clean pictures move far and outliers little.

        loss = − [r_intra(θ_y)] cos θ_y + Σ_{j≠y} [r_inter(θ_j)] cos θ_j
        r_intra(θ) = s / (1 + exp(−k (θ − a))),  r_inter(θ) = s / (1 + exp(k (θ − b)))

    where [·] passes no gradient. Mean over the batch.

    Args:
        scale, slope, intra, inter: s, k, a and b of the paper; angles in radians.
    """

    def __init__(
        self,
        dimension: int,
        identities: int,
        *,
        scale: float = 64.0,
        slope: float = 80.0,
        intra: float = 0.80,
        inter: float = 1.22,
    ) -> None:
        super().__init__()
        self.scale, self.slope, self.intra, self.inter = scale, slope, intra, inter
        self.centres = nn.Parameter(torch.empty(identities, dimension))
        nn.init.normal_(self.centres)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """`[n, d]` of any length and int64 `[n]` → a scalar."""
        cosine = F.linear(F.normalize(embeddings), F.normalize(self.centres))
        own = F.one_hot(labels, len(self.centres)).bool()
        with torch.no_grad():
            angle = cosine.clamp(-_MOST_COSINE, _MOST_COSINE).acos()
            pull = torch.sigmoid(self.slope * (angle - self.intra))
            push = torch.sigmoid(-self.slope * (angle - self.inter))
            weight = self.scale * torch.where(own, -pull, push)
        return (weight * cosine).sum(dim=1).mean()
