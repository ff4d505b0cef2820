"""When a person is due again: the next gap between visits, and who is overdue.

People are known by their number; nothing here is for reports that are shared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from facecore.analytics.forecasting import measures
from facecore.analytics.forecasting.methods import MIDDLE
from facecore.analytics.forecasting.selection import Choice, MethodScore, choose
from facecore.types import Doubles, Visits
from facecore.zoo.lstm import GAPS, QUANTILES

if TYPE_CHECKING:
    from facecore.zoo.lstm import ActivityLstm

#: Gaps that have to be known before anything is said of a person.
LEAST_GAPS = 5
_JUDGED = 3  # the last gaps of each person are what methods are compared on
_SMOOTHING = 0.3
_SHORTEST_H = 1 / 60

#: Gaps so far and the moments of the visits → quantiles of the next gap, hours, float64 `[5]`.
GapMethod = Callable[[Doubles, Sequence[datetime]], Doubles]


@dataclass(frozen=True, slots=True)
class NextVisit:
    """When a person is due.

    Attributes:
        low, middle, high: 5 %, 50 % and 95 % quantile of the moment, on the wall clock.
        overdue: `high` has passed.
    """

    person: str
    last: datetime
    low: datetime
    middle: datetime
    high: datetime
    overdue: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        found = asdict(self)
        moments = ("last", "low", "middle", "high")
        return {**found, **{name: found[name].isoformat() for name in moments}}


def last_gap(gaps: Doubles, at: Sequence[datetime]) -> Doubles:
    """As long as the gap before; spread as gaps differed from those before them so far."""
    logs = _logs(gaps)
    return _spread(logs[-1], np.diff(logs))


def smoothed(gaps: Doubles, at: Sequence[datetime]) -> Doubles:
    """Simple exponential smoothing of the logarithms (weight 0.3), spread as it erred so far."""
    logs = _logs(gaps)
    level, said = logs[0], []
    for value in logs[1:]:
        said.append(level)
        level = level + _SMOOTHING * (value - level)
    return _spread(level, logs[1:] - np.array(said))


def lstm(network: ActivityLstm) -> GapMethod:
    """The trained network as a method."""
    import torch

    def forecast(gaps: Doubles, at: Sequence[datetime]) -> Doubles:
        known = gaps[-GAPS:]
        given, hours = np.full(GAPS, np.nan, np.float32), np.zeros(GAPS, np.int64)
        given[GAPS - len(known) :] = known
        after = at[1:][-len(known) :]
        hours[GAPS - len(known) :] = [t.weekday() * 24 + t.hour for t in after]
        with torch.inference_mode():
            found = network.next_gap(torch.from_numpy(given)[None], torch.from_numpy(hours)[None])
        quantiles: Doubles = found[0].double().numpy()
        return quantiles

    return forecast


GAP_BASELINES: dict[str, GapMethod] = {"last gap": last_gap, "exponential smoothing": smoothed}


def select_gap_method(
    people: Sequence[Visits], learned: GapMethod | None = None, *, name: str = "LSTM"
) -> Choice:
    """Compare methods on the last gaps of each person; the learned one only if it wins."""
    methods = dict(GAP_BASELINES) | ({} if learned is None else {name: learned})
    left_out: dict[str, str] = {}
    said: dict[str, list[Doubles]] = {method: [] for method in methods}
    truth: list[float] = []
    scales: list[float] = []
    for person in people:
        gaps = person.gaps
        if len(gaps) < LEAST_GAPS + 1:
            left_out[person.person] = f"{len(gaps)} gaps are known; {LEAST_GAPS + 1} are needed"
            continue
        for end in range(max(LEAST_GAPS, len(gaps) - _JUDGED), len(gaps)):
            scale = float(np.abs(np.diff(gaps[:end])).mean())
            if scale == 0:  # as regular as a clock: no error can be scaled by it
                continue
            truth.append(float(gaps[end]))
            scales.append(scale)
            for method, forecast in methods.items():
                said[method].append(forecast(gaps[:end], person.at[: end + 1]))
    scores = [_score(method, said[method], truth, scales) for method in methods]
    ordered = sorted(scores, key=lambda s: (s.mase is None, s.mase or 0.0, s.method))
    chosen = choose(ordered, left_out, None if learned is None else name)
    if chosen.method == "seasonal naive":  # nothing could be compared
        reason = "nobody came often enough to compare methods"
        return Choice("last gap", False, f"{reason}.", chosen.scores, left_out)
    return chosen


def next_visits(people: Sequence[Visits], forecast: GapMethod, now: datetime) -> list[NextVisit]:
    """When each person who came often enough is due, the most overdue first."""
    found = []
    for person in people:
        gaps = person.gaps
        if len(gaps) < LEAST_GAPS:
            continue
        quantiles, last = forecast(gaps, person.at), person.at[-1]
        low, middle, high = (
            last + timedelta(hours=float(quantiles[place])) for place in (0, MIDDLE, -1)
        )
        found.append(NextVisit(person.person, last, low, middle, high, now > high))
    return sorted(found, key=lambda one: (one.high, one.person))


def _score(
    name: str, said: Sequence[Doubles], truth: Sequence[float], scales: Sequence[float]
) -> MethodScore:
    if not said:
        return MethodScore(name, None, None, None, None, 0)
    quantiles, known, scale = np.stack(said), np.array(truth), np.array(scales)
    errors = np.abs(quantiles[:, MIDDLE] - known)
    return MethodScore(
        name,
        float((errors / scale).mean()),
        float(errors.mean()),
        measures.coverage(quantiles[:, 0], quantiles[:, -1], known),
        measures.pinball(quantiles, known),
        len(known),
    )


def _logs(gaps: Doubles) -> Doubles:
    logs: Doubles = np.log(np.maximum(gaps, _SHORTEST_H))
    return logs


def _spread(middle: float, errors: Doubles) -> Doubles:
    spread = np.quantile(errors, QUANTILES) if len(errors) else np.zeros(len(QUANTILES))
    spread[:MIDDLE] = np.minimum(spread[:MIDDLE], 0)
    spread[MIDDLE] = 0.0
    spread[MIDDLE + 1 :] = np.maximum(spread[MIDDLE + 1 :], 0)
    quantiles: Doubles = np.exp(middle + spread)
    return quantiles
