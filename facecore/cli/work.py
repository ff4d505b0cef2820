"""Commands that run one step of the main job here, without Airflow."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from facecore.cli.output import print_counts, print_json, progress, words
from facecore.cli.platform import Json
from facecore.errors import KeyRefused, UsageError
from facecore.jobs.lineage import command_context


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command()(deliver)
    app.command()(ingest)
    app.command()(validate)
    app.command()(extract)
    app.command()(identify)
    app.command()(report)


def deliver(
    folder: Annotated[Path, typer.Argument(help="Files to deliver, with all folders below.")],
    prefix: Annotated[
        str, typer.Option(help="Put before each file's path; its first folder is the source.")
    ] = "",
    json: Json = False,
) -> None:
    """Put a folder's files into the landing bucket, except what was taken in before.

    Files whose names cannot be keys are named and left out; the command then ends with status 1.
    """
    from facecore.jobs.images.upload import files_below, upload
    from facecore.jobs.stores import Stores

    refused: list[KeyRefused] = []
    with progress("files") as advance:
        sent = upload(Stores(), files_below(folder, prefix), advance, refused.append)
    _tell("Delivered", {"new_objects": sent, "refused": len(refused)}, json)
    for error in refused:
        words.print(str(error), soft_wrap=True)
    if refused:
        raise typer.Exit(1)


def ingest(
    prefix: Annotated[str, typer.Option(help="Only keys that start with this.")] = "",
    page_limit: Annotated[int, typer.Option(min=1, help="Pages of 1,000 keys.")] = 100,
    json: Json = False,
) -> None:
    """Take in what is new in the landing bucket."""
    from facecore.jobs.images import ingest as job

    context = command_context("ingest")
    shard_ids = job.plan(context, prefix, page_limit)
    with progress("shards") as advance:
        for done, shard_id in enumerate(shard_ids):
            advance(done, len(shard_ids))
            job.ingest_shard(context, shard_id)
    _tell("Ingested", job.summarise(shard_ids), json)


def validate(
    accept_batch: Annotated[
        bool,
        typer.Option(
            help="Judge images one by one even though their batch as a whole looks broken."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Judge every image that waits for the quality gate. Then go on with `extract` or its DAG."""
    from facecore.jobs.images import validate as job

    counts = job.validate_waiting(command_context("validate"), batch_checks=not accept_batch)
    _tell("Validated", counts, json)


class Engine(StrEnum):
    """What `extract` runs on."""

    LOCAL = "local"
    RAY = "ray"


def extract(
    engine: Annotated[
        Engine, typer.Option(help="local: this process. ray: everything there is, on a cluster.")
    ] = Engine.LOCAL,
    ray_address: Annotated[
        str,
        typer.Option(help="local, auto, host:port or ray://host:port; else FACECORE_RAY__ADDRESS."),
    ] = "",
    json: Json = False,
) -> None:
    """Find, align and embed the faces of accepted images."""
    if engine is Engine.RAY:
        _extract_on_ray(ray_address, json)
        return
    if ray_address:
        raise UsageError("--ray-address is for --engine ray.")
    from facecore.jobs.faces import extract as job

    context = command_context("extract")
    shard_ids = job.plan(context)
    with progress("shards") as advance:
        for done, shard_id in enumerate(shard_ids):
            advance(done, len(shard_ids))
            job.extract_shard(context, shard_id)
    _tell("Extracted", job.summarise(shard_ids), json)


def _extract_on_ray(address: str, json: bool) -> None:
    from facecore.jobs.on_ray.backfill import extract_everything

    with progress("shards") as advance:
        counts = extract_everything(address, on_progress=advance)
    _tell("Extracted", counts, json)


def identify(json: Json = False) -> None:
    """Compare all extracted faces with the gallery again."""
    from facecore.jobs.faces import identify as job

    _tell("Identified", job.identify_everything(command_context("identify")), json)


def report(
    start: Annotated[str | None, typer.Option(help="First day, YYYY-MM-DD.")] = None,
    end: Annotated[str | None, typer.Option(help="Last day, included.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Also write the HTML and JSON into this folder.")
    ] = None,
    share: Annotated[
        bool,
        typer.Option(
            "--share",
            help="Also build a report without names or faces, with small numbers withheld.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Build the activity report of a period (yesterday by default)."""
    from datetime import UTC, datetime

    from facecore.jobs.reports import report as job

    published = job.build(
        command_context("report"), datetime.now(UTC), start, end, share=share, out=out
    )
    _tell("Report", published, json)


def _tell(title: str, counts: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(counts)
    else:
        print_counts(title, counts)
