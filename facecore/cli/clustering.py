"""Commands about people that were found: cluster, and `people` to look at and correct them."""

from __future__ import annotations

from getpass import getuser
from typing import Annotated

import typer
from rich.table import Table

from facecore.cli.output import print_answer, print_counts, print_json, progress
from facecore.cli.platform import Json
from facecore.jobs.lineage import command_context

app = typer.Typer(no_args_is_help=True, help="People: look at them, name and correct them.")

MOST = 2**63 - 1  # of PostgreSQL's ids
PersonId = Annotated[int, typer.Argument(min=1, max=MOST, help="The person's id.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; kept with the decision.")]


def add_to(main: typer.Typer) -> None:
    """Register the command `cluster`."""
    main.command()(cluster)


def cluster(
    full: Annotated[
        bool, typer.Option("--full", help="Group all faces again, not only the new ones.")
    ] = False,
    json: Json = False,
) -> None:
    """Group unknown faces into proposed people; what humans decided stands."""
    from facecore.jobs.faces.cluster import cluster as job

    with progress("faces") as advance:
        counts = job(command_context("cluster"), full=full, on_progress=advance)
    if json:
        print_json(counts)
    else:
        print_counts("Clustered", counts)


@app.command("list")
def list_people(
    prefix: Annotated[str, typer.Argument(help="How the name starts.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="People at most.")] = 50,
    unnamed: Annotated[bool, typer.Option(help="Only people who have no name yet.")] = False,
    json: Json = False,
) -> None:
    """People by name: enrolled ones, and those that clustering found."""
    from facecore.jobs.stores import Stores
    from facecore.stores.catalog.pages import people_pages

    with Stores().catalog.transaction() as tx:
        found = people_pages.find(tx, prefix, limit=limit, named=False if unnamed else None)
    if json:
        print_json(found)
        return
    table = Table(box=None, pad_edge=False)
    for column in ("id", "name", "kind", "faces", "to review"):
        table.add_column(column, justify="right" if column != "name" else "left")
    for one in found:
        more = "+" if one.faces >= people_pages.COUNTED_FACES else ""
        reviews = str(one.reviews) if one.reviews else ""
        table.add_row(str(one.id), one.label, one.kind, f"{one.faces}{more}", reviews)
    print_answer(table)


@app.command()
def show(
    person_id: PersonId,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Faces at most.")] = 20,
    json: Json = False,
) -> None:
    """A person: faces, who looks alike, what was decided."""
    from facecore.jobs.people.people import decisions
    from facecore.jobs.stores import Stores
    from facecore.stores.catalog.pages import people_pages

    stores = Stores()
    with stores.catalog.transaction() as tx:
        person = people_pages.entry(tx, person_id)
        faces = people_pages.faces_of(tx, person.id, limit=limit)
        alike = people_pages.lookalikes(tx, person.id, stores.settings.search)
    decided = decisions(person.id, limit=limit, stores=stores)
    if json:
        print_json({"person": person, "faces": faces, "alike": alike, "decisions": decided})
        return
    print_counts(
        f"{person.label} ({person.kind} person {person.id})",
        {"faces": person.faces, "to_review": person.reviews},
    )
    for title, columns, rows in (
        (
            "Faces",
            ("face", "outcome", "by", "score", "seen by"),
            [
                (f.face_id, f.outcome, f.source, _score(f.score), f.seen_by) for f in faces
            ],
        ),
        (
            "Look alike",
            ("person", "name", "score"),
            [(a.person_id, a.label, _score(a.score)) for a in alike],
        ),
        (
            "Decisions",
            ("decision", "what", "by", "when", "why"),
            [
                (d.id, d.kind + (" (undone)" if d.undone_by else ""), d.actor, f"{d.at:%F %H:%M}",
                 d.reason)
                for d in decided
            ],
        ),
    ):  # fmt: skip
        table = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False)
        for row in rows:
            table.add_row(*(str(value) for value in row))
        if rows:
            print_answer(table)


@app.command()
def name(
    person_id: PersonId,
    label: Annotated[str, typer.Argument(help="The name.")],
    reason: Reason,
    json: Json = False,
) -> None:
    """Name or rename a person."""
    from facecore.jobs.people.people import name_person

    decision = name_person(person_id, label, actor=getuser(), reason=reason)
    _decided(f"Person {person_id} is called {label}.", {"decision": decision}, json)


@app.command()
def merge(
    keep: Annotated[int, typer.Argument(min=1, max=MOST, help="Whose id stays.")],
    others: Annotated[list[int], typer.Argument(min=1, max=MOST, help="Who else this is.")],
    reason: Reason,
    json: Json = False,
) -> None:
    """Say that people are one person."""
    from facecore.jobs.people.people import merge_people

    decision = merge_people(keep, others, actor=getuser(), reason=reason)
    listed = ", ".join(str(other) for other in others)
    _decided(f"{listed} and {keep} are person {keep}.", {"decision": decision}, json)


@app.command()
def split(
    person_id: PersonId,
    faces: Annotated[
        list[int], typer.Argument(min=1, max=MOST, help="Faces that are somebody else.")
    ],
    reason: Reason,
    json: Json = False,
) -> None:
    """Say that some of a person's faces are somebody else."""
    from facecore.jobs.people.people import split_person

    created = split_person(person_id, faces, actor=getuser(), reason=reason)
    _decided(f"{len(set(faces))} faces are person {created} now.", {"person": created}, json)


@app.command("not")
def not_person(
    face_id: Annotated[int, typer.Argument(min=1, max=MOST, help="The face.")],
    person_id: PersonId,
    reason: Reason,
    json: Json = False,
) -> None:
    """Say that a face is not a person."""
    from facecore.jobs.people.people import not_this_person

    decision = not_this_person(face_id, person_id, actor=getuser(), reason=reason)
    _decided(f"Face {face_id} is not person {person_id}.", {"decision": decision}, json)


@app.command()
def undo(
    decision_id: Annotated[int, typer.Argument(min=1, max=MOST, help="The decision's number.")],
    reason: Reason,
    json: Json = False,
) -> None:
    """Take a decision back, unless later ones depend on it."""
    from facecore.jobs.people.people import undo as job

    number = job(decision_id, actor=getuser(), reason=reason)
    _decided(f"Decision {decision_id} is undone.", {"decision": number}, json)


def _decided(sentence: str, numbers: dict[str, int], as_json: bool) -> None:
    if as_json:
        print_json(numbers)
        return
    ((what, number),) = numbers.items()
    print_answer(f"{sentence} ({what} {number})" if what == "decision" else sentence)


def _score(score: float | None) -> str:
    return "" if score is None else f"{score:.3f}"
