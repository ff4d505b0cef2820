"""Commands that analyse: anomalies, forecast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from facecore.cli.output import print_answer, print_counts, print_json, progress
from facecore.cli.platform import Json
from facecore.jobs.lineage import command_context


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command()(anomalies)
    app.command()(forecast)


def anomalies(
    top: Annotated[int, typer.Option(min=0, help="How many of the most unusual to list.")] = 20,
    publish: Annotated[
        bool, typer.Option("--publish", help="Also publish the page with crops and map.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Publish, and write the page into this folder.")
    ] = None,
    json: Json = False,
) -> None:
    """Score faces the autoencoder in use has not seen, and list the most unusual."""
    from facecore.jobs.faces import anomalies as job

    context = command_context("anomalies")
    shard_ids = job.plan(context)
    with progress("shards") as advance:
        for done, shard_id in enumerate(shard_ids):
            advance(done, len(shard_ids))
            job.score_shard(context, shard_id)
    counts = job.summarise(shard_ids)
    published = job.publish(context, out=out) if publish or out is not None else None
    found = job.most_unusual(top) if top else []
    if json:
        print_json({"scored": counts, "published": published, "unusual": found})
        return
    print_counts("Scored", counts)
    table = Table(box=None, pad_edge=False)
    for column in ("face", "image", "source", "rank", "error"):
        table.add_column(column, justify="left" if column == "source" else "right")
    for one in found:
        numbers = (f"{one['rank']:.4f}", f"{one['error']:.1f}")
        table.add_row(str(one["face_id"]), str(one["image_id"]), one["source"], *numbers)
    print_answer(table)
    if published is not None:
        print_answer(f"Page: {published['html']} in bucket reports")


def forecast(
    people: Annotated[
        bool, typer.Option("--people", help="When people who come often are due, instead.")
    ] = False,
    source: Annotated[str, typer.Option(help="Show only this source.")] = "",
    json: Json = False,
) -> None:
    """Forecast the hours after the last midnight, and flag past hours that were not as due."""
    from datetime import UTC, datetime

    from facecore.jobs.reports import forecast as job

    now = datetime.now(UTC)
    if people:
        due = job.people_due(now)
        if json:
            print_json(due)
        else:
            _print_people(due)
        return
    counts = job.forecast(command_context("forecast"), now)
    found = job.newest() or {"hours": [], "flags": []}
    if json:
        print_json({**counts, "hours": found["hours"], "flags": found["flags"]})
        return
    print_counts("Forecast", counts)
    hours = [hour for hour in found["hours"] if source in ("", hour[0])]
    table = Table(box=None, pad_edge=False)
    for column in ("source", "faces due", "sum of 90 % bounds", "busiest hour"):
        table.add_column(column, justify="left" if column == "source" else "right")
    for name in dict.fromkeys(hour[0] for hour in hours):
        own = [hour for hour in hours if hour[0] == name]
        low, middle, high = (sum(hour[2][place] for hour in own) for place in (0, 2, -1))
        busiest = max(own, key=lambda hour: hour[2][2])
        table.add_row(name, f"{middle:.0f}", f"{low:.0f}–{high:.0f}", f"{busiest[1]:%H:%M}")
    print_answer(table)
    for flag in found["flags"]:
        if source in ("", flag["source"]):
            print_answer(
                f"{flag['starts_at']:%Y-%m-%d %H:%M} {flag['source']}: {flag['kind']}: "
                f"{flag['evidence']}"
            )


def _print_people(due: dict[str, Any]) -> None:
    print_counts(
        "People due", {"method": due["method"], "why": due["reason"], "overdue": due["overdue"]}
    )
    table = Table(box=None, pad_edge=False)
    for column in ("person", "last here", "due", "at the latest (95 %)", ""):
        table.add_column(column)
    for one in due["people"]:
        moments = (one[name][:16].replace("T", " ") for name in ("last", "middle", "high"))
        table.add_row(one["person"], *moments, "overdue" if one["overdue"] else "")
    print_answer(table)
