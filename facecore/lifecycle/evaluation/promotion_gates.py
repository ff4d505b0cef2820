"""What must hold before a person is asked whether a challenger becomes the champion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from facecore.errors import UsageError
from facecore.lifecycle.evaluation.comparison import Comparison, Evaluation, compare
from facecore.lifecycle.evaluation.cost import Cost
from facecore.lifecycle.evaluation.embedder_evaluation import EmbedderEvaluation
from facecore.lifecycle.evaluation.slices import Ratio


@dataclass(frozen=True, slots=True)
class GateLimits:
    """How much worse a challenger may be.

    Attributes:
        accuracy_margin: the primary accuracy (see `compare`) may be lower by at most this.
        fmr_ratio, fnmr_ratio: the worst group's error rate may be at most so many times the
            best group's, for every column of slices. `fnmr_ratio` also limits the share of
            faces that a detector misses.
        slowdown: the challenger may be at most so many times slower than the champion; None:
            any.

    Raises:
        UsageError: a limit that cannot be met or means nothing.
    """

    accuracy_margin: float = 0.01
    fmr_ratio: float = 10.0
    fnmr_ratio: float = 5.0
    slowdown: float | None = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.accuracy_margin <= 1:
            raise UsageError(f"an accuracy margin lies in 0..1, not {self.accuracy_margin}.")
        for name in ("fmr_ratio", "fnmr_ratio", "slowdown"):
            value = getattr(self, name)
            if value is not None and not value >= 1:
                raise UsageError(f"the limit {name} is a ratio of at least 1, not {value}.")


@dataclass(frozen=True, slots=True)
class GateResult:
    """One gate.

    Attributes:
        name: accuracy, fairness (with column and rate) or latency.
        value: what was measured; None where nothing could be.
        limit: what it is held against; None where the gate is switched off.
        passed: False blocks the promotion.
        reason: one sentence for the reviewer.
    """

    name: str
    value: float | None
    limit: float | None
    passed: bool
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def gates(
    challenger: Evaluation,
    champion: Evaluation | None,
    limits: GateLimits | None = None,
    *,
    comparison: Comparison | None = None,
    cost: Cost | None = None,
) -> list[GateResult]:
    """Judge a challenger; without a champion only fairness can be.

    Args:
        comparison: of the same two evaluations; made here otherwise.

    Raises:
        UsageError: the two evaluations cannot be compared (see `compare`).
    """
    held = limits or GateLimits()
    found = []
    if champion is not None:
        found.append(_accuracy(comparison or compare(champion, challenger), held))
    found += _fairness(challenger, held)
    if cost is not None and cost.speed_ratio is not None:
        found.append(_latency(cost, cost.speed_ratio, held))
    return found


def passed(results: Sequence[GateResult]) -> bool:
    """Whether nothing blocks."""
    return all(result.passed for result in results)


def _accuracy(comparison: Comparison, limits: GateLimits) -> GateResult:
    found = comparison.primary
    worst = found.gain
    spread = f"95 % interval {found.difference.low:+.4f} to {found.difference.high:+.4f}"
    reason = (
        f"{found.measure}: {found.challenger:.4f} against the champion's {found.champion:.4f}, "
        f"{found.difference.value:+.4f} ({spread}, same {comparison.resampled} drawn for both)"
    )
    ok = worst >= -limits.accuracy_margin
    if ok and found.difference.low < -limits.accuracy_margin:
        reason += "; the data do not exclude a loss beyond the margin"
    return GateResult("accuracy", worst, -limits.accuracy_margin, ok, reason + ".")


def _fairness(challenger: Evaluation, limits: GateLimits) -> list[GateResult]:
    if isinstance(challenger, EmbedderEvaluation):
        rows = [
            (f"fairness: {kind} by {report.column}", kind, ratio, limit)
            for report in challenger.slices
            for kind, ratio, limit in (
                ("FMR", report.fmr_ratio, limits.fmr_ratio),
                ("FNMR", report.fnmr_ratio, limits.fnmr_ratio),
            )
        ]
    else:
        rows = [
            (
                f"fairness: missed faces by {report.column}",
                "miss rate",
                report.missed_ratio,
                limits.fnmr_ratio,
            )
            for report in challenger.slices
        ]
    return [_ratio(name, kind, ratio, limit) for name, kind, ratio, limit in rows]


def _ratio(name: str, kind: str, ratio: Ratio, limit: float) -> GateResult:
    if ratio.value is None:
        reason = f"no statement: {ratio.note}."
        return GateResult(name, None, limit, True, reason)
    reason = (
        f"the {kind} of {ratio.worst} is {ratio.value:.1f} times that of {ratio.best} "
        f"(among {len(ratio.compared)} groups with enough data)"
    )
    above = ratio.value > limit
    if above and not ratio.distinct:
        reason += "; their 95 % intervals overlap, so the counts do not support blocking"
    return GateResult(name, ratio.value, limit, not (above and ratio.distinct), reason + ".")


def _latency(cost: Cost, ratio: float, limits: GateLimits) -> GateResult:
    assert cost.champion is not None  # noqa: S101 (there is a ratio)
    slower = 1 / ratio
    reason = (
        f"{cost.challenger.per_second:,.0f} a second against {cost.champion.per_second:,.0f}: "
        f"{slower:.2f} times the champion's time on {cost.device}, measured in {cost.rounds} "
        "alternating rounds."
    )
    ok = limits.slowdown is None or slower <= limits.slowdown
    return GateResult("latency", slower, limits.slowdown, ok, reason)
