"""Commands about model versions: models, promote, rollback, reembed, abandon, audit."""

from __future__ import annotations

from getpass import getuser
from typing import Annotated, Any

import typer
from rich.table import Table

from facecore.cli.output import print_answer, print_counts, print_json, progress, words
from facecore.cli.platform import Json
from facecore.jobs.lineage import command_context

Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; kept in the audit log.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command()(models)
    app.command()(promote)
    app.command()(rollback)
    app.command()(reembed)
    app.command()(abandon)
    app.command()(audit)


def models(json: Json = False) -> None:
    """Model versions: what the registry calls them, which are in use, which were before."""
    from facecore.jobs.models.model_list import listed

    versions, opened = listed()
    if json:
        print_json([version.to_json() for version in versions])
        return
    table = Table(box=None, pad_edge=False)
    for column in ("version", "in use", "alias", "threshold 1:1", "at FMR", "contract"):
        table.add_column(column)
    for one in versions:
        row = one.version
        table.add_row(
            f"{row.name}/{row.version}",
            {"active": "yes", "retired": "was"}.get(row.state, ""),
            "?" if one.aliases is None else ", ".join(one.aliases),
            "" if row.threshold is None else f"{row.threshold:.4f}",
            "" if row.target_fmr is None else f"{row.target_fmr:g}",
            row.contract[:16],
            style="bold" if one.in_use else "",
        )
    print_answer(table)
    if opened is not None:
        print_answer(f"Promotion {opened.id} is under way: {opened.state}.")


def promote(
    name: Annotated[str, typer.Argument(help="Registered model, such as face-embedder.")],
    version: Annotated[int, typer.Argument(min=1, help="Its version.")],
    reason: Reason,
    later: Annotated[
        bool, typer.Option("--later", help="Only set the aliases; reembed_faces does the work.")
    ] = False,
    json: Json = False,
) -> None:
    """Bring a version into use: every face is embedded anew beside the old, then one switch.

    An autoencoder, forecaster or matcher comes into use at once; the version before is promoted
    the same way to go back.
    """
    from facecore.jobs.models import analysis_models
    from facecore.jobs.promotion import promotion

    if analysis_models.is_named(name):
        new = analysis_models.activate(name, version, actor=getuser(), reason=reason)
        _tell(f"{name} {version} is in use", {"changed": new}, json)
        return
    promotion_id = promotion.promote(name, version, actor=getuser(), reason=reason)
    if later:
        _tell(f"{name} {version} is wanted", {"promotion": promotion_id}, json)
        return
    _carry_out("promote", promotion_id, json)


def rollback(reason: Reason, json: Json = False) -> None:
    """Put the version before back into use, at once; then catch up what arrived meanwhile."""
    from facecore.jobs.promotion import switching

    context = command_context("rollback")
    promotion_id = switching.rollback(context, actor=getuser(), reason=reason)
    words.print("The version before is in use again; catching up what arrived meanwhile.")
    with progress("images") as advance:
        images = switching.catch_up(context, promotion_id, on_progress=advance)
    _tell("Rolled back", {"promotion": promotion_id, "images caught up": images}, json)


def reembed(json: Json = False) -> None:
    """Go on with what is wanted: an interrupted promotion, an alias, images that are missing."""
    from facecore.jobs.promotion import promotion

    promotion_id = promotion.start(command_context("reembed"), actor=getuser())
    if promotion_id is None:
        _tell("Nothing to do", {"promotion": None}, json)
        return
    _carry_out("reembed", promotion_id, json)


def abandon(reason: Reason, json: Json = False) -> None:
    """Give up the promotion under way; the aliases name the versions in use again."""
    from facecore.jobs.promotion import promotion

    promotion_id = promotion.abandon(actor=getuser(), reason=reason)
    _tell("Abandoned", {"promotion": promotion_id}, json)


def audit(
    limit: Annotated[int, typer.Option(min=1, help="How many entries, the newest.")] = 20,
    subject: Annotated[
        str | None, typer.Option(help="Only about this, for example face-embedder/2.")
    ] = None,
    json: Json = False,
) -> None:
    """Who did what, and why; and whether the log is what was written. Exit status 1 if not."""
    from facecore.jobs.stores import Stores
    from facecore.stores.catalog import audit as log

    with Stores().catalog.transaction() as tx:
        entries = log.newest(tx, subject=subject, limit=limit)
        checked = log.verify(tx)
    if json:
        print_json({"entries": entries, "verification": checked})
    else:
        for entry in entries:
            said = f"{entry.at:%Y-%m-%d %H:%M:%S}  {entry.actor}  {entry.action}  {entry.subject}"
            print_answer(said + (f"  “{entry.reason}”" if entry.reason else ""))
        state = (
            f"{checked.entries:,} entries, unbroken; newest hash {checked.head}"
            if checked.first_fault is None
            else f"BROKEN at entry {checked.first_fault} of {checked.entries:,}"
        )
        print_answer(state)
    if checked.first_fault is not None:
        raise typer.Exit(1)


def _carry_out(command: str, promotion_id: int, as_json: bool) -> None:
    from facecore.jobs.promotion import promotion

    with progress("shards") as advance:
        done = promotion.carry_out(command_context(command), promotion_id, on_progress=advance)
    comparison = done.pop("comparison")
    if as_json:
        print_json({**done, "comparison": comparison})
        return
    changed = f"{comparison['changed']:,} of {comparison['faces']:,}" if comparison else "none"
    print_counts("In use", {**done, "faces that changed": changed})
    if comparison:
        print_answer(f"Comparison: {comparison['html']} in bucket reports")


def _tell(title: str, counts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(counts)
    else:
        print_counts(title, counts)
