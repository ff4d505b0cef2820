"""Commands about people: enroll, search, compare, classify."""

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
    app.command()(compare)
    app.command()(classify)


def enroll(
    pictures: Annotated[list[Path], typer.Argument(help="Pictures of the person.")],
    person: Annotated[str, typer.Option("--person", "-p", help="The person's name.")],
    central_face: Annotated[
        bool, typer.Option(help="With several faces, take the one nearest the centre.")
    ] = False,
    json: Json = False,
) -> None:
    """Add a person's pictures to the gallery."""
    from facecore.jobs.people.enroll import Picture
    from facecore.jobs.people.enroll import enroll as job

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
            words.print(f"{result.path}: {result.detail}", soft_wrap=True)
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
    from facecore.jobs.people.search import search as job

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
            table.add_row(why_nobody(face.compared, seen=seen), "")
        print_answer(table)
    if found:
        print_answer(f"Compared with {found[0].compared:,} faces. {found[0].note}".strip())


def why_nobody(compared: int, *, seen: bool) -> str:
    """Why there is nobody to name; faces that belong to nobody have no name."""
    if not seen:
        return "(nobody is enrolled)"
    return (
        "(only unknown faces were seen there then)" if compared else "(nobody was seen there then)"
    )


def compare(
    first: Annotated[Path, typer.Argument(help="A picture of one person.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
    fmr: Annotated[
        float, typer.Option(help="False-match rate that the threshold is to have.")
    ] = 0.001,
    json: Json = False,
) -> None:
    """Do two pictures show one person? Similarity, threshold, and what the matcher says."""
    from facecore.jobs.people.compare import compare as job

    found = job(command_context("compare"), first, second, fmr=fmr)
    if json:
        print_json({**asdict(found), "same": found.same})
        return
    limit = found.threshold
    said = "One person" if found.same else "Two people"
    print_answer(
        f"{said}: similarity {found.similarity:.4f}, one person from {limit.threshold:.4f} on "
        f"({limit.low:.4f}–{limit.high:.4f}; false-match rate {limit.fmr:g}, "
        f"{found.models['embed']})."
    )
    if found.probability is None:
        words.print(
            "No matcher for this embedder is in use; `facecore train --model siamese --goal match` "
            "makes one."
        )
    else:
        print_answer(
            f"{found.models['match']}: {found.probability:.4f} likely one person, where half of "
            "the pairs are."
        )


def classify(
    photo: Annotated[Path, typer.Argument(help="A picture with one or more faces.")],
    model: Annotated[
        str, typer.Option(help="Embedder version that classifies: face-embedder/3, or @ALIAS.")
    ] = "face-embedder@challenger",
    json: Json = False,
) -> None:
    """Which of the people a model was trained on is this? It always names one of them."""
    from facecore.jobs.training.classify import classify as job

    found = job(command_context("classify"), photo, model)
    if json:
        print_json(found)
        return
    if not found:
        print_answer(f"No face was found in {photo}.")
    for number, face in enumerate(found, 1):
        left, top, right, bottom = (round(value) for value in face["box"])
        table = Table("person of the training", box=None)
        table.add_column("probability", justify="right")
        for one in face["identities"]:
            table.add_row(one["name"], f"{one['probability']:.4f}")
        print_answer(f"Face {number} at {left},{top}–{right},{bottom}:")
        print_answer(table)
