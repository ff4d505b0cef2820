"""Which method forecasts: all of them on the same past days, and the best is used.

A learned model is used only where it wins: a lower error than every baseline, intervals that
cover what they promise, and no worse spread. Else the best baseline is used, and the choice says
why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from facecore.analytics.forecasting import measures
from facecore.analytics.forecasting.methods import (
    BASELINES,
    LEAST_HISTORY,
    MIDDLE,
    Method,
    known_hours,
)
from facecore.types import Doubles, HourlyCounts

DAY = 24
#: The widest interval promises so much.
NOMINAL = 0.9
#: An interval may cover so much less before it is not what it promises.
TOLERANCE = 0.05
BACKTEST_DAYS = 14


@dataclass(frozen=True, slots=True)
class MethodScore:
    """A method on all sources and days of a backtest.

    Attributes:
        mase: mean over sources, each by its own scale; None where no source has a scale.
        error: mean absolute error in counts an hour.
        coverage: of the 90 % intervals.
        pinball: of all quantiles, in counts.
        forecasts: hours that were forecast and came to be known.
    """

    method: str
    mase: float | None
    error: float | None
    coverage: float | None
    pinball: float | None
    forecasts: int


@dataclass(frozen=True, slots=True)
class Choice:
    """The method that is used.

    Attributes:
        method: its name; "seasonal naive" where nothing could be compared.
        learned: whether it is the learned model.
        reason: one sentence, for people.
        scores: of all methods, best first.
        left_out: source → why it took no part.
    """

    method: str
    learned: bool
    reason: str
    scores: tuple[MethodScore, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            **asdict(self),
            "scores": [asdict(score) for score in self.scores],
            "left_out": dict(self.left_out),
        }


def origins(series: HourlyCounts, days: int, end: int) -> list[int]:
    """Midnights of the last whole days before hour `end`, oldest first."""
    last = end - (series.at(end).hour if end else 0)
    found = [last - DAY * back for back in range(days, 0, -1)]
    return [origin for origin in found if origin > 0]


def backtest(
    series: Sequence[HourlyCounts],
    methods: Mapping[str, Method],
    *,
    days: int = BACKTEST_DAYS,
    horizon: int = DAY,
) -> tuple[tuple[MethodScore, ...], dict[str, str]]:
    """Forecast each of the last days from the day before, by every method; best first.

    Returns:
        Scores, and source → why it took no part.
    """
    left_out: dict[str, str] = {}
    per_method: dict[str, list[tuple[Doubles, Doubles, float | None]]] = {n: [] for n in methods}
    for one in series:
        starts = [
            origin
            for origin in origins(one, days, len(one))
            if known_hours(one, origin) >= LEAST_HISTORY
            and np.isfinite(one.counts[origin : origin + horizon]).any()
        ]
        if not starts:
            known = known_hours(one, len(one)) // DAY
            left_out[one.source] = (
                f"{known} days are known; a comparison needs {LEAST_HISTORY // DAY} before a day "
                "that is forecast"
            )
            continue
        scale = measures.seasonal_scale(one.counts[: starts[0]])
        truth = np.concatenate([one.counts[o : o + horizon] for o in starts])
        for name, method in methods.items():
            said = [method(one, o, horizon)[: len(one) - o] for o in starts]
            per_method[name].append((np.concatenate(said), truth, scale))
    scores = [_score(name, found) for name, found in per_method.items()]
    return tuple(sorted(scores, key=_order)), left_out


def choose(
    scores: Sequence[MethodScore], left_out: Mapping[str, str], learned: str | None = None
) -> Choice:
    """The method to use: see the module.

    Args:
        scores: as `backtest` gives them; may be empty.
        learned: name of the learned model among them; None: there is none.
    """
    judged = [score for score in scores if score.forecasts]
    baselines = [score for score in judged if score.method != learned]
    if not baselines:
        reason = "no source is known for long enough to compare methods"
        return Choice("seasonal naive", False, f"{reason}.", tuple(scores), left_out)
    best = baselines[0]
    own = next((score for score in judged if score.method == learned), None)
    if own is None:
        why = "there is no learned model in use" if learned is None else f"{learned} said nothing"
        reason = f"{why}; {best.method} has the lowest error of the baselines"
        return Choice(best.method, False, f"{reason}.", tuple(scores), left_out)
    faults = _faults(own, best)
    if faults:
        reason = f"{best.method} is used, because the learned model {' and '.join(faults)}"
        return Choice(best.method, False, f"{reason}.", tuple(scores), left_out)
    reason = (
        f"the learned model has the lowest error ({_said(own)} against {_said(best)} of "
        f"{best.method}) and its intervals cover {own.coverage:.0%} of what came"
    )
    return Choice(own.method, True, f"{reason}.", tuple(scores), left_out)


def select(
    series: Sequence[HourlyCounts],
    learned: Method | None = None,
    *,
    name: str = "LSTM",
    days: int = BACKTEST_DAYS,
) -> Choice:
    """Compare the learned model, if there is one, with the baselines on these series."""
    methods = dict(BASELINES)
    if learned is not None:
        methods[name] = learned
    scores, left_out = backtest(series, methods, days=days)
    return choose(scores, left_out, None if learned is None else name)


def _score(name: str, found: Sequence[tuple[Doubles, Doubles, float | None]]) -> MethodScore:
    if not found:
        return MethodScore(name, None, None, None, None, 0)
    scaled = [measures.mase(q[:, MIDDLE], truth, scale) for q, truth, scale in found]
    known = [value for value in scaled if value is not None]
    quantiles = np.concatenate([q for q, _, _ in found])
    truth = np.concatenate([t for _, t, _ in found])
    return MethodScore(
        name,
        float(np.mean(known)) if known else None,
        measures.absolute_error(quantiles[:, MIDDLE], truth),
        measures.coverage(quantiles[:, 0], quantiles[:, -1], truth),
        measures.pinball(quantiles, truth),
        int(np.isfinite(truth).sum()),
    )


def _order(score: MethodScore) -> tuple[bool, float, float, str]:
    """By MASE; where no source has a scale, by the error in counts."""
    value = score.mase if score.mase is not None else score.error
    return (
        value is None,
        value if value is not None else 0.0,
        score.pinball if score.pinball is not None else 0.0,
        score.method,
    )


def _faults(own: MethodScore, best: MethodScore) -> list[str]:
    """Why the learned model does not win."""
    found = []
    if _order(own)[:2] >= _order(best)[:2]:
        found.append(f"has no lower error ({_said(own)} against {_said(best)})")
    if own.coverage is not None and own.coverage < NOMINAL - TOLERANCE:
        found.append(f"covers only {own.coverage:.0%} by its {NOMINAL:.0%} intervals")
    if own.pinball is not None and best.pinball is not None and own.pinball > best.pinball:
        found.append(f"has worse quantiles (pinball {own.pinball:.3f} against {best.pinball:.3f})")
    return found


def _said(score: MethodScore) -> str:
    if score.mase is not None:
        return f"MASE {score.mase:.3f}"
    return "no error" if score.error is None else f"error {score.error:.3f}"
