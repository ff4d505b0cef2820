"""A user's mistake or a store that is down ends with a sentence, never with a stack trace."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from facecore.config import MlflowSettings, S3Settings, Settings
from facecore.jobs.platform.setup import set_up
from facecore.jobs.stores import Stores
from facecore.local.platform import Platform

Facecore = Callable[..., "subprocess.CompletedProcess[str]"]


def told(done: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    flat = " ".join(done.stderr.split())
    for word in words:
        assert word in flat, done.stderr


def test_ingest_of_nothing_is_done_at_once(facecore: Facecore, ready: dict[str, str]) -> None:
    done = facecore("ingest", "--prefix", "nothing/lies/here/", "--json", **ready)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"shards": 0}


def test_an_unreachable_database(facecore: Facecore, ready: dict[str, str]) -> None:
    done = facecore("ingest", **ready | {"FACECORE_DATABASE__PORT": "1"})
    told(done, 1, "PostgreSQL at 127.0.0.1:1", "cannot be reached", "facecore status")


def test_a_wrong_database_password(facecore: Facecore, ready: dict[str, str]) -> None:
    done = facecore("ingest", **ready | {"FACECORE_DATABASE__PASSWORD": "not-the-password"})
    told(done, 2, "refused user", "FACECORE_DATABASE__PASSWORD")
    assert "not-the-password" not in done.stderr


def test_an_unreachable_object_store(facecore: Facecore, ready: dict[str, str]) -> None:
    done = facecore("ingest", **ready | {"FACECORE_S3__ENDPOINT": "http://127.0.0.1:1"})
    told(done, 1, "S3 at http://127.0.0.1:1", "facecore status")


def test_a_wrong_object_store_secret(facecore: Facecore, ready: dict[str, str]) -> None:
    done = facecore("ingest", **ready | {"FACECORE_S3__SECRET_KEY": "not-the-secret"})
    told(done, 2, "refused access key", "FACECORE_S3__SECRET_KEY")
    assert "not-the-secret" not in done.stderr


def test_a_file_name_that_is_not_utf8_costs_that_file(
    facecore: Facecore, ready: dict[str, str], tmp_path: Path
) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for name in (b"caf\xe9.jpg", b"good.jpg"):
        Path(os.fsdecode(os.fsencode(inbox) + b"/" + name)).write_bytes(uuid4().bytes)
    done = facecore("deliver", str(inbox), "--prefix", "names/", "--json", **ready)
    told(done, 1, "caf\\udce9.jpg", "not UTF-8", "Rename")
    assert json.loads(done.stdout) == {"new_objects": 1, "refused": 1}


@pytest.fixture
def models_in_use(
    platform: Platform,
    ready: dict[str, str],
    s3: S3Settings,
    mlflow_server: MlflowSettings,
    downloads: Path,
) -> dict[str, str]:
    """Settings of a catalogue of its own that knows which models are in use.

    The session's shared one may hold models that other tests made up.
    """
    database = platform.create_database(f"faults_{uuid4().hex[:12]}")
    own = Settings(database=database, s3=s3, mlflow=mlflow_server, home=downloads.parent)
    set_up(Stores(own))
    return ready | {"FACECORE_DATABASE__NAME": database.name}


def test_an_unreachable_registry(
    facecore: Facecore, models_in_use: dict[str, str], tmp_path: Path
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"anything")
    settings = models_in_use | {"FACECORE_MLFLOW__TRACKING_URI": "http://127.0.0.1:1"}
    done = facecore("enroll", "--person", "A", str(photo), **settings)
    told(done, 1, "MLflow")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("FACECORE_EXTRACT__DEVICE", "tpu", "FACECORE_EXTRACT__DEVICE"),
        ("FACECORE_REPORT__TIMEZONE", "Europe", "'Europe' is not a time zone"),
        ("FACECORE_EXTRACT__DETECT_SIDES_PX", "abc", "DETECT_SIDES_PX"),
        ("FACECORE_EXTRACT", "abc", "extract"),
    ],
)
def test_an_invalid_setting_is_named(facecore: Facecore, name: str, value: str, words: str) -> None:
    told(facecore("models", **{name: value}), 2, words)


def test_a_device_that_is_not_there(facecore: Facecore, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.fail("run this test where there is no CUDA device")
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "A_0001.jpg").write_bytes(b"x")
    (tmp_path / "pairs").write_text("2\t1\nA\t1\t1\nA\t1\tA\t1\nA\t1\t1\nA\t1\tA\t1\n")
    done = facecore(
        "evaluate", "verification", "--images", str(tmp_path), "--pairs", str(tmp_path / "pairs"),
        "--model", "default", FACECORE_EXTRACT__DEVICE="cuda",
    )  # fmt: skip
    told(done, 2, "cuda")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["report", "--start", "yesterday"], ["'yesterday' is not a date"]),
        (["report", "--start", "2026-11-02", "--end", "2026-11-01"], ["ends before it begins"]),
        (["demo", "--images", "/nowhere"], ["/nowhere", "does not exist"]),
        (["demo", "--images", ".", "--dataset", "lfw"], ["exclude each other"]),
        (["demo", "--dataset", "mnist"], ["'mnist' is not known"]),
        (["demo", "--images", "/no[/where]"], ["/no[/where]", "does not exist"]),
    ],
)
def test_wrong_arguments(facecore: Facecore, args: list[str], words: list[str]) -> None:
    told(facecore(*args), 2, *words)


def test_unknown_commands_and_options_exit_with_2(facecore: Facecore) -> None:
    assert facecore("explode").returncode == 2
    assert facecore("status", "--nonsense").returncode == 2


def test_the_embedded_platform_uses_no_stores_but_its_own(
    facecore: Facecore, ready: dict[str, str]
) -> None:
    done = facecore("up", **ready)
    told(done, 2, "FACECORE_DATABASE__HOST", "FACECORE_S3__ENDPOINT", "docs/production.md")
    assert ready["FACECORE_S3__SECRET_KEY"] not in done.stderr


def test_status_of_a_platform_that_was_never_started(facecore: Facecore) -> None:
    done = facecore("status", "--json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["platform"]["running"] is False
    assert document["catalog"] is None


def test_version(facecore: Facecore) -> None:
    assert facecore("--version").stdout.strip() == "0.1.0"
