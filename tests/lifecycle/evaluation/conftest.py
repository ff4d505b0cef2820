"""Made-up people whose truth is known, and snapshots in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest

from facecore.types import Detections


def unit(vectors):
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / lengths).astype(np.float32)


def make_faces(people=60, images=4, noise=0.1, seed=3, dimension=64):
    """Vectors around one centre per person, with the people's names."""
    rng = np.random.default_rng(seed)
    centres = unit(rng.normal(size=(people, dimension)))
    vectors = unit(
        np.repeat(centres, images, axis=0) + noise * rng.normal(size=(people * images, dimension))
    )
    return vectors, [f"P{number:03d}" for number in range(people) for _ in range(images)]


@dataclass
class MadeFaces:
    """A snapshot of faces whose crops carry their row number, so that an embedder can look up
    the vector."""

    table: pd.DataFrame
    listed: pd.DataFrame | None = None
    labels: tuple[str, ...] = ()
    reference: str = "made@0123456789ab"
    digest: str = "ab" * 32
    pack: int = 100

    def frame(self, split=None):
        return self.table if split in (None, "test") else self.table.iloc[:0]

    def crops_of(self, rows):
        crops = np.zeros((len(rows), 112, 112, 3), np.uint8)
        crops[:, 0, 0, 0], crops[:, 0, 0, 1] = rows // 256, rows % 256
        crops[:, 20:90, 30:80] = (40 + rows % 150)[:, None, None, None]
        return crops

    def packs(self, split=None):
        order = np.random.default_rng(0).permutation(len(self.table))
        for start in range(0, len(order), self.pack):
            rows = order[start : start + self.pack]
            yield rows, self.crops_of(rows)

    def pairs(self, split):
        return self.listed


def lookup(vectors):
    """An embedder that knows the vector of each row."""

    def embed(crops):
        return vectors[crops[:, 0, 0, 0].astype(int) * 256 + crops[:, 0, 0, 1]]

    return embed


@dataclass
class MadeScenes:
    """A snapshot of scenes; image i is filled with i, so that a detector can look it up."""

    truth: list[np.ndarray]
    landmarks: list[np.ndarray]
    sources: list[str]
    labels: tuple[str, ...] = ()
    reference: str = "scenes@0123456789ab"
    digest: str = "cd" * 32

    def frame(self, split=None):
        return pd.DataFrame({"source": self.sources})

    def scenes(self, split=None):
        for number, (boxes, points) in enumerate(zip(self.truth, self.landmarks, strict=True)):
            yield np.full((200, 240, 3), number, np.uint8), boxes, points


@dataclass
class MadeDetector:
    """Finds what it was told to, in batches of whatever size."""

    found: list[Detections]
    batches: list[int] = field(default_factory=list)

    def detect(self, images):
        self.batches.append(len(images))
        return [self.found[int(image[0, 0, 0])] for image in images]


def make_scenes(scenes=40, seed=0, miss=0.15, jitter=0.06, extra=0.4):
    """Scenes, and a detector that misses, jitters and imagines faces."""
    rng = np.random.default_rng(seed)
    truth, landmarks, found = [], [], []
    for _ in range(scenes):
        count = int(rng.integers(0, 4))
        side = rng.choice([12.0, 24.0, 50.0, 90.0], count)
        corner = rng.uniform(0, 100, (count, 2))
        boxes = np.concatenate((corner, corner + side[:, None]), 1).astype(np.float32)
        points = corner[:, None] + side[:, None, None] * np.array(
            [(0.3, 0.35), (0.7, 0.35), (0.5, 0.55), (0.35, 0.75), (0.65, 0.75)]
        )
        points = points.astype(np.float32)
        kept = rng.random(count) >= miss
        moved = boxes + jitter * side[:, None] * rng.normal(size=(count, 4))
        false = int(rng.random() < extra)
        at = rng.uniform(0, 150, (false, 2))
        all_boxes = np.concatenate((moved[kept], np.concatenate((at, at + 20), 1)))
        scores = np.concatenate(
            (rng.uniform(0.5, 1, int(kept.sum())), rng.uniform(0.3, 0.8, false))
        )
        seen = np.concatenate(
            (points[kept] + 0.02 * side[kept][:, None, None], np.zeros((false, 5, 2)))
        )
        order = np.argsort(-scores)
        truth.append(boxes)
        landmarks.append(points)
        found.append(
            Detections(
                all_boxes[order].astype(np.float32),
                scores[order].astype(np.float32),
                seen[order].astype(np.float32),
            )
        )
    sources = ["gate" if number % 2 else "hall" for number in range(scenes)]
    return MadeScenes(truth, landmarks, sources), MadeDetector(found)


def make_snapshot(people=60, images=4, **columns):
    vectors, names = make_faces(people, images)
    rows = len(names)
    rng = np.random.default_rng(5)
    table = pd.DataFrame(
        {
            "identity": names,
            "source": np.where(np.arange(rows) // images % 2, "gate", "hall"),
            "quality": rng.uniform(0.3, 1, rows),
            **columns,
        }
    )
    same = [(i, i + 1, True) for i in range(0, rows - 1, images)]
    other = [(i, (i + images) % rows, False) for i in range(0, rows, images)]
    listed = pd.DataFrame([*same, *other], columns=["left", "right", "same"])
    return MadeFaces(table, listed), vectors


@pytest.fixture(scope="session")
def faces():
    """(vectors, names) of 60 people with four images each."""
    return make_faces()


@pytest.fixture(scope="session")
def snapshot():
    """(snapshot, vectors)."""
    return make_snapshot()


@pytest.fixture(scope="session")
def embed():
    return lookup


@pytest.fixture(scope="session")
def people():
    """The maker of faces."""
    return make_faces


@pytest.fixture(scope="session")
def snapshots():
    """The maker of snapshots of faces."""
    return make_snapshot


@pytest.fixture(scope="session")
def scenes():
    """The maker of scenes with a detector."""
    return make_scenes


@pytest.fixture(scope="session")
def evaluated(snapshot):
    """A good and a worse embedder, evaluated on the same snapshot."""
    from facecore.lifecycle.evaluation import evaluate_embedder

    made, vectors = snapshot
    noise = np.random.default_rng(9).normal(size=vectors.shape)
    worse = unit(vectors + 0.11 * noise)
    return tuple(
        evaluate_embedder(lookup(found), made, model=name, contract="c" * 64)
        for name, found in (("face-embedder/1", vectors), ("face-embedder/2", worse))
    )


@pytest.fixture(scope="session")
def embedder_plots(evaluated):
    """Plots of the worse embedder beside the good one."""
    from facecore.lifecycle.evaluation import draw_plots

    return draw_plots(evaluated[1], evaluated[0])


@pytest.fixture(scope="session")
def detected():
    """A good and a worse detector, evaluated on the same scenes."""
    from facecore.lifecycle.evaluation import evaluate_detector

    made, good = make_scenes(miss=0.05, extra=0.2)
    _, bad = make_scenes(miss=0.4, extra=0.6)
    return tuple(
        evaluate_detector(one, made, model=name)
        for name, one in (("face-detector/1", good), ("face-detector/2", bad))
    )
