"""Hourly counts and visits of a snapshot as training data for forecasters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from facecore.lifecycle.datasets.activity import CONTEXT_HOURS
from facecore.lifecycle.training.sampling import Key
from facecore.zoo.lstm import CONTEXT, GAPS, history_before

if TYPE_CHECKING:
    from facecore.lifecycle.datasets.activity import ActivitySeries
    from facecore.types import Doubles

_DAY = 24
_BLANKED = 0.2
_LEAST_KNOWN = 0.5

#: counts `[1344]`, hour of the week, the next counts `[horizon]`; gaps `[16]`, their hours of the
#: week `[16]`, the next gap (NaN where there is none).
Window = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class _CountWindow:
    series: int
    origin: int  # index of the first hour that is forecast
    hour_of_week: int


@dataclass(frozen=True, slots=True)
class _GapWindow:
    series: int
    end: int  # index of the gap that is forecast


class ActivityWindows(Dataset[Window]):
    """(row, seed) → a window of some source, with a window of some person's visits.

    Args:
        series: of one split; targets lie inside it, history may reach back before it.
        horizon: hours ahead.
        stride: hours between the windows' origins; 24 puts each at midnight.
        blank: leave out a day of history now and then, so that holes are nothing new.
    """

    def __init__(
        self, series: Iterable[ActivitySeries], horizon: int, *, stride: int, blank: bool = False
    ) -> None:
        self._horizon, self._blank = horizon, blank
        self._counts: list[Doubles] = []
        self._gaps: list[tuple[Doubles, Doubles]] = []
        self.windows: list[_CountWindow] = []
        self.gap_windows: list[_GapWindow] = []
        for one in series:
            if one.kind == "counts":
                self._add_counts(one, stride)
            else:
                self._add_gaps(one)

    def __len__(self) -> int:
        return len(self.windows)

    def limit(self, most: int) -> None:
        """Keep at most so many windows of counts, evenly spread."""
        if len(self.windows) > most:
            kept = np.linspace(0, len(self.windows) - 1, most).astype(int)
            self.windows = [self.windows[index] for index in kept]

    def __getitem__(self, key: Key) -> Window:
        row, seed = key
        window = self.windows[row]
        values, at = self._counts[window.series], window.origin
        history = torch.from_numpy(history_before(values, at))
        target = torch.from_numpy(values[at : at + self._horizon].astype(np.float32))
        if self._blank:
            rng = np.random.default_rng(seed)
            if rng.random() < _BLANKED:
                day = int(rng.integers(CONTEXT // _DAY)) * _DAY
                history[day : day + _DAY] = torch.nan
        hour = torch.tensor(window.hour_of_week)
        return history, hour, target, *self._gap(seed if self._blank else row)

    def _gap(self, pick: int) -> tuple[Tensor, Tensor, Tensor]:
        gaps, hours = np.full(GAPS, np.nan, np.float32), np.zeros(GAPS, np.int64)
        if not self.gap_windows:
            return torch.from_numpy(gaps), torch.from_numpy(hours), torch.tensor(np.nan)
        window = self.gap_windows[pick % len(self.gap_windows)]
        values, after = self._gaps[window.series]
        start = max(0, window.end - GAPS)
        count = window.end - start
        gaps[GAPS - count :] = values[start : window.end]
        hours[GAPS - count :] = after[start : window.end].astype(np.int64)
        target = torch.tensor(values[window.end], dtype=torch.float32)
        return torch.from_numpy(gaps), torch.from_numpy(hours), target

    def _add_counts(self, one: ActivitySeries, stride: int) -> None:
        number = len(self._counts)
        self._counts.append(one.values)
        first = max(one.first, CONTEXT_HOURS)
        first += -one.hour_of_day(first) % _DAY if stride == _DAY else 0
        for origin in range(first, one.last - self._horizon + 1, stride):
            known = np.isfinite(one.values[max(0, origin - CONTEXT) : origin]).sum()
            ahead = one.values[origin : origin + self._horizon]
            if known >= _LEAST_KNOWN * CONTEXT_HOURS and np.isfinite(ahead).any():
                self.windows.append(_CountWindow(number, origin, one.hour_of_week(origin)))

    def _add_gaps(self, one: ActivitySeries) -> None:
        number = len(self._gaps)
        self._gaps.append((one.gaps, one.hours_of_week_after_gaps))
        for end in range(max(1, one.first), one.last):
            self.gap_windows.append(_GapWindow(number, end))
