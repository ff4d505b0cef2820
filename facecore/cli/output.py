"""How commands speak: words and progress on stderr, one JSON document on stdout.

Names, reasons and paths are other people's text: a bracket in them is a bracket, never markup,
and a control character never reaches the terminal. What is to stand out is a `Text`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic_core import to_jsonable_python
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

# Piped into a file, lines are not cut to the width of a terminal nobody has.
_PIPED_COLUMNS = 160
# All control characters but tab and line feed, and what stands for bytes that are no UTF-8.
_CONTROLS = dict.fromkeys(
    [*range(9), *range(11, 32), *range(127, 160), *range(0xD800, 0xE000)], "\ufffd"
)


class _Plain(Console):
    """A console that takes text as it is."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(text.translate(_CONTROLS), **options)


def _console(*, stderr: bool) -> Console:
    console = _Plain(stderr=stderr, highlight=False, markup=False, emoji=False)
    if console.is_terminal:
        return console
    return _Plain(stderr=stderr, highlight=False, markup=False, emoji=False, width=_PIPED_COLUMNS)


words = _console(stderr=True)
_answers = _console(stderr=False)


def print_json(document: Any) -> None:
    """Write one JSON document to stdout."""
    plain = to_jsonable_python(document, fallback=lambda value: value.tolist(), inf_nan_mode="null")
    sys.stdout.write(json.dumps(plain, ensure_ascii=False, indent=2) + "\n")


def print_answer(*lines: Any) -> None:
    """Write a command's answer, for people, to stdout."""
    for line in lines:
        _answers.print(line, soft_wrap=isinstance(line, str | Text))


def styled(*parts: str | tuple[str, str]) -> Text:
    """One line of text and of (text, style)."""
    line = Text()
    for part in parts:
        text, style = (part, "") if isinstance(part, str) else part
        line.append(text.translate(_CONTROLS), style)
    return line


def print_counts(title: str, counts: Mapping[str, Any]) -> None:
    """Write names and numbers as a two-column table."""
    print_answer(styled((title, "italic")))
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    for name, value in counts.items():
        table.add_row(
            name.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value)
        )
    _answers.print(table)


@contextmanager
def progress(description: str) -> Iterator[Any]:
    """A progress bar on stderr; yields `advance(done, total)`, which sets its position."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=words,
        transient=not words.is_terminal,
    )
    with bar:
        task = bar.add_task(description, total=None)

        def advance(done: int, total: int | None = None) -> None:
            bar.update(task, completed=done, total=total)

        yield advance
