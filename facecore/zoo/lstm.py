"""LSTM that forecasts recognition activity: hourly counts of a source, a person's next visit.

Hochreiter & Schmidhuber: "Long Short-Term Memory", Neural Computation 1997; sequence to sequence
after Sutskever et al., NIPS 2014; quantiles by the pinball loss after Koenker & Bassett, 1978;
intervals conformalised after Romano, Patterson, Candès: "Conformalized Quantile Regression",
NeurIPS 2019.

One network for all sources: counts are divided by their own level first. It starts from what is
usual at an hour of the week and learns what to add to it. Counts of one hour vary about as their
root, so roots are what it computes with.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facecore.errors import ConfigError, ShapeError
from facecore.types import Doubles, Floats
from facecore.zoo.embedder import at_least, is_share
from facecore.zoo.registry import register_model

WEEK = 168  # hours
WEEKS = 8  # of history, of which the last is read hour by hour
RECENT_WEEKS = 2
CONTEXT = WEEK * WEEKS
GAPS = 16  # visits of a person that are looked back at
#: What is forecast, in this order: the middle, and the bounds of 50 % and 90 % intervals.
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_MEDIAN = QUANTILES.index(0.5)
_CALENDAR = 4
_LEVEL_DAYS = (1, 3, 7)  # over which activity is compared with what is usual
_LEAST_SCALE = 0.25


@register_model(
    "lstm",
    task="forecast",
    licence="Apache-2.0",
    paper="Hochreiter & Schmidhuber, Neural Computation 1997; Romano et al., NeurIPS 2019",
    input="eight weeks of hourly counts and the hour of the week; a person's last gaps",
)
class ActivityLstm(nn.Module):
    """Eight weeks of counts `[n, 1344]` → quantiles of the next hours `[n, horizon, 5]`.

    Args:
        hidden: width of the recurrent layers.
        horizon: hours that are forecast at once, 1..168.
        dropout: share of the encoder's last state dropped while training.

    Raises:
        ConfigError: an option out of range.
    """

    margins: Tensor
    gap_margins: Tensor
    trained_on: Tensor

    def __init__(self, hidden: int = 32, horizon: int = 24, dropout: float = 0.1) -> None:
        super().__init__()
        at_least("hidden", hidden, 2)
        is_share("dropout", dropout)
        if not 1 <= horizon <= WEEK:
            raise ConfigError(f"option horizon is {horizon}; it must be from 1 to {WEEK}.")
        self.horizon = horizon
        self.encoder = nn.LSTM(2 + _CALENDAR, hidden, batch_first=True)
        self.decoder = nn.LSTM(4 + len(_LEVEL_DAYS) + _CALENDAR, hidden, batch_first=True)
        self.quantiles = nn.Linear(hidden, len(QUANTILES))
        self.gap_encoder = nn.LSTM(2 + _CALENDAR, hidden, batch_first=True)
        self.gap_quantiles = nn.Linear(hidden, len(QUANTILES))
        self.dropout = nn.Dropout(dropout)
        for layer in (self.quantiles, self.gap_quantiles):
            with torch.no_grad():  # so that training starts from what is usual
                layer.weight.mul_(0.1)
                layer.bias.zero_()
        # What conformal calibration adds on either side of the 90 % and the 50 % interval.
        self.register_buffer("margins", torch.zeros(2))
        self.register_buffer("gap_margins", torch.zeros(2))
        # Windows of hourly counts, and of gaps, that it was trained on.
        self.register_buffer("trained_on", torch.zeros(2))

    def forward(self, counts: Tensor, hour_of_week: Tensor) -> Tensor:
        """Quantiles of counts, float32 `[n, horizon, 5]`, ≥ 0, never crossing.

        Args:
            counts: float `[n, 1344]`, per hour up to the forecast, ≥ 0; NaN where unknown, for
                example before the beginning of a shorter history.
            hour_of_week: int `[n]`, of the first hour that is forecast (Monday 0:00 is 0). As
                the history is whole weeks, it is that of the first hour of `counts` too.

        Raises:
            ShapeError: another length of history.
        """
        roots, scale = self.rooted(counts)
        return self.counted(self.root_quantiles(roots, scale, hour_of_week), scale)

    def rooted(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Roots of counts divided by their level, and the level `[n, 1]` (a count)."""
        if counts.ndim != 2 or counts.shape[1] != CONTEXT:
            raise ShapeError("counts", f"[n, {CONTEXT}]", str(list(counts.shape)))
        counts = counts.float()
        scale = torch.nanmean(counts, dim=1, keepdim=True).nan_to_num(0.0)
        scale = scale.clamp_min(_LEAST_SCALE)
        return (counts.clamp_min(0) / scale).sqrt(), scale

    def root_quantiles(self, roots: Tensor, scale: Tensor, hour_of_week: Tensor) -> Tensor:
        """Quantiles of roots, `[n, horizon, 5]`, ≥ 0: what the loss compares."""
        weekly = roots.reshape(-1, WEEKS, WEEK)
        known = weekly.isfinite()
        usual = torch.nanmean(weekly, dim=1)
        overall = torch.nanmean(roots, dim=1, keepdim=True).nan_to_num(0.0)
        usual = torch.where(known.any(dim=1), usual, overall)
        recent = torch.nanmean(weekly[:, -RECENT_WEEKS:], dim=1)
        recent = torch.where(recent.isfinite(), recent, usual)
        hours = hour_of_week.reshape(-1, 1) + torch.arange(WEEK, device=roots.device)
        calendar = _calendar(hours % WEEK)
        last = weekly[:, -1]
        seen = torch.stack([(last - usual).nan_to_num(0.0), usual], dim=2)
        _, state = self.encoder(torch.cat([seen, calendar], dim=2))
        state = (self.dropout(state[0]), state[1])
        ahead = slice(0, self.horizon)
        known_ahead = torch.stack(
            [
                usual[:, ahead],
                recent[:, ahead],
                torch.where(last.isfinite(), last, usual)[:, ahead],
                # How much a count varies beside its level depends on how small it is.
                scale.log().expand(-1, self.horizon),
                *(_level(last, usual, days).expand(-1, self.horizon) for days in _LEVEL_DAYS),
            ],
            dim=2,
        )
        out, _ = self.decoder(torch.cat([known_ahead, calendar[:, ahead]], dim=2), state)
        # Small counts vary by a whole one, however small the level.
        unit = (1.0 / scale).sqrt().unsqueeze(2)
        return _ordered(self.quantiles(out), usual[:, ahead], unit).clamp_min(0)

    def counted(self, roots: Tensor, scale: Tensor) -> Tensor:
        """Quantiles of counts from quantiles of roots, with the calibrated margins."""
        # In units of the root of one face: that is how much small counts vary.
        margins = self.margins * (1.0 / scale).sqrt().unsqueeze(2)
        return _widened(roots, margins).clamp_min(0).square() * scale.unsqueeze(2)

    def next_gap(self, gaps: Tensor, hour_of_week: Tensor) -> Tensor:
        """Quantiles of the hours until a person's next visit, float32 `[n, 5]`, > 0.

        Args:
            gaps: float `[n, 16]`, hours between visits, the last one last; NaN before the first.
            hour_of_week: int `[n, 16]`, of the visit that ended each gap; any where NaN.

        Raises:
            ShapeError: another number of gaps.
        """
        logs = self.log_gap_quantiles(gaps, hour_of_week)
        return _widened(logs, self.gap_margins.expand(len(logs), 2)).exp()

    def log_gap_quantiles(self, gaps: Tensor, hour_of_week: Tensor) -> Tensor:
        """Quantiles of the logarithm of the next gap, `[n, 5]`: what the loss compares."""
        if gaps.ndim != 2 or gaps.shape[1] != GAPS:
            raise ShapeError("gaps", f"[n, {GAPS}]", str(list(gaps.shape)))
        logs = gaps.float().clamp_min(1 / 60).log()
        usual = torch.nanmean(logs, dim=1, keepdim=True).nan_to_num(math.log(24.0))
        known = logs.isfinite()
        deviation = torch.where(known, logs - usual, torch.zeros_like(logs))
        seen = torch.stack([deviation, known.float()], dim=2)
        calendar = _calendar(hour_of_week % WEEK)
        _, (state, _) = self.gap_encoder(torch.cat([seen, calendar], dim=2))
        out = self.gap_quantiles(self.dropout(state[-1])).unsqueeze(1)
        return _ordered(out, usual, torch.ones_like(usual).unsqueeze(2)).squeeze(1)


def history_before(counts: Doubles, origin: int) -> Floats:
    """The network's input for a forecast from hour `origin` on, float32 `[1344]`: what lies
    before the beginning of `counts` is NaN.
    """
    history = np.full(CONTEXT, np.nan, np.float32)
    known = counts[max(0, origin - CONTEXT) : origin]
    history[CONTEXT - len(known) :] = known
    return history


def _level(last: Tensor, usual: Tensor, days: int) -> Tensor:
    """How busy the last days were beside what is usual on such days, a logarithm, `[n, 1]`."""
    part = slice(WEEK - 24 * days, WEEK)
    seen, expected = last[:, part], usual[:, part]
    known = seen.isfinite()
    sums = [torch.where(known, x.square(), 0.0).sum(dim=1) for x in (seen, expected)]
    return ((sums[0] + 1) / (sums[1] + 1)).log().unsqueeze(1)


def _calendar(hours: Tensor) -> Tensor:
    """Hour of the week `[n, t]` → `[n, t, 4]`: where in the day and in the week."""
    day, week = (2 * math.pi * hours.float() / period for period in (24, WEEK))
    return torch.stack([day.sin(), day.cos(), week.sin(), week.cos()], dim=2)


def _ordered(out: Tensor, middle: Tensor, unit: Tensor) -> Tensor:
    """`[n, t, 5]` → quantiles around `middle` `[n, t]`, that never cross; in `unit`s."""
    steps = F.softplus(out - 0.5) * unit
    centre = middle + out[..., _MEDIAN] * unit.squeeze(2)
    below = steps[..., :_MEDIAN].flip(-1).cumsum(-1).flip(-1)
    above = steps[..., _MEDIAN + 1 :].cumsum(-1)
    return torch.cat(
        [centre.unsqueeze(-1) - below, centre.unsqueeze(-1), centre.unsqueeze(-1) + above], dim=-1
    )


def _widened(quantiles: Tensor, margins: Tensor) -> Tensor:
    """The intervals wider (or narrower) by `margins` on either side; the middle stays inside."""
    outer, inner = margins.unbind(-1)
    moved = quantiles + torch.stack([-outer, -inner, 0 * outer, inner, outer], dim=-1)
    middle = moved[..., _MEDIAN : _MEDIAN + 1]
    low = torch.minimum(moved[..., :_MEDIAN].flip(-1).cummin(-1).values.flip(-1), middle)
    high = torch.maximum(moved[..., _MEDIAN + 1 :].cummax(-1).values, middle)
    return torch.cat([low, middle, high], dim=-1)
