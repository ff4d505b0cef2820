"""Commands about the index of vectors: what it finds, and building it anew."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from facecore.cli.output import print_answer, print_json
from facecore.cli.platform import Json
from facecore.jobs.lineage import command_context

app = typer.Typer(help="The index of vectors: check and rebuild.", no_args_is_help=True)


@app.command()
def check(
    due: Annotated[
        bool, typer.Option("--due", help="Only if it is due: never measured, grown, or a day old.")
    ] = False,
    json: Json = False,
) -> None:
    """Measure how much of an exact search the index finds; status 1 below the objective."""
    from facecore.jobs.faces import search_index as job

    _answer(job.check(command_context("index-check"), only_if_due=due), json)


@app.command()
def rebuild(json: Json = False) -> None:
    """Build the index anew, beside the old one, and measure it; status 1 below the objective."""
    from facecore.jobs.faces import search_index as job

    _answer(job.rebuild(command_context("index-rebuild")), json)


def _answer(said: dict[str, Any], json: bool) -> None:
    if json:
        print_json(said)
    elif not said:
        print_answer("Nothing was measured: there is too little to need an index, or nothing new.")
    else:
        print_answer(
            f"{said['recall']:.1%} ({said['recall_low']:.1%} to {said['recall_high']:.1%}) of the "
            f"{said['k']} nearest of {said['vectors']:,} faces are found with ef_search "
            f"{said['ef_search']}, {said['p50_ms']:.1f} ms a look-up (m {said['m']}, "
            f"ef_construction {said['ef_construction']})."
        )
        print_answer(
            "Look-ups use the index." if said["met"] else
            f"{said['objective']:.1%} are wanted: look-ups are exact."
        )  # fmt: skip
        if said["met"]:
            print_answer(_behind_filters(said))
    if said and not said["met"]:
        raise typer.Exit(1)


def _behind_filters(said: dict[str, Any]) -> str:
    if said["filter_recall"] is None or said["filter_recall"] < said["objective"]:
        return "Behind filters they are exact: the index finds too little there."
    return (
        f"So they do behind filters that leave at least {said['filter_share']:.0%} of the faces: "
        f"{said['filter_recall']:.1%} are found when {said['filter_candidates']} have to pass. "
        "Behind narrower ones they are exact."
    )
