"""The command line: `facecore COMMAND`. Every command calls one job.

Words and progress go to stderr, the answer to stdout (`--json`: one JSON document).
Exit status: 0 done, 1 the work failed, 2 the call was wrong.
"""

from __future__ import annotations

import logging
import sys

import typer
from rich.logging import RichHandler

import facecore
from facecore.cli import (
    analysis,
    clustering,
    dataset,
    evaluation,
    models,
    people,
    platform,
    search_index,
    train,
    watch,
    work,
)
from facecore.cli.output import styled, words
from facecore.errors import FacecoreError

app = typer.Typer(
    name="facecore",
    help="A workflow-orchestrated face-analytics data platform.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
platform.add_to(app)
work.add_to(app)
watch.add_to(app)
people.add_to(app)
clustering.add_to(app)
models.add_to(app)
train.add_to(app)
analysis.add_to(app)
app.add_typer(evaluation.app, name="evaluate")
app.add_typer(dataset.app, name="dataset")
app.add_typer(search_index.app, name="index")
app.add_typer(clustering.app, name="people")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(facecore.__version__)
        raise typer.Exit


@app.callback()
def _options(
    _version: bool = typer.Option(
        False,
        "--version",
        callback=_print_version,
        is_eager=True,
        help="Print the version and exit.",
    ),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Say what happens inside."),
) -> None:
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=words, show_path=False)],
    )
    if verbose:  # facecore's own words; those of the libraries would bury them
        logging.getLogger("facecore").setLevel(logging.INFO)


def main() -> None:
    """Run a command; a user's mistake ends with a sentence, never with a stack trace."""
    try:
        app()
    except FacecoreError as error:
        words.print(styled(("facecore:", "bold red"), f" {error.message}"), soft_wrap=True)
        if error.remedy:
            words.print(error.remedy, soft_wrap=True)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        words.print("stopped")
        sys.exit(130)
