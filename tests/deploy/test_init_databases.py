"""`deploy/init_databases.py` against a PostgreSQL server of its own (it changes roles)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from facecore.local.credentials import Credentials
from facecore.local.platform import Platform

REPO = Path(__file__).parents[2]
ROLES = ("airflow", "mlflow", "facecore")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The script's environment for a fresh server without facecore's roles."""
    folder = tmp_path_factory.mktemp("databases")
    for part in (folder, *folder.parents[:2]):
        part.chmod(0o711)  # run by root, PostgreSQL's own user must pass through
    platform = Platform(folder / "home", REPO, standard_ports=False)
    platform.up(["postgres"])
    settings = platform.create_database("scratch")
    environment = {
        "POSTGRES_HOST": settings.host,
        "POSTGRES_PORT": str(settings.port),
        "POSTGRES_PASSWORD": Credentials.load(platform.layout.credentials_file)["postgres"],
        **{f"{role.upper()}_DB_PASSWORD": f"{role}-password-1" for role in ROLES},
    }
    superuser = psycopg2.connect(
        host=settings.host,
        port=settings.port,
        user="postgres",
        password=environment["POSTGRES_PASSWORD"],
        dbname="postgres",
    )
    superuser.autocommit = True
    with closing(superuser), superuser.cursor() as cursor:
        cursor.execute("DROP DATABASE scratch")
        for role in ROLES:
            cursor.execute(f"DROP DATABASE {role}")
        for role in ROLES:
            cursor.execute(f"DROP ROLE {role}")
    yield environment
    platform.clean()


def login(
    server: dict[str, str], role: str, password: str, database: str
) -> psycopg2.extensions.connection:
    return psycopg2.connect(
        host=server["POSTGRES_HOST"],
        port=int(server["POSTGRES_PORT"]),
        user=role,
        password=password,
        dbname=database,
        connect_timeout=5,
    )


def test_creates_roles_that_own_their_database_and_see_no_other(server, script):
    assert script("init_databases").main(server) == 0
    for role in ROLES:
        link = login(server, role, f"{role}-password-1", role)
        with closing(link), link.cursor() as cursor:
            cursor.execute("CREATE SCHEMA own")
            cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
            assert cursor.fetchone() == (False,)
        other = ROLES[ROLES.index(role) - 1]
        with pytest.raises(psycopg2.OperationalError, match="permission denied"):
            login(server, role, f"{role}-password-1", other)


def test_facecore_can_store_half_vectors(server, script):
    assert script("init_databases").main(server) == 0
    link = login(server, "facecore", "facecore-password-1", "facecore")
    with closing(link), link.cursor() as cursor:
        cursor.execute("SELECT '[1,2]'::halfvec <=> '[1,2]'::halfvec")
        assert cursor.fetchone() == (0.0,)


def test_running_again_keeps_data_and_rotates_the_password(server, script):
    run = script("init_databases").main
    assert run(server) == 0
    link = login(server, "mlflow", "mlflow-password-1", "mlflow")
    with closing(link), link, link.cursor() as cursor:
        cursor.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    assert run({**server, "MLFLOW_DB_PASSWORD": "mlflow-password-2"}) == 0
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        login(server, "mlflow", "mlflow-password-1", "mlflow")
    link = login(server, "mlflow", "mlflow-password-2", "mlflow")
    with closing(link), link.cursor() as cursor:
        cursor.execute("SELECT answer FROM kept")
        assert cursor.fetchone() == (42,)
    assert run(server) == 0


@pytest.mark.parametrize("unusable", ["", "short", "with@sign/and:colon", "with space in it"])
def test_a_password_that_would_break_an_url_is_named_and_not_shown(
    server, script, capsys, unusable
):
    assert script("init_databases").main({**server, "AIRFLOW_DB_PASSWORD": unusable}) == 2
    message = capsys.readouterr().err
    assert "AIRFLOW_DB_PASSWORD must be" in message
    assert not unusable or unusable not in message


def test_a_wrong_superuser_password_is_one_clear_line(server, script, capsys):
    assert script("init_databases").main({**server, "POSTGRES_PASSWORD": "not-the-one"}) == 1
    message = capsys.readouterr().err
    assert "password authentication failed" in message
    assert "not-the-one" not in message
    assert "Traceback" not in message
