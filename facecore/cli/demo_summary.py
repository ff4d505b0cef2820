"""The end of `make demo`: what was found, and where to look."""

from __future__ import annotations

from rich.table import Table

from facecore.cli.endpoints import endpoint_table
from facecore.cli.output import print_answer, styled
from facecore.jobs.demo.demo import DemoOutcome
from facecore.local.status import Endpoint

_MOST_NOTES = 12


def show(outcome: DemoOutcome, endpoints: dict[str, Endpoint]) -> None:
    """Print the summary."""
    print_answer("", styled((f"facecore demo: {outcome.name}", "bold")), "")
    print_answer(_comparison(outcome), "")
    for note in [*outcome.notes[:_MOST_NOTES], *outcome.refused[:_MOST_NOTES]]:
        print_answer(f"  · {note}")
    print_answer("", _numbers(outcome), "", _analyses(outcome), "")
    admin = endpoints["airflow-admin"]
    print_answer(styled(("Where to look", "bold")), endpoint_table(endpoints), "")
    print_answer(
        styled(("Open first", "bold"), f"  {outcome.first_page}"),
        f"            log in as {admin.username} / {admin.password.get_secret_value()}: pipeline, "
        "people, quarantine, reports, models",
        styled(("The report", "bold"), f"  {outcome.report_url}"),
        "",
    )
    total = sum(outcome.seconds.values())
    steps = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in outcome.seconds.items())
    print_answer(
        styled((f"{total:.0f} s: {steps}", "dim")),
        styled(("The platform is running: `make status`, `make down`, `make clean`.", "dim")),
    )


def _comparison(outcome: DemoOutcome) -> Table:
    table = Table(box=None, pad_edge=False)
    expected = any("expected" in row for row in outcome.rows)
    table.add_column("")
    if expected:
        table.add_column("expected", justify="right")
    table.add_column("found", justify="right")
    if expected:
        table.add_column("demanded", style="dim")
        table.add_column("")
    for row in outcome.rows:
        if not expected:
            table.add_row(row["name"], _number(row["found"]))
            continue
        verdict = styled(("ok", "green") if row["ok"] else ("no", "red"))
        table.add_row(
            row["name"], _number(row["expected"]), _number(row["found"]), row["tolerance"], verdict
        )
    return table


def _numbers(outcome: DemoOutcome) -> Table:
    table = Table(title="In the catalogue now", title_justify="left", show_header=False, box=None)
    table.add_column(style="dim")
    table.add_column(justify="right")
    catalog = outcome.catalog
    numbers = {
        "new objects delivered": outcome.delivered,
        **{f"images {status}": n for status, n in catalog["images"].items() if n},
        "sightings": catalog["sightings"],
        "faces": catalog["faces"],
        **{f"faces: {name}": n for name, n in catalog["assignments"].items()},
        "people enrolled": catalog["people"].get("enrolled", 0),
        **{f"gallery pictures {state}": n for state, n in outcome.enrolled.items() if n},
    }
    for name, value in numbers.items():
        table.add_row(name, f"{value:,}")
    return table


def _analyses(outcome: DemoOutcome) -> Table:
    table = Table(title="Analyses", title_justify="left", show_header=False, box=None)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, sentence in outcome.analyses.items():
        table.add_row(name, sentence)
    return table


def _number(value: float) -> str:
    return f"{value:,.4f}" if isinstance(value, float) and value != int(value) else f"{value:,.0f}"
