from __future__ import annotations

import os
import shutil
from pathlib import Path

import psycopg2
import pytest

from facecore.config import DatabaseSettings
from facecore.errors import PlatformError
from facecore.local.credentials import Credentials
from facecore.local.layout import Layout
from facecore.local.postgres import PostgresPart, _installed


def part(tmp_path: Path, installed: Path | None = None) -> PostgresPart:
    layout = Layout(tmp_path / "home")
    layout.create()
    return PostgresPart(layout, Credentials.load(layout.credentials_file), 1, installed=installed)


def test_vectors_and_a_large_index_build_work(postgres: DatabaseSettings) -> None:
    with psycopg2.connect(**postgres.dsn) as link, link.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE point AS SELECT i AS id, array_fill(0.1::real, '{128}')"
            "::vector(128)::halfvec(128) AS v FROM generate_series(1, 20000) i"
        )
        cursor.execute("SET max_parallel_maintenance_workers = 2")
        cursor.execute("CREATE INDEX ON point USING hnsw (v halfvec_cosine_ops)")
        cursor.execute("SHOW password_encryption")
        assert cursor.fetchone() == ("scram-sha-256",)
        cursor.execute("DROP TABLE point")
    link.close()


def test_data_of_another_version_is_refused_untouched(tmp_path: Path) -> None:
    made = part(tmp_path)
    made.data.mkdir(parents=True)
    (made.data / "PG_VERSION").write_text("16\n")
    with pytest.raises(PlatformError, match="written by PostgreSQL 16"):
        made.prepare()
    assert [p.name for p in made.data.iterdir()] == ["PG_VERSION"]
    made.layout.save_state({})
    made.layout.remove()


def test_a_folder_with_other_files_is_refused_untouched(tmp_path: Path) -> None:
    made = part(tmp_path)
    made.data.mkdir(parents=True)
    (made.data / "thesis.txt").write_text("mine")
    with pytest.raises(PlatformError, match="holds files but no database"):
        made.prepare()
    assert (made.data / "thesis.txt").read_text() == "mine"
    made.layout.save_state({})
    made.layout.remove()


def test_programs_in_a_closed_folder_are_copied_to_where_their_user_can_read(
    tmp_path: Path,
) -> None:
    """A checkout under /root: PostgreSQL's user can read neither its programs nor its data."""
    tmp_path.chmod(0o700)
    closed = tmp_path / "site-packages"
    package = _installed().parents[1]
    for folder in (_installed().parent, package.with_name(f"{package.name}.libs")):
        shutil.copytree(folder, closed / folder.relative_to(package.parent))
    made = part(tmp_path, closed / _installed().relative_to(package.parent))
    try:
        made.prepare()
        assert (made.data / "PG_VERSION").exists()
        assert made.bin.is_relative_to(closed) == (os.geteuid() != 0)
    finally:
        made.layout.save_state({})
        made.layout.remove()
    assert not made.data.exists()
