"""Commands about what has changed: drift, and the alerts that somebody has to deal with."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from facecore.cli.output import print_answer, print_json, styled
from facecore.cli.platform import Json
from facecore.jobs.lineage import command_context

alerts_app = typer.Typer(help="Alerts: list and acknowledge.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command()(drift)
    app.add_typer(alerts_app, name="alerts")


def drift(
    start: Annotated[str | None, typer.Option(help="First day, YYYY-MM-DD.")] = None,
    end: Annotated[str | None, typer.Option(help="Last day, included.")] = None,
    json: Json = False,
) -> None:
    """Hold a period (the last week by default) against the days before; status 1 on drift."""
    from datetime import UTC, datetime

    from facecore.jobs.reports import drift as job

    found = job.measure(command_context("drift"), datetime.now(UTC), start, end)
    if json:
        print_json(found)
    else:
        print_answer(
            f"{found['drifted']:,} of {found['measures']:,} measures drifted: {found['html']}"
        )
    job.judge(found["check"])


@alerts_app.command("list")
def list_alerts(
    every: Annotated[
        bool, typer.Option("--all", help="Also those that were acknowledged.")
    ] = False,
    kind: Annotated[str | None, typer.Option(help="Only of this kind.")] = None,
    json: Json = False,
) -> None:
    """The newest 50 alerts that nobody has dealt with."""
    from facecore.jobs.stores import Stores
    from facecore.stores.catalog.reports import alerts

    with Stores().catalog.transaction() as tx:
        found = (alerts.newest if every else alerts.open_alerts)(tx, kind=kind)
    if json:
        print_json(found)
        return
    if not found:
        print_answer("No alerts.")
    for alert in found:
        state = "" if alert.is_open else f", acknowledged by {alert.acknowledged_by}"
        print_answer(
            styled(
                (str(alert.id), "bold"),
                f" {alert.severity} {alert.kind} {alert.subject} "
                f"(since {alert.raised_at:%Y-%m-%d %H:%M}, seen {alert.times:,} times{state})",
            )
        )
        for sentence in alert.evidence.get("in_words", [])[:5]:
            print_answer(f"   {sentence}")


@alerts_app.command()
def acknowledge(
    alert: Annotated[int, typer.Argument(help="Number of the alert.")],
    reason: Annotated[str, typer.Option(help="What was done about it.")],
    json: Json = False,
) -> None:
    """Say that an alert was dealt with; the audit log keeps who and why."""
    from facecore.jobs.stores import Stores
    from facecore.stores.catalog.reports import alerts

    with Stores().catalog.transaction() as tx:
        alerts.acknowledge(tx, alert, getpass.getuser(), reason)
    if json:
        print_json({"acknowledged": alert})
    else:
        print_answer(f"Alert {alert} is acknowledged.")
