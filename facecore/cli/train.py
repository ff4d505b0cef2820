"""The command that trains a challenger: train."""

from __future__ import annotations

import json as json_text
from enum import StrEnum
from typing import Annotated, Any

import typer

from facecore.cli.output import print_counts, print_json, words
from facecore.cli.platform import Json
from facecore.errors import UsageError
from facecore.jobs.lineage import command_context
from facecore.lifecycle.training.goals.catalogue import GOALS
from facecore.lifecycle.training.plan import (
    AUGMENTATIONS,
    OPTIMIZERS,
    PRECISIONS,
    SCHEDULERS,
    TRAINABLE,
    make_plan,
)

_GOALS = "; ".join(f"{name}: {goal.about}" for name, goal in GOALS.items())


class Device(StrEnum):
    """Where to train."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


def add_to(app: typer.Typer) -> None:
    """Register the command of this module."""
    app.command()(train)


def train(
    model: Annotated[str, typer.Option(help=f"One of {', '.join(TRAINABLE)}.")] = "",
    goal: Annotated[
        str, typer.Option(help=f"Joined by +, with weights: arcface+distill=0.5. {_GOALS}.")
    ] = "",
    dataset: Annotated[
        str, typer.Option(help="Snapshot, NAME or NAME@DIGEST; `facecore dataset list`.")
    ] = "",
    evaluate_on: Annotated[
        str, typer.Option(help="Another snapshot whose test split judges the result.")
    ] = "",
    epochs: Annotated[int | None, typer.Option(help="Times through the data.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak; each optimiser has a default.")
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help=f"One of {', '.join(OPTIMIZERS)}.")] = None,
    scheduler: Annotated[str | None, typer.Option(help=f"One of {', '.join(SCHEDULERS)}.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures per step and device.")] = None,
    augmentation: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(AUGMENTATIONS)}.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same result on a CPU.")] = None,
    dropout: Annotated[
        float | None, typer.Option(help="Share dropped, for models that have it.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help=f"One of {', '.join(PRECISIONS)}.")] = None,
    device: Annotated[Device | None, typer.Option(help="Where to train.")] = None,
    devices: Annotated[int | None, typer.Option(help="How many of them.")] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="Of the model, NAME=VALUE; can be repeated.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other choice of the plan, NAME=VALUE; can be repeated."),
    ] = None,
    resume: Annotated[
        str, typer.Option(help="Go on with this run (name or MLflow id), by its own plan.")
    ] = "",
    json: Json = False,
) -> None:
    """Train a challenger, judge it beside the model in use, register it.

    Interrupted, the same command with --resume RUN continues after the last epoch.
    """
    from facecore.jobs.training import train as job

    context = command_context("train")
    plan: dict[str, Any] = {}
    if not resume:
        choices = {
            "model": model or None,
            "goals": goal or None,
            "dataset": dataset or None,
            "epochs": epochs,
            "learning_rate": learning_rate,
            "optimizer": optimizer,
            "scheduler": scheduler,
            "batch_size": batch_size,
            "augmentation": augmentation,
            "seed": seed,
            "dropout": dropout,
            "precision": precision,
            "device": None if device is None else device.value,
            "devices": devices,
            "options": _pairs("--option", option) if option else None,
            **_pairs("--set", setting),
        }
        (plan,) = job.plan_runs(choices, evaluate_on=evaluate_on)
        words.print(f"run {job.run_name(context, make_plan(plan))}")
    result = job.train_challenger(
        context, plan, evaluate_on=evaluate_on, resume=resume, progress=True
    )
    job.choose_challenger([result])
    if json:
        print_json(result)
        return
    print_counts(
        f"Trained {result['model']} by {result['goal']} on {result['dataset']}",
        {
            "run": result["run"],
            result["metric"]: f"{result['value']:.4f} in epoch {result['best_epoch']}",
            **{f"test {name}": _beside(result, name) for name in result["test"]},
            "registered": ", ".join(result["versions"]),
        },
    )


def _beside(result: dict[str, Any], name: str) -> str:
    other = result["champion"].get(name)
    own = f"{result['test'][name]:.4f}"
    return own if other is None else f"{own} (in use: {other:.4f})"


def _pairs(name: str, texts: list[str] | None) -> dict[str, Any]:
    """NAME=VALUE, where VALUE is JSON if it can be read as such, else text."""
    found = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"{name} {text}: give NAME=VALUE.")
        try:
            found[key] = json_text.loads(value)
        except ValueError:
            found[key] = value
    return found
