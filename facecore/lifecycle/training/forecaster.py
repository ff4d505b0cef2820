"""Training a forecaster of activity: quantiles of counts and of gaps between visits."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from facecore.lifecycle.training.module import TrainingModule
from facecore.lifecycle.training.plan import TrainingPlan
from facecore.lifecycle.training.windows import ActivityWindows
from facecore.zoo.lstm import QUANTILES, ActivityLstm

_OUTER, _INNER = (0, 4), (1, 3)
_LEVELS = {_OUTER: 0.9, _INNER: 0.5}


class ForecasterTraining(TrainingModule):
    """Windows → pinball loss of all quantiles; that of the validation windows picks the epoch.

    `finished` conformalises the intervals of the best network on the validation windows.
    """

    metric = "val/pinball"
    higher_is_better = False

    def __init__(
        self,
        plan: TrainingPlan,
        network: nn.Module,
        train: ActivityWindows,
        validation: ActivityWindows,
    ) -> None:
        super().__init__(plan, network)
        self._windows = (len(train.windows), len(train.gap_windows))
        self._validation = validation
        self._seen: list[tuple[Tensor, Tensor]] = []

    def losses(self, batch: Any) -> dict[str, Tensor]:
        counts, gaps = self._pinball(batch)
        known = [loss[~loss.isnan()].mean() for loss in (counts, gaps) if (~loss.isnan()).any()]
        return {"forecast": torch.stack(known).sum()}

    def validation_step(self, batch: Any, index: int) -> None:
        counts, gaps = self._pinball(batch)
        self._seen.append((counts.cpu(), gaps.cpu()))

    def on_validation_epoch_end(self) -> None:
        counts, gaps = (torch.cat(part) for part in zip(*self._seen, strict=True))
        self._seen.clear()
        total = counts.nanmean()
        if (~gaps.isnan()).any():
            self.log("val/gap_pinball", gaps.nanmean())
            total = total + gaps.nanmean()
        self.log(self.metric, total, prog_bar=True)

    def finished(self) -> dict[str, float]:
        network = self.network.cpu().eval()
        assert isinstance(network, ActivityLstm)  # noqa: S101 (the only one of its task)
        network.margins.zero_()
        network.gap_margins.zero_()
        rows = [self._validation[(row, 0)] for row in range(len(self._validation))]
        counts, hours, ahead, gaps, gap_hours, gap = (
            torch.stack(part) for part in zip(*rows, strict=True)
        )
        with torch.no_grad():
            roots, scale = network.rooted(counts)
            quantiles = network.root_quantiles(roots, scale, hours)
            unit = (1.0 / scale).sqrt().unsqueeze(2)
            margins = _margins(quantiles / unit, (ahead / scale).sqrt() / unit.squeeze(2))
            network.margins.copy_(margins)
            known = ~gap.isnan()
            if known.any():
                logs = network.log_gap_quantiles(gaps[known], gap_hours[known])
                network.gap_margins.copy_(_margins(logs, _log(gap[known])))
            network.trained_on.copy_(torch.tensor(self._windows))
            covered = _coverage(network(counts, hours), ahead)
        return {
            "calibration/windows": float(len(rows)),
            "calibration/margin": float(margins[0]),
            "val/coverage": covered,
        }

    def _pinball(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Losses of counts `[n, horizon]`, as shares of their level, and of the logarithms of
        gaps `[n]`; NaN where the truth is unknown.
        """
        counts, hours, ahead, gaps, gap_hours, gap = batch
        network = self.network
        assert isinstance(network, ActivityLstm)  # noqa: S101 (the only one of its task)
        roots, scale = network.rooted(counts)
        of_counts = pinball(network.root_quantiles(roots, scale, hours).square(), ahead / scale)
        return of_counts, pinball(network.log_gap_quantiles(gaps, gap_hours), _log(gap))


def pinball(quantiles: Tensor, truth: Tensor) -> Tensor:
    """Mean pinball loss of quantiles `[…, 5]` against the truth `[…]`; NaN where that is NaN."""
    levels = torch.tensor(QUANTILES, device=quantiles.device)
    known = truth.isfinite()
    difference = torch.where(known, truth, 0.0).unsqueeze(-1) - quantiles
    loss = torch.maximum(levels * difference, (levels - 1) * difference).mean(dim=-1)
    return torch.where(known, loss, torch.full_like(loss, torch.nan))


def _log(gap: Tensor) -> Tensor:
    return gap.clamp_min(1 / 60).log()


def _margins(quantiles: Tensor, truth: Tensor) -> Tensor:
    """What has to be added on either side so that the intervals cover what they promise."""
    known = truth.isfinite()
    quantiles, truth = quantiles[known].double(), truth[known].double()
    found = []
    for (low, high), level in _LEVELS.items():
        missed = torch.maximum(quantiles[:, low] - truth, truth - quantiles[:, high])
        count = len(missed)
        share = min(1.0, math.ceil((count + 1) * level) / count)
        found.append(torch.quantile(missed, share))
    return torch.stack(found).float()


def _coverage(quantiles: Tensor, truth: Tensor) -> float:
    known = truth.isfinite()
    inside = (truth >= quantiles[..., 0] - 1e-6) & (truth <= quantiles[..., -1] + 1e-6)
    return float(inside[known].float().mean())
