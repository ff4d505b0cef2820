"""Is this plan possible? Everything that can be known before the first step is checked here."""

from __future__ import annotations

from typing import Any

import torch

from facecore.errors import ConfigError, UsageError
from facecore.lifecycle.training.faces import FaceSplit
from facecore.lifecycle.training.goals.catalogue import GOALS
from facecore.lifecycle.training.plan import TrainingPlan
from facecore.zoo import registry
from facecore.zoo.device import resolve_device, resolve_precision

FACES, SCENES, ACTIVITY = "faces", "scenes", "activity"

#: Task of a model → kind of the data sets that it is trained and judged on; faces otherwise.
_KINDS = {"detect": SCENES, "forecast": ACTIVITY}


def check_plan(plan: TrainingPlan) -> registry.ModelSpec:
    """The model's spec, if model, goals, options and device fit each other.

    Raises:
        NotFound: no such model; the known ones are listed.
        ConfigError: what does not fit, and what would.
        DeviceUnavailable: CUDA was asked for and is absent.
    """
    spec = registry.spec(plan.model)
    if spec.convert is not None:
        trainable = [s.name for s in registry.list_models() if s.convert is None]
        raise ConfigError(
            f"model {plan.model!r} is a published one; its layers are folded for inference and "
            "cannot be trained.",
            remedy=f"Trainable models: {', '.join(trainable)}.",
        )
    fitting = [name for name, goal in GOALS.items() if goal.task == spec.task]
    wrong = sorted(set(plan.goals) - set(fitting))
    if wrong:
        raise ConfigError(
            f"goal {', '.join(wrong)} does not train {plan.model!r}, which is there to "
            f"{spec.task}.",
            remedy=f"Goals for it: {', '.join(fitting)}.",
        )
    spec.complete(network_options(plan, spec))
    device = resolve_device(plan.device)
    if device.type == "cuda" and plan.devices > torch.cuda.device_count():
        raise ConfigError(
            f"{plan.devices} devices were asked for; this machine has "
            f"{torch.cuda.device_count()} GPUs."
        )
    if plan.precision != "auto":
        resolve_precision(plan.precision, device)
    return spec


def network_options(plan: TrainingPlan, spec: registry.ModelSpec) -> dict[str, Any]:
    """The options that the plan gives the model's constructor."""
    return {**plan.options, **({} if plan.dropout is None else {"dropout": plan.dropout})}


def needs_teacher(plan: TrainingPlan) -> bool:
    """Whether a goal of the plan learns from the champion embedder."""
    return any(GOALS[name].teacher for name in plan.goals)


def kind_for(task: str) -> str:
    """Kind of the data sets that models of a task are trained and judged on."""
    return _KINDS.get(task, FACES)


def check_kind(plan: TrainingPlan, task: str, dataset: str, kind: str) -> None:
    """Whether a data set of this kind can train a model of this task.

    Raises:
        ConfigError: it cannot.
    """
    needed = kind_for(task)
    if kind != needed:
        raise ConfigError(
            f"data set {dataset} holds {kind}; {plan.model!r} is trained on {needed}.",
            remedy="`facecore dataset list` shows the data sets of each kind.",
        )


def check_faces(plan: TrainingPlan, train: FaceSplit, validation: FaceSplit) -> None:
    """Whether there are enough crops and identities.

    Raises:
        UsageError: what is missing.
    """
    labelled = any(GOALS[name].identities for name in plan.goals)
    if len(train) < 2 or len(validation) < 2:
        raise _too_few(
            f"{len(train)} crops to train and {len(validation)} to validate on are too few"
        )
    if not labelled:
        return
    if len(train.identities) < 2:
        raise _too_few(
            f"goal {plan.goal} needs at least two identities; the training split names "
            f"{len(train.identities)}"
        )
    compared = [n for n in plan.goals if GOALS[n].mined or n == "match"]
    if compared and train.repeated_identities() < 2:
        raise _too_few(
            f"goal {', '.join(compared)} needs at least two identities with two pictures each; "
            f"the training split has {train.repeated_identities()}"
        )
    if len(validation.identities) < 2 or validation.repeated_identities() < 1:
        raise _too_few(
            "validation needs at least two identities, one of them with two pictures; the "
            f"validation split names {len(validation.identities)}, "
            f"{validation.repeated_identities()} with two pictures"
        )


def check_scenes(plan: TrainingPlan, train: tuple[int, int], validation: tuple[int, int]) -> None:
    """Whether there are enough (scenes, faces) in either split.

    Raises:
        UsageError: what is missing.
    """
    for split, (scenes, faces) in (("training", train), ("validation", validation)):
        if scenes < 2 or faces < 1:
            raise _too_few(
                f"{scenes} scenes with {faces} faces in the {split} split are too few for "
                f"{plan.model!r}"
            )


def check_windows(plan: TrainingPlan, train: int, validation: int) -> None:
    """Whether there are enough windows of series in either split.

    Raises:
        UsageError: what is missing.
    """
    if train < 2 or validation < 1:
        raise _too_few(
            f"{train} windows to train and {validation} to validate on are too few for "
            f"{plan.model!r}; a window is five weeks of a source's hours"
        )


def _too_few(message: str) -> UsageError:
    return UsageError(f"{message}.", remedy="Build a larger data set: `facecore dataset build`.")
