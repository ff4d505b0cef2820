"""Snapshot and plan → network, batches and the loop that trains it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from facecore.lifecycle.training import requirements
from facecore.lifecycle.training.augmentation import SceneAugmentation, for_crops
from facecore.lifecycle.training.faces import FaceSplit, FaceViews
from facecore.lifecycle.training.goals.catalogue import GOALS
from facecore.lifecycle.training.module import TrainingModule
from facecore.lifecycle.training.plan import TrainingPlan
from facecore.lifecycle.training.sampling import EpochSampler, IdentitySampler
from facecore.lifecycle.training.teacher import Teacher
from facecore.zoo import registry
from facecore.zoo.device import resolve_device

if TYPE_CHECKING:
    from facecore.lifecycle.datasets.snapshot import Snapshot

# The teacher looks at each crop this often for a matcher: as it is, and augmented.
_MATCHER_VIEWS = 4


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a trainer needs.

    Attributes:
        options: of the network's constructor, as its weights file will state them.
        identities: names of the classes that the network's own classifier learns, in its order.
    """

    module: TrainingModule
    batches: Batches
    options: dict[str, Any]
    identities: tuple[str, ...] = ()


class Batches(LightningDataModule):
    """Training batches by a sampler of this run, validation batches in order."""

    def __init__(
        self,
        plan: TrainingPlan,
        train: Any,
        validation: Any,
        *,
        labels: Any = None,
        collate: Any = None,
        keyed: bool = True,
    ) -> None:
        super().__init__()
        self._plan, self._train, self._validation = plan, train, validation
        self._labels, self._collate, self._keyed = labels, collate, keyed

    def train_dataloader(self) -> Any:
        """Batches of this device."""
        plan = self._plan
        assert self.trainer is not None  # noqa: S101 (Lightning sets it)
        share: dict[str, Any] = {
            "seed": plan.seed,
            "batches": plan.batches_per_epoch,
            "rank": self.trainer.global_rank,
            "world_size": self.trainer.world_size,
        }
        sampler: EpochSampler = (
            EpochSampler(len(self._train), plan.batch_size, **share)
            if self._labels is None
            else IdentitySampler(self._labels, plan.batch_size, plan.images_per_identity, **share)
        )
        return DataLoader(
            self._train,
            batch_sampler=sampler,
            num_workers=plan.workers,
            collate_fn=self._collate,
            # Otherwise each iterator draws from the generator that dropout draws from.
            generator=torch.Generator().manual_seed(plan.seed),
        )

    def val_dataloader(self) -> Any:
        """Everything once, on each device."""
        size, count = self._plan.batch_size, len(self._validation)
        rows = [range(start, min(start + size, count)) for start in range(0, count, size)]
        keys = [[(row, 0) if self._keyed else row for row in batch] for batch in rows]
        return DataLoader(
            self._validation,
            batch_sampler=keys,
            num_workers=self._plan.workers,
            collate_fn=self._collate,
            generator=torch.Generator().manual_seed(self._plan.seed),
        )


def prepare(
    plan: TrainingPlan, snapshot: Snapshot, *, scratch: Path, teacher: Teacher | None
) -> Prepared:
    """Check everything, then build network and data.

    Args:
        scratch: folder for decoded pixels.

    Raises:
        NotFound, UsageError: see `requirements`.
        SnapshotDamaged: an object of the snapshot is missing or altered.
    """
    spec = requirements.check_plan(plan)
    requirements.check_kind(plan, spec.task, snapshot.reference, snapshot.kind)
    if requirements.needs_teacher(plan) and teacher is None:
        raise ValueError(f"goal {plan.goal} needs a teacher")
    if spec.task == "detect":
        return _detector(plan, spec, snapshot, scratch)
    if spec.task == "forecast":
        return _forecaster(plan, spec, snapshot)
    labelled = any(GOALS[name].identities for name in plan.goals)
    train = FaceSplit.load(snapshot, "train", scratch / "train.pixels", labelled=labelled)
    validation = FaceSplit.load(snapshot, "val", scratch / "val.pixels").limited(
        plan.validation_limit, seed=plan.seed
    )
    requirements.check_faces(plan, train, validation)
    if spec.task == "reconstruct":
        return _autoencoder(plan, spec, train, validation)
    if spec.task == "match":
        assert teacher is not None  # noqa: S101 (checked above)
        return _matcher(plan, spec, train, validation, teacher)
    return _embedder(plan, spec, train, validation, teacher)


def _network(
    plan: TrainingPlan, spec: registry.ModelSpec, **implied: Any
) -> tuple[torch.nn.Module, dict[str, Any]]:
    """A fresh network, the same for the same seed; options the data imply, unless given."""
    known = {name: value for name, value in implied.items() if name in spec.options}
    options = spec.complete({**known, **requirements.network_options(plan, spec)})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        return registry.create(plan.model, **options), options


def _embedder(
    plan: TrainingPlan,
    spec: registry.ModelSpec,
    train: FaceSplit,
    validation: FaceSplit,
    teacher: Teacher | None,
) -> Prepared:
    from facecore.lifecycle.training.embedder import EmbedderTraining

    implied = {"identities": len(train.identities)} if train.identities else {}
    network, options = _network(plan, spec, **implied)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        module = EmbedderTraining(plan, network, train, validation, teacher)
    mined = any(GOALS[name].mined for name in plan.goals)
    batches = Batches(
        plan,
        FaceViews(train, for_crops(plan.augmentation)),
        FaceViews(validation, for_crops("none")),
        labels=train.labels if mined else None,
    )
    # Only this goal trains a classifier; of others it says nothing about anybody.
    classifies = "softmax" in plan.goals and hasattr(network, "classify")
    return Prepared(module, batches, options, train.identities if classifies else ())


def _matcher(
    plan: TrainingPlan,
    spec: registry.ModelSpec,
    train: FaceSplit,
    validation: FaceSplit,
    teacher: Teacher,
) -> Prepared:
    from facecore.lifecycle.training.matcher import (
        EmbeddingPairs,
        FixedPairs,
        MatcherTraining,
        embed_views,
    )

    device = resolve_device(plan.device)
    views = 1 if plan.augmentation == "none" else _MATCHER_VIEWS
    how: dict[str, Any] = {"device": device, "seed": plan.seed}
    seen = embed_views(train, teacher, transform=for_crops(plan.augmentation), views=views, **how)
    judged = embed_views(validation, teacher, transform=for_crops("none"), views=1, **how)
    pairs = FixedPairs(judged, validation.pairs(limit=plan.validation_limit, seed=plan.seed))
    network, options = _network(plan, spec, dimension=teacher.dimension)
    module = MatcherTraining(plan, network, pairs)
    batches = Batches(plan, EmbeddingPairs(seen, train.labels), pairs, keyed=False)
    return Prepared(module, batches, options)


def _autoencoder(
    plan: TrainingPlan, spec: registry.ModelSpec, train: FaceSplit, validation: FaceSplit
) -> Prepared:
    from facecore.lifecycle.training.autoencoder import AutoencoderTraining

    network, options = _network(plan, spec)
    batches = Batches(
        plan,
        FaceViews(train, for_crops(plan.augmentation)),
        FaceViews(validation, for_crops("none")),
    )
    return Prepared(AutoencoderTraining(plan, network, train, validation), batches, options)


def _forecaster(plan: TrainingPlan, spec: registry.ModelSpec, snapshot: Snapshot) -> Prepared:
    from facecore.lifecycle.training.forecaster import ForecasterTraining
    from facecore.lifecycle.training.windows import ActivityWindows

    network, options = _network(plan, spec)
    horizon = int(options["horizon"])
    blank = plan.augmentation != "none"
    train = ActivityWindows(snapshot.series("train"), horizon, stride=1, blank=blank)
    # Midnights: what is forecast in use, and enough of them.
    validation = ActivityWindows(snapshot.series("val"), horizon, stride=24)
    validation.limit(plan.validation_limit)
    requirements.check_windows(plan, len(train), len(validation))
    batches = Batches(plan, train, validation)
    return Prepared(ForecasterTraining(plan, network, train, validation), batches, options)


def _detector(
    plan: TrainingPlan, spec: registry.ModelSpec, snapshot: Snapshot, scratch: Path
) -> Prepared:
    from facecore.lifecycle.training.detector import DetectorTraining
    from facecore.lifecycle.training.scenes import SceneSplit, SceneViews, collate

    train = SceneSplit(snapshot.scenes("train"), scratch / "train.pixels")
    validation = SceneSplit(
        snapshot.scenes("val"), scratch / "val.pixels", limit=plan.validation_limit
    )
    requirements.check_scenes(plan, (len(train), train.faces), (len(validation), validation.faces))
    network, options = _network(plan, spec)
    batches = Batches(
        plan,
        SceneViews(train, SceneAugmentation(plan.augmentation)),
        SceneViews(validation, SceneAugmentation("none")),
        collate=collate,
    )
    return Prepared(DetectorTraining(plan, network), batches, options)
