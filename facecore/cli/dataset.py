"""Commands about datasets: dataset build, dataset list, dataset show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from facecore.cli.evaluation import Measured
from facecore.cli.output import print_answer, print_counts, print_json, progress
from facecore.cli.platform import Json
from facecore.jobs.lineage import command_context

if TYPE_CHECKING:
    from facecore.jobs.training.dataset import DatasetBuilder
    from facecore.lifecycle.datasets import Built, Snapshot, SplitPlan

app = typer.Typer(help="Immutable snapshots of training data.", no_args_is_help=True)
build = typer.Typer(help="Build a snapshot; the same data again writes nothing.")
app.add_typer(build, name="build", no_args_is_help=True)

Name = Annotated[str, typer.Option("--name", help="Name of the snapshot.")]
Images = Annotated[Path, typer.Option("--images", help="Folder of folders: person/*.jpg.")]
Val = Annotated[float, typer.Option("--val", help="Share of the people for validation.")]
Test = Annotated[float, typer.Option("--test", help="Share of the people for the test.")]
Seed = Annotated[int, typer.Option("--seed", help="Another seed splits the people otherwise.")]
LabelFile = Annotated[
    Path | None,
    typer.Option("--labels", help="CSV: column image or identity, and any others to keep."),
]
Model = Annotated[
    Measured, typer.Option("--model", help="Whose detector: the models in use, or the default.")
]
TestFolds = Annotated[
    list[int] | None,
    typer.Option("--test-fold", help="Fold (from 1) whose people are the test; repeatable."),
]


class Faces(StrEnum):
    """Which faces of the catalogue."""

    CONFIRMED = "confirmed"
    UNLABELLED = "unlabelled"
    ALL = "all"


class SplitUnit(StrEnum):
    """What is never in two splits."""

    PERSON = "person"
    PICTURE = "picture"


@build.command("folder")
def folder(
    name: Name,
    images: Images,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Take no folder for a person.")
    ] = False,
    source: Annotated[str, typer.Option(help="Called so in the manifest.")] = "",
    val: Val = 0.1,
    test: Test = 0.1,
    seed: Seed = 0,
    labels: LabelFile = None,
    model: Model = Measured.CHAMPION,
    json: Json = False,
) -> None:
    """Aligned faces from any folder: person/*.jpg, or pictures of nobody knows whom."""
    with _builder(name, model) as builder:
        built = builder.folder(
            images,
            plan=_plan(val, test, seed),
            unlabelled=unlabelled,
            source=source,
            labels=labels,
        )
    _tell(built, json)


@build.command("lfw")
def lfw(
    name: Name,
    images: Images,
    pairs: Annotated[Path, typer.Option(help="Its pairs file.")],
    test_fold: TestFolds = None,
    val_fold: Annotated[
        list[int] | None,
        typer.Option("--val-fold", help="Fold whose people are for validation; repeatable."),
    ] = None,
    val: Val = 0.1,
    seed: Seed = 0,
    labels: LabelFile = None,
    model: Model = Measured.CHAMPION,
    json: Json = False,
) -> None:
    """Labeled Faces in the Wild, split by the folds of its pairs file, with the test pairs."""
    with _builder(name, model) as builder:
        built = builder.lfw(
            images,
            pairs,
            test_folds=test_fold or (),
            val_folds=val_fold or (),
            val=val,
            seed=seed,
            labels=labels,
        )
    _tell(built, json)


@build.command("olivetti")
def olivetti(
    name: Name,
    val: Val = 0.1,
    test: Test = 0.2,
    seed: Seed = 0,
    labels: LabelFile = None,
    model: Model = Measured.CHAMPION,
    json: Json = False,
) -> None:
    """The Olivetti faces: 40 people, ten small grey pictures of each."""
    with _builder(name, model) as builder:
        built = builder.olivetti(plan=_plan(val, test, seed), labels=labels)
    _tell(built, json)


@build.command("catalog")
def catalog(
    name: Name,
    faces: Annotated[
        Faces, typer.Option(help="Those a human named, those nobody did, or all.")
    ] = Faces.CONFIRMED,
    val: Val = 0.1,
    test: Test = 0.1,
    seed: Seed = 0,
    labels: LabelFile = None,
    split_by: Annotated[
        SplitUnit,
        typer.Option(help="Whether faces that nobody named are split by person or by picture."),
    ] = SplitUnit.PERSON,
    json: Json = False,
) -> None:
    """The platform's own faces; unlabelled ones are for distillation and autoencoders."""
    with _builder(name, Measured.CHAMPION) as builder:
        built = builder.catalog(
            which=faces.value,
            plan=_plan(val, test, seed),
            labels=labels,
            split_by=split_by.value,
        )
    _tell(built, json)


@build.command("wider")
def wider(
    name: Name,
    images: Annotated[Path, typer.Option("--images", help="Folder of the pictures.")],
    annotations: Annotated[Path, typer.Option(help="Text file: path, number of faces, boxes.")],
    test_annotations: Annotated[
        Path | None, typer.Option(help="The same, of pictures that are all test.")
    ] = None,
    val: Val = 0.1,
    test: Test = 0.1,
    seed: Seed = 0,
    labels: LabelFile = None,
    json: Json = False,
) -> None:
    """Scenes annotated in the format of WIDER FACE."""
    with _builder(name, Measured.CHAMPION) as builder:
        built = builder.wider(
            images,
            annotations,
            test_annotations=test_annotations,
            plan=_plan(val, test, seed),
            labels=labels,
        )
    _tell(built, json)


@build.command("scenes")
def scenes(
    name: Name,
    images: Images,
    count: Annotated[int, typer.Option(min=1, help="How many scenes.")] = 2000,
    size: Annotated[int, typer.Option(help="Side of a scene, px.")] = 320,
    most_faces: Annotated[int, typer.Option(help="Faces pasted into a scene, at most.")] = 6,
    least_face: Annotated[float, typer.Option(help="Smallest face, px.")] = 20.0,
    pairs: Annotated[Path | None, typer.Option(help="Pairs file of LFW.")] = None,
    test_fold: TestFolds = None,
    source: Annotated[str, typer.Option(help="Called so in the manifest.")] = "",
    val: Val = 0.1,
    test: Test = 0.1,
    seed: Seed = 0,
    model: Model = Measured.CHAMPION,
    json: Json = False,
) -> None:
    """Scenes composed of the faces of a folder: exact boxes and landmarks for detectors."""
    from facecore.lifecycle.datasets.composing.scene import Style

    style = Style(size=size, most_faces=most_faces, least_face_px=least_face)
    with _builder(name, model) as builder:
        built = builder.scenes(
            images,
            count=count,
            style=style,
            plan=_plan(val, test, seed),
            pairs=pairs,
            test_folds=test_fold or (),
            source=source,
        )
    _tell(built, json)


@build.command("activity")
def activity(
    name: Name,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="The sample cameras' history, not the platform's.")
    ] = False,
    weeks: Annotated[int, typer.Option(min=1, help="Whole weeks up to yesterday.")] = 16,
    val: Val = 0.15,
    test: Test = 0.15,
    json: Json = False,
) -> None:
    """Faces per source and hour and people's visits, split by time: for forecasters."""
    from datetime import UTC, datetime, timedelta

    with _builder(name, Measured.CHAMPION) as builder:
        last = datetime.now(UTC).date() - timedelta(days=1)
        plan = _plan(val, test, 0)
        built = builder.activity(last, weeks=weeks, simulated=simulated, plan=plan)
    _tell(built, json)


@app.command("list")
def list_(json: Json = False) -> None:
    """All snapshots with their versions."""
    from facecore.jobs.training.dataset import every

    found = every()
    if json:
        print_json(found)
        return
    if not found:
        print_answer("There is no snapshot yet: `facecore dataset build`.")
        return
    table = Table(box=None)
    for column in ("snapshot", "version", "kind", "source", "rows", "built"):
        table.add_column(column, justify="right" if column in ("version", "rows") else "left")
    for one in found:
        table.add_row(
            one.reference, str(one.number), one.kind, one.source, f"{one.rows:,}", one.created_at
        )
    print_answer(table)


@app.command("show")
def show(
    reference: Annotated[str, typer.Argument(metavar="NAME", help="name, or name@digest.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every object and check its SHA-256.")
    ] = False,
    json: Json = False,
) -> None:
    """What a snapshot holds and what it was made from."""
    from facecore.jobs.training.dataset import show as job

    snapshot = job(reference, verify=verify)
    if json:
        print_json(described(snapshot))
        return
    _print_snapshot(snapshot)
    print_counts("Made from", snapshot.source)


def described(snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot as a JSON document."""
    return {
        "reference": snapshot.reference,
        "name": snapshot.name,
        "version": snapshot.version,
        "digest": snapshot.digest,
        "kind": snapshot.kind,
        "rows": snapshot.rows,
        "splits": snapshot.splits,
        "left_out": snapshot.left_out,
        "labels": snapshot.labels,
        "source": snapshot.source,
    }


@contextmanager
def _builder(name: str, model: Measured) -> Iterator[DatasetBuilder]:
    from facecore.jobs.training.dataset import DatasetBuilder

    with progress("pictures, then upload") as advance:
        yield DatasetBuilder(
            command_context("dataset"),
            name,
            model="default" if model is Measured.DEFAULT else "champion",
            on_progress=lambda _step, done, of: advance(done, of),
        )


def _plan(val: float, test: float, seed: int) -> SplitPlan:
    from facecore.lifecycle.datasets import SplitPlan

    return SplitPlan(val, test, seed)


def _tell(built: Built, json: bool) -> None:
    if json:
        print_json(
            {**described(built.snapshot), "new": built.new, "objects_written": built.written}
        )
        return
    _print_snapshot(built.snapshot)
    if not built.new:
        print_answer("This version existed already.")


def _print_snapshot(snapshot: Snapshot) -> None:
    counts: dict[str, Any] = {"version": snapshot.version, "kind": snapshot.kind}
    for split, numbers in snapshot.splits.items():
        counts[split] = ", ".join(
            f"{number:,} {what}" for what, number in numbers.items() if number
        )
    counts |= {f"left out: {why}": number for why, number in snapshot.left_out.items()}
    print_counts(snapshot.reference, counts)
