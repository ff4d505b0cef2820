"""Error versus discard: does a quality score know which faces will not be recognised?

The genuine comparisons are ordered by the lower quality of their two faces. Leaving out the
worst should lower the false-non-match rate at the fixed threshold, the more the better the
quality score (Grother & Tabassi, *Performance of biometric quality measures*, PAMI 2007).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facecore.errors import UsageError
from facecore.lifecycle.intervals import Proportion, proportion
from facecore.types import Floats

SHARES = tuple(round(0.02 * step, 2) for step in range(26))  # up to a half
_AREA_TO = 0.2


@dataclass(frozen=True, slots=True)
class DiscardPoint:
    """The rate of what is left after the lowest-quality `share` is discarded."""

    share: float
    fnmr: Proportion
    ideal: float


@dataclass(frozen=True, slots=True)
class DiscardCurve:
    """Error versus discard at one threshold.

    Attributes:
        quality: what the quality is.
        points: rising shares. `ideal` is the rate if exactly the misses were discarded first.
        relative_area: mean rate over the first fifth discarded, relative to the rate with
            nothing discarded: 1 is a quality score that knows nothing, 0 the best; None
            without any miss.
    """

    quality: str
    threshold: float
    points: tuple[DiscardPoint, ...]
    relative_area: float | None


def discard_curve(
    genuine: Floats, quality: npt.NDArray[np.floating], threshold: float, *, name: str
) -> DiscardCurve:
    """Judge a quality score.

    Args:
        genuine: float32 `[n]`, scores of genuine comparisons.
        quality: `[n]`, of each comparison: the lower of its two faces.
        threshold: cosine similarity needed to accept.
        name: what the quality is, for the record.

    Raises:
        UsageError: no comparison, or not one finite quality for each.
    """
    if not len(genuine) or len(quality) != len(genuine) or not np.isfinite(quality).all():
        raise UsageError(f"{len(genuine)} genuine comparisons need as many finite qualities.")
    missed = genuine < np.float32(threshold)
    ordered = missed[np.argsort(quality, kind="stable")]
    remaining = np.concatenate((np.cumsum(ordered[::-1])[::-1], [0]))
    total, misses = len(genuine), int(missed.sum())
    points = []
    for share in SHARES:
        discarded = min(int(share * total), total - 1)
        kept = total - discarded
        points.append(
            DiscardPoint(
                share=share,
                fnmr=proportion(int(remaining[discarded]), kept),
                ideal=max(misses - discarded, 0) / kept,
            )
        )
    first_fifth = [point.fnmr.value for point in points if point.share <= _AREA_TO]
    area = float(np.mean(first_fifth)) / points[0].fnmr.value if misses else None
    return DiscardCurve(name, threshold, tuple(points), area)
