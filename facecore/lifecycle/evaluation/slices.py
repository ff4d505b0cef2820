"""Error rates of groups of faces at the one threshold that everybody is judged by.

A group's false-match rate counts comparisons of different people who are both in the group,
its false-non-match rate comparisons of one person's images that both are. Comparisons across
groups belong to none; how many genuine ones there are is stated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from facecore.errors import UsageError
from facecore.lifecycle.evaluate import impostor_scores
from facecore.lifecycle.evaluation.face_scores import FaceScores
from facecore.lifecycle.intervals import Proportion, proportion, supported_rate

if TYPE_CHECKING:
    import pandas as pd

# Thousands of comparisons among three people are three people.
FEWEST_PEOPLE = 10
UNKNOWN = "unknown"
_MOST_SLICES = 12
_BANDS = ("low", "middle", "high")
_ORDER = {"low": 1, "medium": 2, "middle": 2, "high": 3, "unknown": 4}


@dataclass(frozen=True, slots=True)
class Slice:
    """One group; a rate is None where nothing of its kind was compared."""

    value: str
    images: int
    people: int
    fmr: Proportion | None
    fnmr: Proportion | None


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times the worst group's rate exceeds the best one's.

    Only groups take part whose counts support a statement: at least `FEWEST_PEOPLE` people,
    and enough comparisons that the rate of all faces could be seen (rule of three). A best
    rate below what its count supports counts as that.

    Attributes:
        value: None with fewer than two such groups; `note` says why.
        distinct: the intervals of the two rates do not overlap.
        compared: the groups that took part.
    """

    value: float | None
    worst: str = ""
    best: str = ""
    distinct: bool = False
    compared: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class SliceReport:
    """All groups of one metadata column.

    Attributes:
        fmr, fnmr: of all faces, at the same threshold.
        across: genuine comparisons whose images are in two groups.
    """

    column: str
    threshold: float
    fmr: Proportion
    fnmr: Proportion
    slices: tuple[Slice, ...]
    across: int
    fmr_ratio: Ratio
    fnmr_ratio: Ratio


def slice_report(
    scores: FaceScores, groups: Sequence[str], threshold: float, column: str
) -> SliceReport:
    """Error rates per group.

    Args:
        groups: the group of each row of `scores.vectors`.
        threshold: cosine similarity; the same for every group.

    Raises:
        UsageError: not one group per face.
    """
    labels = np.array(groups, dtype=object)
    if len(labels) != len(scores.vectors):
        raise UsageError(f"{len(labels)} groups of {column!r} for {len(scores.vectors)} faces.")
    limit = np.float32(threshold)
    left, right = labels[scores.genuine_left], labels[scores.genuine_right]
    missed = scores.genuine.scores < limit
    slices = []
    for value in sorted(set(labels[scores.people >= 0].tolist()), key=in_order):
        members = (labels == value) & (scores.people >= 0)
        among = impostor_scores(scores.vectors[members], scores.people[members], scores.doubles)
        own = (left == value) & (right == value)
        slices.append(
            Slice(
                value=value,
                images=int(members.sum()),
                people=len(np.unique(scores.people[members])),
                fmr=proportion(among.accepted(threshold), among.total) if among.total else None,
                fnmr=proportion(int(missed[own].sum()), int(own.sum())) if own.any() else None,
            )
        )
    fmr = proportion(scores.impostors.accepted(threshold), scores.impostors.total)
    fnmr = proportion(int(missed.sum()), len(missed))
    return SliceReport(
        column=column,
        threshold=threshold,
        fmr=fmr,
        fnmr=fnmr,
        slices=tuple(slices),
        across=int((left != right).sum()),
        fmr_ratio=rate_ratio([(s.value, s.people, s.fmr) for s in slices], fmr.value),
        fnmr_ratio=rate_ratio([(s.value, s.people, s.fnmr) for s in slices], fnmr.value),
    )


def groups_of(frame: pd.DataFrame, column: str) -> list[str]:
    """The group of each row of a manifest, as text.

    Numbers become three bands of equal count, with their bounds in the name. Of many different
    values the rare ones are put together.

    Raises:
        UsageError: the manifest has no such column; the message lists those it has.
    """
    import pandas as pd

    if column not in frame.columns:
        raise UsageError(
            f"the data set has no column {column!r} to slice by.",
            remedy=f"Its columns are: {', '.join(map(str, frame.columns))}.",
        )
    values = frame[column]
    if pd.api.types.is_bool_dtype(values) or not pd.api.types.is_numeric_dtype(values):
        named = [UNKNOWN if pd.isna(v) or str(v) == "" else str(v) for v in values.tolist()]
        return _largest(named)
    return _banded(values.to_numpy(np.float64, na_value=np.nan))


def in_order(value: str) -> tuple[int, str]:
    """Sorting key of groups: bands from low to high, what is unknown last, others by name."""
    first = value.split(" ", 1)[0]
    return _ORDER.get(first, 0), value


def rate_ratio(
    rates: Sequence[tuple[str, int, Proportion | None]],
    overall: float,
    *,
    fewest: int = FEWEST_PEOPLE,
    unit: str = "people",
) -> Ratio:
    """Worst over best rate of groups, as far as their counts support it; see `Ratio`.

    Args:
        rates: name, size and rate of each group.
        overall: the rate of all together.
        fewest: the smallest group that takes part, in `unit`.
    """
    compared = [
        (name, rate)
        for name, size, rate in rates
        if rate is not None and size >= fewest and supported_rate(rate.trials) <= overall
    ]
    names = tuple(name for name, _ in compared)
    if len(compared) < 2:
        note = (
            f"{len(compared)} of {len(rates)} groups have enough {unit} ({fewest}) and "
            f"trials to state a rate of {overall:.1e}"
        )
        return Ratio(None, compared=names, note=note)
    worst = max(compared, key=lambda item: item[1].value)
    best = min(compared, key=lambda item: item[1].value)
    floor = max(best[1].value, supported_rate(best[1].trials))
    return Ratio(
        value=max(worst[1].value / floor, 1.0),
        worst=worst[0],
        best=best[0],
        distinct=worst[1].low > best[1].high,
        compared=names,
    )


def _banded(values: npt.NDArray[np.float64]) -> list[str]:
    finite = values[np.isfinite(values)]
    distinct = np.unique(finite)
    if len(distinct) <= len(_BANDS):
        return [f"{value:g}" if np.isfinite(value) else UNKNOWN for value in values.tolist()]
    low, high = np.quantile(finite, [1 / 3, 2 / 3]).tolist()
    names = (
        f"{_BANDS[0]} (below {low:.3g})",
        f"{_BANDS[1]} ({low:.3g} to {high:.3g})",
        f"{_BANDS[2]} (from {high:.3g})",
    )
    which = np.searchsorted([low, high], values, side="right")
    known = np.isfinite(values).tolist()
    return [names[i] if ok else UNKNOWN for i, ok in zip(which.tolist(), known, strict=True)]


def _largest(named: list[str]) -> list[str]:
    distinct, counts = np.unique(np.array(named, dtype=str), return_counts=True)
    if len(distinct) <= _MOST_SLICES:
        return named
    kept = set(distinct[np.argsort(-counts, kind="stable")[: _MOST_SLICES - 1]].tolist())
    others = f"{len(distinct) - len(kept):,} others"
    return [name if name in kept else others for name in named]
