"""The head of a Siamese network: do two embeddings belong to one person?

Bromley et al.: "Signature Verification using a Siamese Time Delay Neural Network", NIPS 1993;
Koch, Zemel, Salakhutdinov: "Siamese Neural Networks for One-shot Image Recognition", 2015.
The two towers, which share their weights, are any embedder; this head learns how their
outputs are compared. It starts from the cosine, which it can only improve on: differences and
products of single components are weighed in addition.

Swapping the two faces changes no bit of the answer. The probability is calibrated after Platt:
"Probabilistic Outputs for Support Vector Machines", 1999, on pairs the head was not trained on.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facecore.errors import ConfigError, ShapeError
from facecore.zoo.embedder import at_least, initialise, is_share
from facecore.zoo.registry import register_model

_COSINE_SLOPE, _COSINE_OFFSET = 10.0, -3.0
_NEWTON_STEPS = 100
_CONVERGED = 1e-10


@register_model(
    "siamese",
    task="match",
    licence="Apache-2.0",
    paper="Bromley et al., NIPS 1993; Koch et al., 2015",
    input="two embeddings of unit length, of one embedder",
)
class SiameseMatcher(nn.Module):
    """Pairs of embeddings `[n, dimension]` → logits `[n]`: above 0, rather one person.

    Args:
        dimension: length of the embeddings that are compared.
        hidden: width of the two layers that weigh differences and products.
        dropout: share of their outputs dropped while training.

    Raises:
        ConfigError: an option out of range.
    """

    calibration: Tensor

    def __init__(self, dimension: int = 128, hidden: int = 64, dropout: float = 0.1) -> None:
        super().__init__()
        at_least("dimension", dimension, 2)
        at_least("hidden", hidden, 1)
        is_share("dropout", dropout)
        self.dimension = dimension
        self.compare = nn.Sequential(
            nn.Linear(2 * dimension, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
        )
        self.cosine = nn.Linear(1, 1)
        initialise(self)
        with torch.no_grad():
            # Nearly nothing at first, so that training starts from the cosine.
            self.compare[-1].weight.mul_(0.01)  # type: ignore[operator]
            self.cosine.weight.fill_(_COSINE_SLOPE)
            self.cosine.bias.fill_(_COSINE_OFFSET)
        # probability = sigmoid(slope · logit + offset)
        self.register_buffer("calibration", torch.tensor([1.0, 0.0]))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Logits float32 `[n]`, not calibrated.

        Raises:
            ShapeError: not two `[n, dimension]`.
        """
        for name, vectors in (("a", a), ("b", b)):
            if vectors.shape != (len(a), self.dimension):
                expected = f"[{len(a)}, {self.dimension}]"
                raise ShapeError(f"embeddings {name}", expected, str(list(vectors.shape)))
        dtype = self.cosine.weight.dtype
        a, b = (F.normalize(vectors.float(), dim=1) for vectors in (a, b))
        product = a * b
        # Components of a unit vector are about 1/√d; layers learn best from values about 1.
        difference = (a - b).abs() * self.dimension**0.5
        inputs = torch.cat([difference, product * self.dimension], 1).to(dtype)
        cosine = product.sum(1, keepdim=True).to(dtype)
        logits: Tensor = self.cosine(cosine) + self.compare(inputs)
        return logits.squeeze(1).float()

    def probability(self, a: Tensor, b: Tensor) -> Tensor:
        """How likely each pair is one person, float32 `[n]` 0..1, as calibrated.

        It holds for pairs mixed as those of `calibrate` were: where pairs of one person are
        rarer, so are matches.
        """
        slope, offset = self.calibration.float()
        return torch.sigmoid(slope * self(a, b) + offset)

    @torch.no_grad()
    def calibrate(self, logits: Tensor, same: Tensor) -> None:
        """Fit slope and offset of `probability`, by maximum likelihood with Platt's targets.

        Args:
            logits: `[n]` of pairs that the head was not trained on.
            same: bool `[n]`, whether each pair is one person.

        Raises:
            ShapeError: not two `[n]`.
            ConfigError: pairs of only one kind, or logits that do not tell the kinds apart.
        """
        if logits.ndim != 1 or same.shape != logits.shape:
            raise ShapeError("logits, same", "two [n]", f"{list(logits.shape)}, {list(same.shape)}")
        x, same = logits.detach().double().cpu(), same.bool().cpu()
        positive, negative = int(same.sum()), int((~same).sum())
        if not positive or not negative:
            raise ConfigError(
                f"calibration got {positive} pairs of one person and {negative} of two.",
                remedy="Give it some of each.",
            )
        # Not 1 and 0: separable pairs would drive the slope to infinity.
        target = torch.where(same, (positive + 1) / (positive + 2), 1 / (negative + 2)).double()
        slope_offset = _logistic_regression(x, target)
        if slope_offset[0] <= 0:
            raise ConfigError(
                "these logits are not higher for one person than for two; no calibration fits.",
                remedy="Train the matcher first.",
            )
        self.calibration.copy_(slope_offset)


def _logistic_regression(x: Tensor, target: Tensor) -> Tensor:
    """Slope and offset, float64 `[2]`, that minimise the cross-entropy; Newton's method.

    Steps that do not help are halved.
    """
    mean, spread = x.mean(), x.std(correction=0).clamp_min(1e-12)
    design = torch.stack([(x - mean) / spread, torch.ones_like(x)], 1)
    solution = torch.zeros(2, dtype=torch.float64)

    def cost(candidate: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(design @ candidate, target)

    for _ in range(_NEWTON_STEPS):
        p = torch.sigmoid(design @ solution)
        gradient = design.T @ (p - target) / len(x)
        curvature = (design.T * (p * (1 - p))) @ design / len(x)
        step = torch.linalg.solve(curvature + 1e-12 * torch.eye(2, dtype=x.dtype), gradient)
        while cost(solution - step) > cost(solution) and step.abs().max() > _CONVERGED:
            step = step / 2
        solution = solution - step
        if step.abs().max() < _CONVERGED:
            break
    slope = solution[0] / spread
    return torch.stack([slope, solution[1] - slope * mean])
