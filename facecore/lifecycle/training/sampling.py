"""Which pictures make a batch: seeded by run and epoch, split between devices.

A sampler gives keys, (row, seed) pairs. The seed decides the row's augmented view, so a view
does not depend on which process makes it, nor on whether the run was interrupted before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

Key = tuple[int, int]
_SEEDS = 2**62


class EpochSampler(Sampler[list[Key]]):
    """Batches of one epoch. Subclasses say which rows form them.

    Args:
        rows: number of rows to draw from.
        batch_size: rows per batch and device.
        batches: per epoch and device; None goes once through the data.
        rank, world_size: this device and how many there are; each gets its own batches.
    """

    def __init__(
        self,
        rows: int,
        batch_size: int,
        *,
        seed: int,
        batches: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.rows, self.batch_size, self.seed = rows, min(batch_size, rows), seed
        self.rank, self.world_size = rank, world_size
        self.batches = batches or max(1, rows // (self.batch_size * world_size))
        self.epoch = 0

    @property
    def sampler(self) -> EpochSampler:
        """Lightning tells the epoch to a batch sampler's `sampler`; here they are one."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[Key]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        for index, rows in enumerate(self._batches(rng, self.batches * self.world_size)):
            seeds = rng.integers(0, _SEEDS, len(rows))
            if index % self.world_size == self.rank:
                yield [(int(row), int(seed)) for row, seed in zip(rows, seeds, strict=True)]

    def _batches(self, rng: np.random.Generator, count: int) -> Iterator[npt.NDArray[np.int64]]:
        """`count` batches of rows: shuffled, and shuffled anew when all were seen."""
        waiting = np.zeros(0, np.int64)
        for _ in range(count):
            if len(waiting) < self.batch_size:
                waiting = np.concatenate((waiting, rng.permutation(self.rows)))
            yield waiting[: self.batch_size]
            waiting = waiting[self.batch_size :]


class IdentitySampler(EpochSampler):
    """P identities × K pictures of each: what mining of triplets and pairs needs.

    Identities with fewer than two pictures take no part. One with fewer than K gives some
    pictures twice (as different views).

    Args:
        labels: int `[rows]`, the identity of each row; below 0 for none.
        per_identity: K; P is `batch_size // per_identity`.
    """

    def __init__(
        self,
        labels: npt.NDArray[np.int64],
        batch_size: int,
        per_identity: int,
        *,
        seed: int,
        batches: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(
            len(labels), batch_size, seed=seed, batches=batches, rank=rank, world_size=world_size
        )
        self.members = members_of(labels, at_least=2)
        self.per_identity = per_identity
        self.identities = max(2, min(batch_size // per_identity, len(self.members)))
        if batches is None:
            usable = sum(map(len, self.members))
            self.batches = max(1, usable // (self.identities * per_identity * world_size))

    def _batches(self, rng: np.random.Generator, count: int) -> Iterator[npt.NDArray[np.int64]]:
        waiting: list[int] = []
        for _ in range(count):
            chosen: list[int] = []
            while len(chosen) < self.identities:
                if not waiting:
                    waiting = [int(i) for i in rng.permutation(len(self.members))]
                candidate = waiting.pop()
                # Only where two shuffles meet can an identity come twice.
                if candidate not in chosen:
                    chosen.append(candidate)
            yield np.concatenate([self._pictures(rng, self.members[i]) for i in chosen])

    def _pictures(
        self, rng: np.random.Generator, rows: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        taken = rng.permutation(rows)[: self.per_identity]
        return np.resize(taken, self.per_identity)


def members_of(labels: npt.NDArray[np.int64], *, at_least: int = 1) -> list[npt.NDArray[np.int64]]:
    """Rows of each identity that has at least so many, in the order of the labels."""
    order = np.argsort(labels, kind="stable")
    order = order[labels[order] >= 0]
    edges = np.flatnonzero(np.diff(labels[order])) + 1
    return [rows for rows in np.split(order, edges) if len(rows) >= at_least]


def seed_of(*parts: object) -> int:
    """A seed from names and numbers, the same on every machine."""
    text = "\0".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "little")


def verification_pairs(
    labels: Sequence[int] | npt.NDArray[np.int64], *, limit: int, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Rows (left, right) and whether they are one person: up to `limit` of either kind."""
    known = np.asarray(labels, np.int64)
    rng = np.random.default_rng(seed)
    genuine = [
        (int(a), int(b))
        for rows in members_of(known, at_least=2)
        for i, a in enumerate(rows)
        for b in rows[i + 1 :]
    ]
    if len(genuine) > limit:
        genuine = [genuine[i] for i in np.sort(rng.choice(len(genuine), limit, replace=False))]
    labelled = np.flatnonzero(known >= 0)
    impostors: set[tuple[int, int]] = set()
    if len(np.unique(known[labelled])) > 1:
        for _ in range(50 * max(1, len(genuine))):
            a, b = (int(i) for i in rng.choice(labelled, 2, replace=False))
            if known[a] != known[b]:
                impostors.add((min(a, b), max(a, b)))
            if len(impostors) >= max(len(genuine), 1):
                break
    pairs = np.array([*genuine, *sorted(impostors)], np.int64).reshape(-1, 2)
    same = np.arange(len(pairs)) < len(genuine)
    return pairs[:, 0], pairs[:, 1], same
