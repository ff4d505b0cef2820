"""Exact intervals for error rates, and what a number of trials can support.

An error rate measured on few trials is a guess: with no error in n trials the true rate can
still be up to about 3/n (the "rule of three", 95 %; Hanley & Lippman-Hand, JAMA 1983). facecore
therefore never states a rate below 3/n.
"""

from __future__ import annotations

from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Proportion:
    """`count` of `trials`, with its Clopper-Pearson interval (exact, 95 %)."""

    count: int
    trials: int
    value: float
    low: float
    high: float


def proportion(count: int, trials: int) -> Proportion:
    """A rate with its exact binomial interval; trials are taken as independent.

    Raises:
        ValueError: `count` is not within 0..`trials`, or there are no trials.

    >>> p = proportion(0, 1000)
    >>> round(p.low, 4), round(p.high, 4)
    (0.0, 0.0037)
    """
    from scipy.stats import beta  # type: ignore[import-untyped]

    if not 0 <= count <= trials or trials < 1:
        raise ValueError(f"{count} of {trials} is not a proportion")
    tail = (1.0 - CONFIDENCE) / 2
    low = float(beta.ppf(tail, count, trials - count + 1)) if count else 0.0
    high = float(beta.ppf(1 - tail, count + 1, trials - count)) if count < trials else 1.0
    return Proportion(count, trials, count / trials, low, high)


def supported_rate(trials: int) -> float:
    """The lowest error rate that `trials` comparisons can support: 3/trials, at most 1.

    >>> supported_rate(3000)
    0.001
    """
    return min(1.0, 3.0 / trials) if trials > 0 else 1.0
