"""Crops of a snapshot as training data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from facecore.lifecycle.training.augmentation import Transform
from facecore.lifecycle.training.sampling import Key, members_of, verification_pairs
from facecore.types import CROP_SIZE

if TYPE_CHECKING:
    from facecore.lifecycle.datasets.snapshot import Snapshot
    from facecore.lifecycle.datasets.splits import Split


@dataclass(frozen=True, slots=True)
class FaceSplit:
    """One split: who is on which crop.

    Attributes:
        crops: uint8 `[n, 112, 112, 3]` RGB.
        labels: int64 `[n]`, 0..len(identities)-1; -1 where unknown.
        identities: names, sorted.
    """

    crops: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    identities: tuple[str, ...]

    @classmethod
    def of(cls, crops: npt.NDArray[np.uint8], identities: Sequence[str | None]) -> FaceSplit:
        """Labels from names."""
        names = tuple(sorted({name for name in identities if name is not None}))
        number = {name: index for index, name in enumerate(names)}
        labels = np.array([-1 if name is None else number[name] for name in identities], np.int64)
        return cls(crops, labels, names)

    @classmethod
    def load(
        cls, snapshot: Snapshot, split: Split, file: Path, *, labelled: bool = False
    ) -> FaceSplit:
        """A split of a snapshot. Pixels are kept in `file` and mapped, so that a data set may be
        larger than memory.

        Args:
            labelled: only the crops whose identity is known.

        Raises:
            SnapshotDamaged: an object is missing or altered.
        """
        identities = snapshot.frame(split)["identity"]
        names = [name if isinstance(name, str) else None for name in identities]
        wanted = np.array([not labelled or name is not None for name in names], np.bool_)
        names = [name for name, kept in zip(names, wanted, strict=True) if kept]
        shape = (len(names), CROP_SIZE, CROP_SIZE, 3)
        if not names:
            return cls.of(np.zeros(shape, np.uint8), [])
        file.parent.mkdir(parents=True, exist_ok=True)
        crops = np.memmap(file, np.uint8, "w+", shape=shape)
        place = np.cumsum(wanted) - 1
        for rows, pixels in snapshot.packs(split):
            kept = wanted[rows]
            crops[place[rows][kept]] = pixels[kept]
        return cls.of(crops, names)

    def __len__(self) -> int:
        return len(self.crops)

    def limited(self, limit: int, *, seed: int) -> FaceSplit:
        """At most about `limit` crops: whole identities by lot, so that pairs remain."""
        if len(self) <= limit:
            return self
        rng = np.random.default_rng(seed)
        groups = [*members_of(self.labels), *np.flatnonzero(self.labels < 0)[:, None]]
        rows: list[int] = []
        for index in rng.permutation(len(groups)):
            if len(rows) + len(groups[index]) <= limit:
                rows.extend(int(row) for row in groups[index])
        kept = np.sort(np.array(rows, np.int64))
        names = [None if label < 0 else self.identities[label] for label in self.labels[kept]]
        return FaceSplit.of(self.crops[kept], names)

    def repeated_identities(self) -> int:
        """How many identities have at least two crops."""
        return len(members_of(self.labels, at_least=2))

    def pairs(
        self, *, limit: int, seed: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """See `verification_pairs`."""
        return verification_pairs(self.labels, limit=limit, seed=seed)


class FaceViews(Dataset[tuple[Tensor, int]]):
    """(row, seed) → a view of that crop, uint8 `[3, 112, 112]`, and its label."""

    def __init__(self, split: FaceSplit, transform: Transform) -> None:
        self._split, self._transform = split, transform

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        row, seed = key
        crop = torch.from_numpy(np.ascontiguousarray(self._split.crops[row])).permute(2, 0, 1)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            view = self._transform(crop)
        return view, int(self._split.labels[row])
