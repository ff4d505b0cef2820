"""Optimisers by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

from facecore.lifecycle.training.plan import OptimizerName, TrainingPlan

_Groups = list[dict[str, Any]]
_MAKERS: Mapping[OptimizerName, Callable[[_Groups, TrainingPlan], Optimizer]] = {
    "sgd": lambda groups, plan: SGD(groups, lr=plan.rate),
    "momentum": lambda groups, plan: SGD(groups, lr=plan.rate, momentum=plan.momentum),
    "nesterov": lambda groups, plan: SGD(
        groups, lr=plan.rate, momentum=plan.momentum, nesterov=True
    ),
    "rmsprop": lambda groups, plan: RMSprop(groups, lr=plan.rate, momentum=plan.momentum),
    "adagrad": lambda groups, plan: Adagrad(groups, lr=plan.rate),
    "adam": lambda groups, plan: Adam(groups, lr=plan.rate),
    "adamw": lambda groups, plan: AdamW(groups, lr=plan.rate),
}


def make_optimizer(plan: TrainingPlan, modules: Iterable[nn.Module]) -> Optimizer:
    """The plan's optimiser over the trainable parameters of `modules`.

    Biases and the scales of normalisation layers are not decayed: shrinking them regularises
    nothing, and a batch norm's scale near zero stops a layer.
    """
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for module in modules:
        for parameter in module.parameters():
            if parameter.requires_grad:
                (decayed if parameter.ndim > 1 else kept).append(parameter)
    groups: _Groups = [
        {"params": parameters, "weight_decay": decay}
        for parameters, decay in ((decayed, plan.weight_decay), (kept, 0.0))
        if parameters
    ]
    return _MAKERS[plan.optimizer](groups, plan)
