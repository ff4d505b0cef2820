from __future__ import annotations

import configparser
import json
import shlex
from pathlib import Path

import pytest

from facecore.local.layout import Layout
from facecore.local.programs import (
    Program,
    inherited_environment,
    supervisor_configuration,
    write_program,
)


def test_variables_that_would_redirect_a_part_are_not_inherited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AIRFLOW_HOME", "MLFLOW_TRACKING_URI", "PGHOST", "FACECORE_S3__ENDPOINT"):
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.setenv("FACECORE_EXTRACT__DEVICE", "cpu")
    inherited = inherited_environment()
    assert "elsewhere" not in inherited.values()
    assert inherited["FACECORE_EXTRACT__DEVICE"] == "cpu"
    assert "PATH" in inherited


def test_the_parts_reach_each_other_behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("NO_PROXY", "intranet.example")
    monkeypatch.delenv("no_proxy", raising=False)
    inherited = inherited_environment()
    assert inherited["HTTP_PROXY"] == "http://proxy.invalid:3128"
    for name in ("no_proxy", "NO_PROXY"):
        assert inherited[name] == "intranet.example,127.0.0.1,localhost"


def test_secrets_are_in_the_private_file_not_in_the_configuration(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "50% of a home")
    layout.home.mkdir()
    layout.create()
    program = Program("one", ("/bin/true",), tmp_path, order=7, env={"PASSWORD": "hidden!"})
    write_program(layout, program)
    text = supervisor_configuration(layout, "pw", [program])
    assert "hidden!" not in text
    assert "hidden!" not in repr(program)
    stored = layout.programs / "one.json"
    assert json.loads(stored.read_text())["env"]["PASSWORD"] == "hidden!"
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    command = parser["program:one"]["command"].replace("%%", "%")
    assert shlex.split(command)[-1] == str(stored)
    assert parser["program:one"]["autorestart"] == "true"
    assert parser["unix_http_server"]["chmod"] == "0700"
