"""Commands about people: enroll, search."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from facecore.cli.output import print_answer, print_counts, print_json, progress, words
from facecore.cli.platform import Json
from facecore.jobs.lineage import command_context


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command()(enroll)
    app.command()(search)


def enroll(
    pictures: Annotated[list[Path], typer.Argument(help="Pictures of the person.")],
    person: Annotated[str, typer.Option("--person", "-p", help="The person's name.")],
    central_face: Annotated[
        bool, typer.Option(help="With several faces, take the one nearest the centre.")
    ] = False,
    json: Json = False,
) -> None:
    """Add a person's pictures to the gallery."""
    from facecore.jobs.enroll import Picture
    from facecore.jobs.enroll import enroll as job

    with progress("pictures") as advance:
        results = job(
            command_context("enroll"),
            [Picture(person, path) for path in pictures],
            central_face=central_face,
            on_progress=lambda done: advance(done, len(pictures)),
        )
    refused = [r for r in results if r.state == "refused"]
    if json:
        print_json(results)
    else:
        print_counts(
            f"Enrolled as {person}",
            {state: sum(r.state == state for r in results) for state in ("enrolled", "known")}
            | {"refused": len(refused)},
        )
        for result in refused:
            words.print(f"{result.path}: {result.detail}", markup=False, soft_wrap=True)
    if refused:
        raise typer.Exit(1)


def search(
    photo: Annotated[Path, typer.Argument(help="A picture with one or more faces.")],
    source: Annotated[
        list[str] | None, typer.Option(help="Only people seen by this source; may be repeated.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Only people seen from this day (or time) on.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Only people seen up to this day, included (or time).")
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="People listed per face; 5 unless set otherwise."),
    ] = None,
    json: Json = False,
) -> None:
    """Who is on this picture? The best matches of the gallery, and the score they need.

    With a source or a time: of everybody who was seen there and then, enrolled or not.
    """
    from facecore.jobs.search import search as job

    found = job(
        command_context("search"), photo, sources=source or (), since=since, until=until, top_k=top
    )
    seen = bool(source or since or until)
    if json:
        print_json([asdict(face) for face in found])
        return
    if not found:
        print_answer(f"No face was found in {photo}.")
    for number, face in enumerate(found, 1):
        left, top_edge, right, bottom = (round(value) for value in face.box)
        match = face.match
        named = f" {match.label}" if match.outcome != "unknown" else ""
        print_answer(
            f"Face {number} at {left},{top_edge}–{right},{bottom}: {match.outcome}{named} "
            f"(needs {match.threshold:.3f})"
        )
        table = Table(box=None)
        table.add_column("person")
        table.add_column("score", justify="right")
        for _, label, score in match.candidates:
            style = "bold" if score >= match.threshold else "dim"
            table.add_row(label, f"{score:.3f}", style=style)
        if not match.candidates:
            table.add_row("(nobody was seen there then)" if seen else "(nobody is enrolled)", "")
        print_answer(table)
    if found:
        print_answer(f"Compared with {found[0].compared:,} faces. {found[0].note}".strip())
