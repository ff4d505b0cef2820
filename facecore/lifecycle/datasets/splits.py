"""Who is in which split. No person is in two.

The split of a person is a hash of the person's name, so it depends on nothing else: it is the
same in every dataset with this seed, and a dataset that grows moves nobody from test to train.
The price is that the shares are met on average only; `require_splits` refuses an empty split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from facecore.errors import UsageError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
# Two people make the first impostor pair.
LEAST_IDENTITIES = 2
_SEEDS_TRIED = 200


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """Shares of the identities; what val and test leave is train.

    Raises:
        UsageError: a share is outside 0..1, or nothing is left for train.
    """

    val: float = 0.1
    test: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.val <= 1 and 0 <= self.test <= 1 and self.val + self.test < 1):
            raise UsageError(
                f"the shares of val ({self.val:g}) and test ({self.test:g}) must be in 0..1 and "
                "leave something for train."
            )

    def of(self, group: str) -> Split:
        """The split of a person, or of another group of rows that must stay together."""
        digest = hashlib.sha256(f"{self.seed}:{group}".encode("utf-8", "surrogatepass")).digest()
        position = int.from_bytes(digest[:8], "big") / 2**64
        if position < self.test:
            return "test"
        return "val" if position < self.test + self.val else "train"

    @property
    def wanted(self) -> tuple[Split, ...]:
        """The splits that must not be empty."""
        shares: tuple[tuple[Split, float], ...] = (("val", self.val), ("test", self.test))
        return ("train", *(split for split, share in shares if share > 0))


def together(pairs: Iterable[tuple[str, str]]) -> Callable[[str], str]:
    """Names that stand for one person → one of them, for all names; others stay themselves."""
    first: dict[str, str] = {}

    def root(name: str) -> str:
        while (above := first.get(name, name)) != name:
            name = above
        return name

    for left, right in pairs:
        a, b = sorted((root(left), root(right)))
        if a != b:
            first[b] = a
    return root


def require_splits(
    identities: Mapping[Split, int],
    plan: SplitPlan,
    *,
    what: str,
    least: int = LEAST_IDENTITIES,
    groups: Iterable[str] | None = None,
) -> None:
    """Refuse a dataset with too few identities for its splits.

    Args:
        identities: per split.
        what: the dataset, for the message.
        least: identities each wanted split needs.
        groups: all of them; with them, the message names a seed that would do.

    Raises:
        UsageError: it names the splits, what they have and what they need.
    """
    short = [split for split in plan.wanted if identities.get(split, 0) < least]
    if not short:
        return
    have = ", ".join(f"{split} {identities.get(split, 0)}" for split in plan.wanted)
    remedy = "Give more people, or other shares (--val, --test; 0 makes no such split)."
    seed = _seed_that_does(set(groups), plan, least) if groups is not None else None
    if seed is not None:
        remedy = f"With --seed {seed} the shares would do. Or: {remedy}"
    raise UsageError(
        f"{what} has too few identities for its splits: each needs at least {least}, "
        f"there are: {have}.",
        remedy=remedy,
    )


def _seed_that_does(groups: set[str], plan: SplitPlan, least: int) -> int | None:
    if len(groups) < least * len(plan.wanted) or len(groups) > 10_000:
        return None
    for seed in range(_SEEDS_TRIED):
        other = SplitPlan(plan.val, plan.test, seed)
        found = [other.of(group) for group in groups]
        if all(found.count(split) >= least for split in plan.wanted):
            return seed
    return None
