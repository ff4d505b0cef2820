"""The steps of the main job as commands, without Airflow: from a folder to names."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from facecore import cli
from facecore.cli.people import why_nobody
from facecore.config import settings
from facecore.local.platform import Platform
from facecore.samples.sources import portraits

Command = Callable[..., Any]


@pytest.fixture
def command(
    platform: Platform,
    store_env: dict[str, str],
    mlflow_env: dict[str, str],
    downloads: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Command]:
    """Run a command in this process on stores of its own; returns the JSON it prints."""
    database = platform.create_database(f"cli_{uuid4().hex[:12]}")
    own = {
        **store_env,
        **mlflow_env,
        "FACECORE_HOME": str(downloads.parent),
        "FACECORE_DATABASE__NAME": database.name,
        "FACECORE_DATABASE__USER": database.user,
        "FACECORE_DATABASE__PASSWORD": database.password.get_secret_value(),
        "FACECORE_S3__BUCKET_PREFIX": f"c{uuid4().hex[:8]}-",
    }
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()

    def run(*args: str) -> Any:
        monkeypatch.setattr(sys, "argv", ["facecore", *args, "--json"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert not ended.value.code, said.err
        return json.loads(said.out)

    yield run
    settings.cache_clear()


def test_from_a_folder_to_names(command: Command, tmp_path: Path) -> None:
    pictures = {p.name: p for p in portraits(settings().cache)}
    obama, probe = pictures["obama.jpg"], pictures["obama2.jpg"]
    inbox = tmp_path / "inbox" / "door"
    inbox.mkdir(parents=True)
    (inbox / "somebody.jpg").write_bytes(probe.path.read_bytes())
    (inbox / "notes.txt").write_text("not a picture")

    command("setup")
    assert command("enroll", "--person", obama.person, str(obama.path))[0]["state"] == "enrolled"
    assert command("deliver", str(tmp_path / "inbox")) == {"new_objects": 2, "refused": 0}
    assert command("ingest")["shards"] == 1
    assert command("deliver", str(tmp_path / "inbox")) == {"new_objects": 0, "refused": 0}
    assert command("ingest") == {"shards": 0}
    assert command("validate") == {"accepted": 1, "quarantined": 1}
    assert command("extract")["faces"] == 1
    named = command("identify")
    assert named["accept"] == 1
    face = command("search", str(probe.path))[0]
    assert face["match"]["outcome"] == "accept"
    assert (face["compared"], face["note"]) == (1, "")
    # of everybody seen at the door: the delivered picture, which is the same
    seen = command("search", str(probe.path), "--source", "door", "--since", "2000-01-01")[0]
    assert (seen["compared"], seen["match"]["label"]) == (1, obama.person)
    assert seen["match"]["score"] > 0.99 > face["match"]["score"]
    before = command("search", str(probe.path), "--until", "2000-01-01")[0]
    assert (before["compared"], before["match"]["candidates"]) == (0, [])
    assert command("index", "check") == {}  # two faces need no index
    assert command("index", "rebuild")["vectors"] == 2
    assert command("index", "check")["met"]
    report = command("report", "--out", str(tmp_path / "reports"))
    assert report
    assert list((tmp_path / "reports").rglob("*.html"))


@pytest.mark.parametrize(
    ("compared", "seen", "said"),
    [(0, False, "enrolled"), (0, True, "nobody was seen"), (7, True, "only unknown faces")],
)
def test_a_search_that_names_nobody_says_why(compared: int, seen: bool, said: str) -> None:
    assert said in why_nobody(compared, seen=seen)
