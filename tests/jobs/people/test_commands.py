"""`facecore cluster` and `facecore people …`, in this process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from facecore import cli
from facecore.config import settings


@pytest.fixture
def command(
    world, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Any]]:
    """Run a command; returns its status, the JSON on stdout (or the words) and stderr."""
    database = world.stores.settings.database
    monkeypatch.setenv("FACECORE_HOME", str(tmp_path))
    monkeypatch.setenv("FACECORE_DATABASE__PASSWORD", database.password.get_secret_value())
    for name in ("host", "port", "name", "user"):
        monkeypatch.setenv(f"FACECORE_DATABASE__{name.upper()}", str(getattr(database, name)))
    settings.cache_clear()

    def run(*args: str) -> tuple[int, Any, str]:
        monkeypatch.setattr(sys, "argv", ["facecore", *args])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return (
            int(ended.value.code or 0),
            json.loads(said.out) if "--json" in args and said.out else said.out,
            said.err,
        )

    yield run
    settings.cache_clear()


def test_from_unknown_faces_to_named_people_and_back(world, command):
    x = world.add(world.near("x", 5))
    y = world.add(world.near("y", 3))
    status, counts, _ = command("cluster", "--full", "--json")
    assert (status, counts["people"], counts["faces"]) == (0, 2, 8)
    _, listed, _ = command("people", "list", "--unnamed", "--json")
    assert [person["faces"] for person in listed] == [5, 3]
    first, second = (person["id"] for person in listed)
    status, said, _ = command("people", "name", str(first), "Grace", "--reason", "known")
    assert (status, "is called Grace" in said) == (0, True)
    status, _, words = command("people", "name", str(second), "Grace", "-r", "known")
    assert status == 2
    assert "Merge the two" in words
    status, answer, _ = command("people", "split", str(first), str(x[0]), "-r", "no", "--json")
    assert set(world.whose(x[:1]).values()) == {answer["person"]}
    command("people", "merge", str(first), str(second), "-r", "twice")
    assert set(world.whose(x[1:] + y).values()) == {first}
    status, answer, _ = command("people", "not", str(y[0]), str(first), "-r", "other", "--json")
    assert world.whose(y[:1]) == {y[0]: None}
    assert command("people", "undo", str(answer["decision"]), "-r", "was right")[0] == 0
    assert world.whose(y[:1]) == {y[0]: first}
    _, shown, _ = command("people", "show", str(second), "--json")
    assert shown["person"]["label"] == "Grace"
    assert [d["kind"] for d in shown["decisions"]] == ["undo", "not", "merge", "split", "name"]
    status, text, _ = command("people", "show", str(first))
    assert "Grace" in text
    assert "(undone)" in text
    status, text, _ = command("people", "list", "gr")
    assert "Grace" in text


def test_mistakes_end_in_a_sentence(world, command):
    status, _, words = command("people", "show", "12345")
    assert (status, "no person '12345'" in words) == (2, True)
    status, _, words = command("people", "undo", "12345", "-r", "x")
    assert (status, "no decision '12345'" in words) == (2, True)
    status, table, _ = command("cluster")
    assert (status, "people" in table) == (0, True)
