"""Plans: names that exist, goals that combine, grids."""

from __future__ import annotations

import subprocess
import sys

import pytest

from facecore.errors import ConfigError
from facecore.lifecycle.training.goals.catalogue import GOALS
from facecore.lifecycle.training.plan import (
    GOAL_NAMES,
    OPTIMIZERS,
    TRAINABLE,
    expand_grid,
    make_plan,
    parse_goals,
)
from facecore.zoo import registry

MINIMAL = {"model": "cnn", "goals": "distill", "dataset": "lfw"}


def test_a_plan_needs_a_model_goals_and_data() -> None:
    plan = make_plan(MINIMAL)
    assert plan.goals == {"distill": 1.0}
    assert plan.rate > 0
    with pytest.raises(ConfigError, match="dataset: must be given"):
        make_plan({"model": "cnn", "goals": "distill"})


def test_only_distillation_alone_mixes_faces() -> None:
    assert make_plan(MINIMAL).mixed == 0.5
    assert make_plan({**MINIMAL, "mix": 0}).mixed == 0.0
    assert make_plan({**MINIMAL, "goals": "distill+arcface"}).mixed == 0.0
    with pytest.raises(ConfigError, match="only goal"):
        make_plan({**MINIMAL, "goals": "distill+arcface", "mix": 0.3})


def test_goals_combine_with_weights() -> None:
    assert parse_goals("arcface + distill=0.5") == {"arcface": 1.0, "distill": 0.5}
    plan = make_plan({**MINIMAL, "goals": "triplet=2,softmax"})
    assert plan.goals == {"softmax": 1.0, "triplet": 2.0}
    assert plan.goal == "softmax+triplet=2"
    assert make_plan({**MINIMAL, "goals": plan.goal}) == plan


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"goals": "centre"}, "'triplet', 'contrastive'"),
        ({"goals": "detect+triplet"}, "detect cannot be combined"),
        ({"goals": "triplet+triplet"}, "named twice"),
        ({"goals": "triplet=much"}, "not a number"),
        ({"goals": "triplet=0"}, "greater than 0"),
        ({"optimizer": "lion"}, "'sgd', 'momentum', 'nesterov'"),
        ({"scheduler": "linear"}, "'constant', 'step', 'cosine'"),
        ({"augmentation": "extreme"}, "'none', 'light' or 'strong'"),
        ({"precision": "int8"}, "'auto', 'fp32'"),
        ({"device": "tpu"}, "'auto', 'cpu' or 'cuda'"),
        ({"epochs": 0}, "epochs"),
        ({"batch_size": "many"}, "batch_size"),
        ({"epoch": 3}, "has no epoch. It has: model"),
    ],
)
def test_unknown_names_and_values_list_the_valid_ones(
    changes: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        make_plan({**MINIMAL, **changes})
    assert said in str(refused.value)


def test_the_lists_of_names_are_those_of_the_code() -> None:
    assert set(GOALS) == set(GOAL_NAMES)
    assert {s.name for s in registry.list_models() if s.convert is None} == set(TRAINABLE)
    for name in OPTIMIZERS:
        assert make_plan({**MINIMAL, "optimizer": name}).rate > 0


def test_a_grid_is_every_combination_once() -> None:
    plans = expand_grid(MINIMAL, {"seed": [1, 2, 2], "augmentation": ["none", "light"]})
    assert [(p.seed, p.augmentation) for p in plans] == [
        (1, "none"),
        (1, "light"),
        (2, "none"),
        (2, "light"),
    ]
    assert expand_grid(MINIMAL, {}) == [make_plan(MINIMAL)]
    with pytest.raises(ConfigError, match="list of values"):
        expand_grid(MINIMAL, {"seed": 3})  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match="no colour"):
        expand_grid(MINIMAL, {"colour": ["red"]})


def test_plans_and_goals_are_listed_without_torch() -> None:
    program = (
        "import sys, facecore.lifecycle.training.goals.catalogue, facecore.cli.train;"
        "sys.exit(' '.join({'torch', 'lightning', 'mlflow', 'pandas'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
