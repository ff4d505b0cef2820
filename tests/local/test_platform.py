"""The platform's own promises, with real PostgreSQL and S3 servers."""

from __future__ import annotations

import io
import os
import signal
import socket
import stat
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest

from facecore.errors import PlatformError, StorageFull, UsageError
from facecore.local import ports
from facecore.local.platform import Platform


def pids(platform: Platform) -> dict[str, int | None]:
    return {part.name: part.pid for part in platform.status().parts if part.pid}


def eventually(check: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.2)


def healthy(platform: Platform, part: str) -> bool:
    return {p.name: p.healthy for p in platform.status().parts}[part]


def test_files_with_secrets_are_private(own: Platform) -> None:
    layout = own.layout
    for path in (layout.credentials_file, layout.env_file, *layout.programs.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for folder in (layout.run, layout.log, layout.socket.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
    assert not layout.socket.stat().st_mode & 0o077


def test_a_second_start_changes_nothing(own: Platform) -> None:
    before = pids(own)
    own.up(["postgres", "s3"])
    assert pids(own) == before


def test_two_starts_at_once_do_not_collide(own: Platform) -> None:
    before = pids(own)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: own.up(["postgres"]), range(2)))
    assert pids(own) == before


def test_status_tells_each_part(own: Platform) -> None:
    status = own.status()
    parts = {part.name: part for part in status.parts}
    assert status.running
    assert not status.healthy  # mlflow and airflow are not started
    assert parts["postgres"].healthy
    assert parts["postgres"].version.startswith("18")
    assert parts["postgres"].memory_bytes > 2**20
    assert parts["s3"].state == "running"
    assert parts["airflow"].state == "stopped"
    assert parts["airflow"].pid is None


def test_a_killed_database_comes_back_with_its_data(own: Platform) -> None:
    settings = own.create_database("survivor")
    with psycopg2.connect(**settings.dsn) as link, link.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS kept AS SELECT 42 AS value")
    link.close()
    before = pids(own)["postgres"]
    assert before is not None
    os.kill(before, signal.SIGKILL)
    eventually(lambda: pids(own).get("postgres") not in (None, before) and healthy(own, "postgres"))
    with psycopg2.connect(**settings.dsn) as link, link.cursor() as cursor:
        cursor.execute("SELECT value FROM kept")
        assert cursor.fetchone() == (42,)
    link.close()


def test_a_killed_object_store_comes_back_with_its_data(own: Platform, look: Any) -> None:
    client = look.s3(own.s3)
    if not client.bucket_exists("survivor"):
        client.make_bucket("survivor")
    client.put_object("survivor", "kept", io.BytesIO(b"42"), 2)
    before = pids(own)["s3"]
    assert before is not None
    os.kill(before, signal.SIGKILL)
    eventually(lambda: pids(own).get("s3") not in (None, before) and healthy(own, "s3"))
    assert client.get_object("survivor", "kept").read() == b"42"


def test_a_killed_supervisor_is_cleaned_up_after(own: Platform, look: Any) -> None:
    before = {process.pid for process in look.processes(own)}
    supervisor = own.status().supervisor_pid
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    eventually(lambda: not own.status().running)
    assert look.alive(own)  # its children go on without it
    own.up(["postgres", "s3"])
    assert healthy(own, "postgres")
    assert healthy(own, "s3")
    assert not [pid for pid in before if psutil.pid_exists(pid)]


def test_down_leaves_nothing_and_up_remembers_the_ports(own: Platform, look: Any) -> None:
    ports = {part.name: part.port for part in own.status().parts}
    before = look.processes(own)
    own.down()
    assert not [process for process in before if process.is_running()]
    assert look.alive(own) == []
    stale = [path for program in own._started().programs() for path in program.stale]
    assert len(stale) == 5
    assert not [path for path in stale if path.exists()]
    assert not own.status().running
    own.down()  # and again
    own.up(["postgres", "s3"])
    assert {part.name: part.port for part in own.status().parts} == ports


def test_a_port_taken_meanwhile_is_replaced_everywhere(own: Platform) -> None:
    taken = own.database.port
    own.down()
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", taken))
        stranger.listen()
        own.up(["postgres", "s3"])
    assert own.database.port != taken
    assert f"FACECORE_DATABASE__PORT={own.database.port}\n" in own.layout.env_file.read_text()
    assert healthy(own, "postgres")


def test_a_port_taken_while_it_starts_is_replaced(
    own: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.down()
    said: list[str] = []
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        taken = stranger.getsockname()[1]
        choose = ports.choose

        def just_before(remembered: Mapping[str, int], *, standard: bool) -> dict[str, int]:
            monkeypatch.setattr(ports, "choose", choose)
            return choose(remembered, standard=standard) | {"s3": taken}

        monkeypatch.setattr(ports, "choose", just_before)
        own.up(["postgres", "s3"], lambda _, words: said.append(words))
    assert any("taken meanwhile" in words for words in said)
    assert str(taken) not in own.s3.endpoint
    assert healthy(own, "s3")


def test_a_part_that_cannot_start_is_named_with_the_end_of_its_log(own: Platform) -> None:
    own.down()
    broken = Path(own._started().postgres.data) / "postgresql.auto.conf"
    original = broken.read_text()
    broken.write_text("shared_preload_libraries = 'no_such_library'\n")
    try:
        with pytest.raises(PlatformError, match="no_such_library") as raised:
            own.up(["postgres"])
    finally:
        broken.write_text(original)
        own.down()
        own.up(["postgres", "s3"])
    assert raised.value.part == "postgres"
    assert raised.value.log == str(own.layout.log / "postgres.log")
    assert raised.value.remedy


def test_too_little_space_is_said_before_anything_starts(tmp_path: Path) -> None:
    platform = Platform(tmp_path / "home", tmp_path, min_free_bytes=2**60)
    with pytest.raises(StorageFull, match="free"):
        platform.up()
    assert not platform.layout.home.exists()


def test_a_foreign_folder_is_not_cleaned(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"dear")
    with pytest.raises(UsageError, match="nothing was removed"):
        Platform(tmp_path, Path.cwd()).clean()
    assert (tmp_path / "photo.jpg").exists()


def test_before_the_first_start(tmp_path: Path) -> None:
    platform = Platform(tmp_path / "home", tmp_path)
    assert not platform.status().running
    platform.down()
    platform.clean()
    assert not platform.layout.home.exists()
    with pytest.raises(UsageError, match="facecore up"):
        platform.endpoints()
    with pytest.raises(UsageError, match="unknown part"):
        platform.up(["mysql"])


def test_a_private_home_works_too_and_is_removed_entirely(tmp_path: Path) -> None:
    """Run by root, the database's own user cannot reach a folder like this one."""
    tmp_path.chmod(0o700)
    platform = Platform(tmp_path / "home", tmp_path, standard_ports=False)
    try:
        platform.up(["postgres"])
        data = platform._started().postgres.data
        assert (data / "PG_VERSION").exists()
        assert data.is_relative_to(platform.layout.home) == (os.geteuid() != 0)
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    finally:
        platform.clean()
    assert not data.exists()
    assert not platform.layout.home.exists()
    assert tmp_path.exists()
