"""Batches: who is in them, the same for the same seed, shared out between devices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from facecore.lifecycle.datasets.snapshot import Snapshot
from facecore.lifecycle.training import augmentation
from facecore.lifecycle.training.augmentation import SceneAugmentation, for_crops
from facecore.lifecycle.training.faces import FaceSplit, FaceViews
from facecore.lifecycle.training.plan import AUGMENTATIONS, TrainingPlan
from facecore.lifecycle.training.preparation import prepare
from facecore.lifecycle.training.sampling import (
    EpochSampler,
    IdentitySampler,
    verification_pairs,
)
from facecore.stores.objects import ObjectStore

LABELS = np.array([0] * 5 + [1] * 3 + [2] * 4 + [3] + [-1] * 2)


def rows(sampler: EpochSampler) -> list[list[int]]:
    return [[row for row, _ in batch] for batch in sampler]


def test_an_epoch_shows_each_row_once() -> None:
    sampler = EpochSampler(12, 4, seed=1)
    assert len(sampler) == 3
    assert sorted(row for batch in rows(sampler) for row in batch) == list(range(12))
    first = list(sampler)
    assert first == list(EpochSampler(12, 4, seed=1))
    assert first != list(EpochSampler(12, 4, seed=2))
    sampler.set_epoch(1)
    assert list(sampler) != first


def test_few_rows_make_one_smaller_batch_and_more_batches_can_be_asked_for() -> None:
    assert [len(batch) for batch in EpochSampler(3, 8, seed=0)] == [3]
    many = rows(EpochSampler(6, 4, seed=0, batches=5))
    assert [len(batch) for batch in many] == [4] * 5
    assert max(Counter(row for batch in many for row in batch).values()) <= 5


def test_devices_share_the_batches_of_one_epoch() -> None:
    shares = [list(EpochSampler(16, 4, seed=3, rank=r, world_size=2)) for r in (0, 1)]
    assert [len(share) for share in shares] == [2, 2]
    seen = [row for share in shares for batch in share for row, _ in batch]
    assert sorted(seen) == list(range(16))


def test_identity_batches_hold_p_times_k() -> None:
    sampler = IdentitySampler(LABELS, 6, 2, seed=4)
    batches = rows(sampler)
    assert len(batches) == len(sampler) == 2
    for batch in batches:
        counts = Counter(LABELS[batch].tolist())
        assert list(counts.values()) == [2, 2, 2]
        assert not {3, -1} & set(counts), "one picture, or nobody known, makes no pair"
    assert rows(IdentitySampler(LABELS, 6, 2, seed=4)) == batches


def test_pairs_are_genuine_and_impostor_in_equal_number() -> None:
    left, right, same = verification_pairs(LABELS, limit=10, seed=0)
    assert same.sum() == 10
    assert len(same) == 20
    assert (LABELS[left] == LABELS[right]).tolist() == same.tolist()
    assert (LABELS[left] >= 0).all()
    assert not verification_pairs(np.array([-1, -1]), limit=5, seed=0)[2].size


@pytest.fixture
def split() -> FaceSplit:
    pixels = np.random.default_rng(0).integers(0, 256, (15, 112, 112, 3), np.uint8)
    return FaceSplit.of(pixels, [None if label < 0 else f"p{label}" for label in LABELS])


def test_faces_stay_in_their_file_where_only_named_ones_are_learned_from(
    objects: ObjectStore,
    store_faces: Callable[..., Snapshot],
    plan: Callable[..., TrainingPlan],
    tmp_path: Path,
) -> None:
    mixed = store_faces(objects, "mixed", {"train": 3, "val": 2}, unnamed=1)
    prepared = prepare(plan(goals="softmax"), mixed, scratch=tmp_path / "run", teacher=None)
    learned = prepared.batches._train._split
    assert learned.crops.filename == tmp_path / "run" / "train.pixels"
    every = FaceSplit.load(mixed, "train", tmp_path / "every")
    named = every.labels >= 0
    assert (len(every), len(learned)) == (12, 9)
    np.testing.assert_array_equal(learned.crops, every.crops[named])
    np.testing.assert_array_equal(learned.labels, every.labels[named])
    assert learned.identities == every.identities == ("train 0", "train 1", "train 2")


def test_a_limit_keeps_whole_identities(split: FaceSplit) -> None:
    fewer = split.limited(9, seed=0)
    assert 5 <= len(fewer) <= 9
    counts = Counter(fewer.identities[label] for label in fewer.labels if label >= 0)
    assert all(counts[name] == {"p0": 5, "p1": 3, "p2": 4, "p3": 1}[name] for name in counts)


@pytest.mark.parametrize("level", AUGMENTATIONS)
def test_the_seed_decides_the_view(split: FaceSplit, level: augmentation.AugmentationName) -> None:
    views = FaceViews(split, for_crops(level))
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one, label = views[(0, 5)]
    assert (one.shape, one.dtype, label) == ((3, 112, 112), torch.uint8, 0)
    assert torch.equal(one, views[(0, 5)][0])
    assert torch.equal(torch.random.get_rng_state(), before), "the run's generator is left alone"
    different = [not torch.equal(one, views[(0, seed)][0]) for seed in range(8)]
    assert any(different) == (level != "none")


def test_mixtures_are_of_two_crops_and_the_seed_decides_them() -> None:
    crops = torch.stack([torch.full((3, 16, 16), v, dtype=torch.uint8) for v in (0, 100, 250)])
    mixing = augmentation.Mixing(1.0)
    torch.manual_seed(3)
    seen = [mixing(crops) for _ in range(8)]
    torch.manual_seed(3)
    assert all(torch.equal(one, mixing(crops)) for one in seen)
    assert not any(torch.equal(one, crops) for one in seen)
    for one in seen:
        assert one.dtype == torch.uint8
        assert one.shape == crops.shape
        # The second of each pair is the crop before; the first one's is the last.
        for own, other, mixed in zip(crops, crops.roll(1, 0), one, strict=True):
            low, high = min(own.min(), other.min()), max(own.max(), other.max())
            assert low <= mixed.min() <= mixed.max() <= high


def test_a_share_of_the_batches_is_mixed() -> None:
    crops = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    torch.manual_seed(0)
    assert torch.equal(augmentation.Mixing(0.0)(crops), crops)
    changed = sum(not torch.equal(augmentation.Mixing(0.5)(crops), crops) for _ in range(60))
    assert 15 < changed < 45


def test_mirrored_scenes_keep_boxes_and_landmarks_exact() -> None:
    image = torch.zeros(3, 20, 30, dtype=torch.uint8)
    image[:, 4, 7] = 255
    boxes = torch.tensor([[5.0, 2.0, 11.0, 9.0]])
    points = torch.tensor([[[7.0, 4.0], [9.0, 4.0], [8.0, 5.0], [7.0, 7.0], [9.0, 7.0]]])
    mirrored, new_boxes, new_points = augmentation.mirror(image, boxes, points)
    assert new_boxes.tolist() == [[19.0, 2.0, 25.0, 9.0]]
    assert mirrored[0, 4, 29 - 7] == 255
    # The person's right eye is now where the left one was, mirrored.
    assert new_points[0, 0].tolist() == [21.0, 4.0]
    assert new_points[0, 2].tolist() == [22.0, 5.0]


@pytest.mark.parametrize("level", AUGMENTATIONS)
def test_scene_views_keep_their_shape(level: Callable[..., object]) -> None:
    torch.manual_seed(0)
    change = SceneAugmentation(level)  # type: ignore[arg-type]
    image = torch.randint(0, 256, (3, 40, 60), dtype=torch.uint8)
    seen, boxes, points = change(image, torch.zeros(0, 4), torch.zeros(0, 5, 2))
    assert (seen.shape, seen.dtype) == (image.shape, torch.uint8)
    assert (boxes.shape, points.shape) == ((0, 4), (0, 5, 2))
