"""Commands for the embedded platform: up, down, status, clean, setup, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from facecore.cli.endpoints import endpoint_table
from facecore.cli.output import print_answer, print_counts, print_json, styled, words
from facecore.config import home_dir
from facecore.errors import UsageError
from facecore.local.status import PlatformStatus

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

_REPO = Path(__file__).resolve().parents[2]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command()(up)
    app.command()(down)
    app.command()(status)
    app.command()(clean)
    app.command()(setup)
    app.command()(demo)


def up() -> None:
    """Start the platform on this machine, with its data as it was."""
    from facecore.jobs.platform.local_platform import start

    platform = start(home_dir(), _REPO, say)
    print_answer(endpoint_table(platform.endpoints()))


def down() -> None:
    """Stop the platform; its data stays."""
    from facecore.local.platform import Platform

    Platform(home_dir(), _REPO).down(say)


def status(json: Json = False) -> None:
    """Health, versions and memory of every part, and what the catalogue holds."""
    from facecore.jobs.platform.local_platform import look

    found = look(home_dir(), _REPO)
    if json:
        print_json(found.as_json())
    else:
        print_answer(_parts_table(found.platform))
        if found.catalog is not None:
            for title, counts in found.catalog_counts().items():
                print_counts(title, counts)
        print_counts("Engine", found.engine())
    if not found.platform.healthy:
        raise typer.Exit(1)


def clean(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Stop the platform and remove all its data."""
    from facecore.local.platform import Platform

    home = home_dir()
    if home.exists() and not yes and not typer.confirm(f"Remove {home} with all data?"):
        raise typer.Exit(1)
    Platform(home, _REPO).clean(say)


def setup(json: Json = False) -> None:
    """Migrate the catalogue, create the buckets, register the default models."""
    from facecore.jobs.platform.setup import set_up

    done = set_up(on_progress=lambda message: say("setup", message))
    if json:
        print_json(done)
        return
    print_counts("In place", {"catalogue": done.schema, "models": ", ".join(done.models)})


def demo(
    images: Annotated[
        Path | None,
        typer.Option(help="Your own pictures; person/*.jpg enrols the first ones of each person."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="A known dataset: lfw (Labeled Faces in the Wild).")
    ] = None,
    json: Json = False,
) -> None:
    """Start everything, run the main job on real images, say what was found and where to look."""
    from facecore.cli.demo_summary import show
    from facecore.jobs.demo.demo import run_demo

    if images is not None and dataset is not None:
        raise UsageError("--images and --dataset exclude each other.")
    outcome, endpoints = run_demo(home_dir(), _REPO, images=images, dataset=dataset, say=say)
    if json:
        print_json(outcome)
    else:
        show(outcome, endpoints)
    if not outcome.ok:
        raise typer.Exit(1)


def say(part: str, message: str) -> None:
    """Report progress in one line."""
    words.print(styled((f"{part:>9}", "dim"), f"  {message}"), soft_wrap=True)


def _parts_table(found: PlatformStatus) -> Table:
    table = Table(title=f"Platform in {found.home}", title_justify="left", box=None)
    for column in ("part", "state", "version", "port", "memory", "up", "detail"):
        table.add_column(column, justify="right" if column in ("port", "memory", "up") else "left")
    for part in found.parts:
        state = styled((part.state, "green" if part.healthy else "red"))
        table.add_row(
            part.name,
            state,
            part.version,
            str(part.port),
            f"{part.memory_bytes / 2**20:,.0f} MB",
            f"{part.uptime_s / 60:,.0f} min",
            part.detail,
        )
    if not found.parts:
        table.add_row("(stopped)", "", "", "", "", "", "start it with `facecore up`")
    return table
