"""What is to be trained, on what and how: every choice of a training run, checked by name.

This module imports neither torch nor Lightning, so that forms and command lines can list the
choices without waiting.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from facecore.errors import ConfigError

OptimizerName = Literal["sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adam", "adamw"]
SchedulerName = Literal["constant", "step", "cosine", "plateau"]
AugmentationName = Literal["none", "light", "strong"]
PrecisionName = Literal["auto", "fp32", "bf16", "fp16"]
StrategyName = Literal["auto", "ddp"]
GoalName = Literal[
    "triplet",
    "contrastive",
    "softmax",
    "arcface",
    "sface",
    "distill",
    "match",
    "detect",
    "reconstruct",
    "forecast",
]

OPTIMIZERS: tuple[str, ...] = get_args(OptimizerName)
SCHEDULERS: tuple[str, ...] = get_args(SchedulerName)
AUGMENTATIONS: tuple[str, ...] = get_args(AugmentationName)
PRECISIONS: tuple[str, ...] = get_args(PrecisionName)
GOAL_NAMES: tuple[str, ...] = get_args(GoalName)
#: Models that can be trained; `tests/lifecycle/training` compares it with the zoo.
TRAINABLE = (
    "autoencoder",
    "cnn",
    "deepface",
    "facenet",
    "faster-rcnn",
    "lstm",
    "rcnn",
    "siamese",
    "ssd",
    "ssdlite",
    "vgg",
)

# Steps that work for faces from scratch; SGD's family needs larger ones than Adam's.
_LEARNING_RATES: Mapping[str, float] = {
    "sgd": 0.05,
    "momentum": 0.02,
    "nesterov": 0.02,
    "rmsprop": 3e-4,
    "adagrad": 0.01,
    "adam": 2e-3,
    "adamw": 2e-3,
}

_MIXED = 0.5


class TrainingPlan(BaseModel):
    """One training run. Two equal plans on one snapshot give the same model on a CPU.

    Attributes:
        model: registered name in the zoo.
        options: of the model's constructor, such as the embedding's length.
        goals: what the loss is made of, name → weight; `parse_goals` reads them from text.
        margin, scale: of the goals that have them; None takes each goal's own.
        dataset: snapshot, "name" or "name@digest".
        learning_rate: peak; None takes one that suits the optimiser.
        momentum: of momentum, nesterov and rmsprop.
        warmup: share of all steps in which the learning rate rises linearly to its peak.
        step_epochs, decay: `step` multiplies the rate by `decay` every `step_epochs`.
        patience: `plateau` multiplies by `decay` after so many epochs without a better metric.
        batch_size: crops, scenes or windows of a series per step and device.
        images_per_identity: K of the P × K batches of triplet and contrastive.
        batches_per_epoch: steps that make an epoch; None goes once through the data.
        validation_limit: crops or scenes of the validation split looked at after each epoch.
        dropout: of models that have it; None leaves the model's own.
        mix: share of the batches in which pictures are mixtures of two, only for `distill` alone;
            None takes half of them there.
        gradient_clip: largest norm of the gradient; 0 does not clip.
        devices: each gets a process and its share of the batches; gradients are averaged.
        strategy: how several devices work together; `auto` is `ddp` (PyTorch's distributed data
            parallel).
        threads: of torch in this process; 0 takes all usable cores.
        workers: processes that load and augment; 0 does it in the training process.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    dataset: str
    goals: dict[GoalName, Annotated[float, Field(gt=0.0)]]
    options: dict[str, JsonValue] = Field(default_factory=dict)
    margin: float | None = Field(default=None, gt=0.0)
    scale: float | None = Field(default=None, gt=0.0)
    optimizer: OptimizerName = "adamw"
    learning_rate: float | None = Field(default=None, gt=0.0)
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    weight_decay: float = Field(default=1e-4, ge=0.0)
    scheduler: SchedulerName = "cosine"
    warmup: float = Field(default=0.05, ge=0.0, lt=1.0)
    step_epochs: int = Field(default=10, ge=1)
    decay: float = Field(default=0.1, gt=0.0, lt=1.0)
    patience: int = Field(default=5, ge=1)
    epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=32, ge=2)
    images_per_identity: int = Field(default=4, ge=2)
    batches_per_epoch: int | None = Field(default=None, ge=1)
    validation_limit: int = Field(default=1000, ge=2)
    seed: int = Field(default=0, ge=0)
    dropout: float | None = Field(default=None, ge=0.0, lt=1.0)
    augmentation: AugmentationName = "light"
    mix: float | None = Field(default=None, ge=0.0, le=1.0)
    gradient_clip: float = Field(default=5.0, ge=0.0)
    precision: PrecisionName = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = Field(default=1, ge=1)
    strategy: StrategyName = "auto"
    threads: int = Field(default=0, ge=0)
    workers: int = Field(default=0, ge=0)

    @field_validator("goals", mode="before")
    @classmethod
    def _goals_from_text(cls, value: Any) -> Any:
        return parse_goals(value) if isinstance(value, str) else value

    @field_validator("goals")
    @classmethod
    def _goals_that_combine(cls, goals: dict[str, float]) -> dict[str, float]:
        if not goals:
            raise ValueError(f"name at least one goal: {', '.join(GOAL_NAMES)}")
        alone = {"match", "detect", "reconstruct", "forecast"} & set(goals)
        if alone and len(goals) > 1:
            raise ValueError(f"{alone.pop()} cannot be combined with other goals")
        return dict(sorted(goals.items()))

    @model_validator(mode="after")
    def _mixtures_have_no_identity(self) -> Self:
        if self.mix and set(self.goals) != {"distill"}:
            raise ValueError("mix needs distill as the only goal: a mixture of two is nobody")
        return self

    @property
    def mixed(self) -> float:
        """The share of mixed batches in effect."""
        if self.mix is None:
            return _MIXED if set(self.goals) == {"distill"} else 0.0
        return self.mix

    @property
    def rate(self) -> float:
        """The peak learning rate in effect."""
        return self.learning_rate or _LEARNING_RATES[self.optimizer]

    @property
    def goal(self) -> str:
        """The goals as text, as `parse_goals` reads them."""
        return "+".join(n if w == 1.0 else f"{n}={w:g}" for n, w in self.goals.items())

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over all choices."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def parse_goals(text: str) -> dict[str, float]:
    """`"arcface+distill=0.5"` → `{"arcface": 1.0, "distill": 0.5}`.

    Raises:
        ValueError: a weight is not a number, or a goal is named twice.
    """
    goals: dict[str, float] = {}
    for part in text.replace(",", "+").split("+"):
        name, _, weight = part.strip().partition("=")
        if name in goals:
            raise ValueError(f"goal {name} is named twice")
        try:
            goals[name] = float(weight) if weight else 1.0
        except ValueError:
            raise ValueError(f"the weight of goal {name} is not a number: {weight}") from None
    return goals


def make_plan(choices: Mapping[str, Any]) -> TrainingPlan:
    """A plan from names and values; those that are None keep their default.

    Raises:
        ConfigError: a name or value that does not exist; the message lists the valid ones.
    """
    given = {name: value for name, value in choices.items() if value is not None}
    unknown = sorted(set(given) - set(TrainingPlan.model_fields))
    if unknown:
        raise ConfigError(
            f"a training plan has no {', '.join(unknown)}.",
            remedy=f"It has: {', '.join(TrainingPlan.model_fields)}.",
        )
    try:
        return TrainingPlan.model_validate(given)
    except ValidationError as error:
        raise ConfigError(f"this plan cannot work: {'; '.join(_faults(error))}.") from None


def _faults(error: ValidationError) -> list[str]:
    faults = []
    for fault in error.errors():
        where = [str(part) for part in fault["loc"] if part != "[key]"]
        said = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "literal_error":
            said = f"{fault['input']!r} is unknown; known are {fault['ctx']['expected']}"
        elif fault["type"] == "missing":
            said = "must be given"
        faults.append(f"{where[0]}: {said}" if where else said)
    return faults


def expand_grid(
    choices: Mapping[str, Any], grid: Mapping[str, Sequence[Any]]
) -> list[TrainingPlan]:
    """One plan per combination of the grid's values, in the grid's order; without a grid, one.

    Raises:
        ConfigError: a value of the grid is not a list, is empty, or no plan can have it.
    """
    for name, values in grid.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise ConfigError(f"grid: {name} needs a list of values, not {json.dumps(values)}.")
    plans = [
        make_plan({**choices, **dict(zip(grid, values, strict=True))})
        for values in itertools.product(*grid.values())
    ]
    # A value that is listed twice is trained once.
    return list({plan.digest: plan for plan in plans}.values())
