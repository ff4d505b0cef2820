"""Commands that measure registered versions: evaluate model, identification, detection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facecore.cli.output import print_answer, print_counts, print_json, progress
from facecore.cli.platform import Json

if TYPE_CHECKING:
    from facecore.jobs.training.evaluate_model import ModelReport

Model = Annotated[
    str,
    typer.Argument(
        help="NAME/NUMBER, NAME@ALIAS, or NAME for the champion.",
        metavar="MODEL",
        show_default=False,
    ),
]
Dataset = Annotated[
    str, typer.Option(help="Snapshot, NAME or NAME@DIGEST; `facecore dataset list`.")
]
Split = Annotated[str, typer.Option(help="Split of the snapshot: train, val or test.")]
Slices = Annotated[
    str | None, typer.Option(help="Columns to slice by, separated by commas: source,quality.")
]
Against = Annotated[str, typer.Option(help="Put beside: another version, 'in use', or 'nobody'.")]
Out = Annotated[
    Path | None, typer.Option(help="Write evidence.html, evaluation.json and all plots here.")
]
Cost = Annotated[
    bool, typer.Option("--cost/--no-cost", help="Measure parameters, operations and speed.")
]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command()(model)
    app.command()(identification)
    app.command()(detection)


def model(
    model: Model,
    dataset: Dataset,
    split: Split = "test",
    slices: Slices = None,
    against: Against = "in use",
    out: Out = None,
    cost: Cost = True,
    json: Json = False,
) -> None:
    """Everything about a version, beside the one in use: accuracy, slices, cost, gates."""
    _answer(_measure(model, dataset, split, slices, against, out, cost), out, json)


def detection(
    dataset: Dataset,
    model: Model = "face-detector",
    split: Split = "test",
    slices: Slices = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """A detector alone: average precision, recall by size, landmarks."""
    from facecore.errors import UsageError

    found = _measure(model, dataset, split, slices, "nobody", out, cost=False)
    if found.evaluation.kind != "detector":
        raise UsageError(
            f"{model} is not a detector.", remedy="`facecore evaluate model` measures any model."
        )
    _answer(found, out, json)


def identification(
    dataset: Dataset,
    model: Model = "face-embedder",
    split: Split = "test",
    sizes: Annotated[
        str, typer.Option(help="Gallery sizes, separated by commas; those that fit by default.")
    ] = "",
    fpir: Annotated[
        str, typer.Option(help="False-positive rates, separated by commas: 0.01,0.001.")
    ] = "",
    json: Json = False,
) -> None:
    """An embedder alone: who is it among N enrolled people?"""
    from facecore.jobs.training.evaluate_model import identification as job

    with progress("faces") as advance:
        found = job(
            model,
            dataset,
            split=split,
            sizes=[int(size) for size in _numbers(sizes, "--sizes")],
            target_fpirs=_numbers(fpir, "--fpir"),
            on_progress=advance,
        )
    if json:
        from dataclasses import asdict

        print_json(asdict(found))
        return
    if found.closed_set is not None:
        closed = found.closed_set
        print_counts(
            f"{closed.gallery_size:,} people enrolled, {closed.probes:,} searches for them",
            {
                f"among the first {one.rank}": str(one.rate)
                for one in closed.cmc
                if one.rank in (1, 5, 10, 20)
            },
        )
    print_counts(
        "Enrolled people not found (FNIR), by people enrolled and false positives (FPIR)",
        {
            f"{one.gallery_size:,} enrolled, FPIR {one.target_fpir:g}": str(one.fnir or one.note)
            for one in found.open_set
        },
    )


def _measure(
    model: str,
    dataset: str,
    split: str,
    slices: str | None,
    against: str,
    out: Path | None,
    cost: bool,
) -> ModelReport:
    from facecore.jobs.training.evaluate_model import evaluate_model

    with progress("measured") as advance:
        return evaluate_model(
            model,
            dataset,
            against=against,
            split=split,
            slices=None if slices is None else [s.strip() for s in slices.split(",") if s.strip()],
            with_cost=cost,
            with_plots=out is not None,
            on_progress=advance,
        )


def _answer(found: ModelReport, out: Path | None, json: bool) -> None:
    from facecore.lifecycle.evaluation.evidence_figures import cost_rows, figure_rows

    if out is not None:
        found.write(out)
    if json:
        print_json(found.to_json())
        return
    both = [one for one in (found.champion, found.evaluation) if one is not None]
    rows = figure_rows(both)
    if found.cost is not None:
        costs = [found.cost.champion] if found.champion is not None else []
        rows += cost_rows([*costs, found.cost.challenger], found.cost)
    print_answer(_table([one.model for one in both], rows))
    if found.gates:
        print_counts(
            "Gates",
            {
                gate.name: f"{'passed' if gate.passed else 'BLOCKED'}: {gate.reason}"
                for gate in found.gates
            },
        )
    if out is not None:
        print_answer(f"Evidence: {out / 'evidence.html'}")


def _table(names: list[str], rows: list[Any]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(row.name, *row.cells)
    return table


def _numbers(text: str, option: str) -> list[float]:
    from facecore.errors import UsageError

    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UsageError(f"{option} takes numbers separated by commas, not {text!r}.") from None
