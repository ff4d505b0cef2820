"""What people wrote is shown as they wrote it: no markup, nothing that a terminal would obey."""

from __future__ import annotations

import pytest
from rich.table import Table

from facecore.cli.output import print_answer, print_counts, styled, words

HOSTILE = "Ops [/team] [red]Bob :smile: \x1b[31mred\x07 caf\udce9"
SHOWN = "Ops [/team] [red]Bob :smile: \ufffd[31mred\ufffd caf\ufffd"


def test_brackets_and_control_characters_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("name", title=HOSTILE, box=None)
    table.add_row(HOSTILE)
    print_answer(HOSTILE, styled(("3", "bold"), f" {HOSTILE}"), table)
    print_counts(HOSTILE, {HOSTILE: HOSTILE})
    words.print(HOSTILE)
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out
    assert printed.out.count(SHOWN) == 7
    assert SHOWN in printed.err


def test_lines_stay_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_answer("one\n\ttwo", styled("three ", ("four", "dim")))
    assert capsys.readouterr().out.split() == ["one", "two", "three", "four"]
