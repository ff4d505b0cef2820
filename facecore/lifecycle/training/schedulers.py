"""Learning-rate schedules by name, each with a linear warm-up."""

from __future__ import annotations

import math

from facecore.lifecycle.training.plan import TrainingPlan

# A metric has to improve by this much to count as better.
_BETTER_BY = 1e-4
_FLOOR = 0.01


class Schedule:
    """The factor on the peak learning rate, 0..1, as a function of the step.

    It is given to torch's `LambdaLR`, which stores its state with the optimiser's.

    Args:
        total_steps: of the whole run.
        steps_per_epoch: steps of one epoch.
        higher_is_better: how `plateau` compares the metric it is told by `observe`.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        *,
        total_steps: int,
        steps_per_epoch: int,
        higher_is_better: bool = True,
    ) -> None:
        self.name: str = plan.scheduler
        self.total_steps = total_steps
        self.warmup_steps = math.ceil(plan.warmup * total_steps)
        self.step_length = plan.step_epochs * steps_per_epoch
        self.decay, self.patience = plan.decay, plan.patience
        self.sign = 1.0 if higher_is_better else -1.0
        self.scale = 1.0
        self.best: float | None = None
        self.waited = 0

    def __call__(self, step: int) -> float:
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        if self.name == "step":
            return float(self.decay ** (step // self.step_length))
        if self.name == "cosine":
            rest = max(1, self.total_steps - self.warmup_steps)
            done = min(1.0, (step - self.warmup_steps) / rest)
            return _FLOOR + (1 - _FLOOR) * 0.5 * (1 + math.cos(math.pi * done))
        return self.scale

    def observe(self, metric: float) -> None:
        """Tell `plateau` the validation metric of an epoch; other schedules ignore it."""
        if self.name != "plateau":
            return
        value = self.sign * metric
        if self.best is None or value > self.best + _BETTER_BY:
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.scale, self.waited = self.scale * self.decay, 0
