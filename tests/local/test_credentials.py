from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from facecore.errors import PlatformError
from facecore.local.credentials import Credentials


def test_generated_once_then_kept_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    first = Credentials.load(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    second = Credentials.load(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first.secrets() == second.secrets()
    assert len(set(first.secrets())) == len(first.secrets())
    assert min(map(len, first.secrets())) >= 20


def test_a_missing_one_is_added_and_the_rest_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    Credentials.load(path)
    values = json.loads(path.read_text())
    del values["mlflow"]
    path.write_text(json.dumps(values))
    assert Credentials.load(path)["mlflow"]
    assert Credentials.load(path)["postgres"] == values["postgres"]


def test_never_shown(tmp_path: Path) -> None:
    made = Credentials.load(tmp_path / "credentials.json")
    assert not [secret for secret in made.secrets() if secret in f"{made!r} {made}"]


def test_a_damaged_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    path.write_text("{")
    with pytest.raises(PlatformError, match="damaged"):
        Credentials.load(path)
    assert path.read_text() == "{"
