"""Scenes of a snapshot as training data, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from facecore.lifecycle.training.augmentation import SceneAugmentation
from facecore.lifecycle.training.sampling import Key
from facecore.types import Floats, Image

Target = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class _Place:
    offset: int
    shape: tuple[int, int, int]


class SceneSplit:
    """Scenes in any order at any time: decoded pixels lie in one file.

    Args:
        scenes: (uint8 `[h, w, 3]`, boxes float32 `[n, 4]`, landmarks float32 `[n, 5, 2]`).
        file: written anew.
        limit: take at most so many.
    """

    def __init__(
        self,
        scenes: Iterable[tuple[Image, Floats, Floats]],
        file: Path,
        *,
        limit: int | None = None,
    ) -> None:
        self.boxes: list[Floats] = []
        self.landmarks: list[Floats] = []
        self._places: list[_Place] = []
        file.parent.mkdir(parents=True, exist_ok=True)
        offset = 0
        with file.open("wb") as out:
            for pixels, boxes, landmarks in islice(scenes, limit):
                out.write(np.ascontiguousarray(pixels).data)
                height, width, channels = pixels.shape
                self._places.append(_Place(offset, (height, width, channels)))
                self.boxes.append(boxes)
                self.landmarks.append(landmarks)
                offset += pixels.size
        self._file = file

    def __len__(self) -> int:
        return len(self._places)

    @property
    def faces(self) -> int:
        """Number of boxes."""
        return sum(map(len, self.boxes))

    def pixels(self, row: int) -> npt.NDArray[np.uint8]:
        """uint8 `[h, w, 3]`, a copy."""
        place = self._places[row]
        count = int(np.prod(place.shape))
        return np.fromfile(self._file, np.uint8, count, offset=place.offset).reshape(place.shape)


class SceneViews(Dataset[tuple[Tensor, Target]]):
    """(row, seed) → a view of that scene, uint8 `[3, h, w]`, and its boxes and landmarks."""

    def __init__(self, split: SceneSplit, augmentation: SceneAugmentation) -> None:
        self._split, self._augmentation = split, augmentation

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, key: Key) -> tuple[Tensor, Target]:
        row, seed = key
        image = torch.from_numpy(self._split.pixels(row)).permute(2, 0, 1).contiguous()
        boxes = torch.from_numpy(self._split.boxes[row].astype(np.float32))
        landmarks = torch.from_numpy(self._split.landmarks[row].astype(np.float32))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            image, boxes, landmarks = self._augmentation(image, boxes, landmarks)
        return image, {"boxes": boxes, "landmarks": landmarks}


def collate(views: Sequence[tuple[Tensor, Target]]) -> tuple[list[Tensor], list[Target]]:
    """Scenes differ in size, so a batch is a list."""
    return [image for image, _ in views], [target for _, target in views]
