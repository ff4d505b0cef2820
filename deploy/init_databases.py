"""Roles, databases and the vector extension, from the environment; safe to run on every start.

Each of airflow, mlflow and facecore gets a login role, a database it owns, and no access to the
others. An existing role gets the password of the environment: changing `.env` and starting again
rotates it. `CREATE EXTENSION vector` needs a superuser, hence this step.

Reads POSTGRES_HOST, POSTGRES_PORT, POSTGRES_SUPERUSER, POSTGRES_PASSWORD and
AIRFLOW_DB_PASSWORD, MLFLOW_DB_PASSWORD, FACECORE_DB_PASSWORD.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from contextlib import closing

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection, encrypt_password

OWNERS = {"airflow": (), "mlflow": (), "facecore": ("vector",)}
URL_SAFE = re.compile(r"[A-Za-z0-9._~-]{12,}")


class SetupError(Exception):
    """A value of the environment cannot be used; the message names it, never shows it."""


def passwords(environment: Mapping[str, str]) -> dict[str, str]:
    """The password of each role.

    Raises:
        SetupError: one is missing, short, or has characters that would change the meaning of a
            database URL.
    """
    found = {}
    for role in OWNERS:
        name = f"{role.upper()}_DB_PASSWORD"
        value = environment.get(name, "")
        if not URL_SAFE.fullmatch(value):
            raise SetupError(
                f"{name} must be at least 12 letters, digits or . _ ~ - "
                "(for example from: openssl rand -hex 24)."
            )
        found[role] = value
    return found


def connect(environment: Mapping[str, str], database: str) -> connection:
    """A superuser's connection in autocommit mode (CREATE DATABASE allows no transaction)."""
    opened = psycopg2.connect(
        host=environment.get("POSTGRES_HOST", "postgres"),
        port=int(environment.get("POSTGRES_PORT", "5432")),
        user=environment.get("POSTGRES_SUPERUSER", "postgres"),
        password=environment["POSTGRES_PASSWORD"],
        dbname=database,
        connect_timeout=10,
        application_name="facecore-init",
    )
    opened.autocommit = True
    return opened


def ensure_role(server: connection, role: str, password: str) -> None:
    """Create the role or give it this password."""
    # Hashed here, so that the password is in no statement and in no log.
    secret = encrypt_password(password, role, scope=server, algorithm="scram-sha-256")
    with server.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,))
        verb = "ALTER" if cursor.fetchone() else "CREATE"
        statement = sql.SQL(verb + " ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD {}")
        cursor.execute(statement.format(sql.Identifier(role), sql.Literal(secret)))


def ensure_database(server: connection, role: str) -> None:
    """Create the role's database, owned by it and closed to everyone else."""
    name = sql.Identifier(role)
    with server.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (role,))
        if not cursor.fetchone():
            # A managed server's administrator is no superuser and must be a member to hand over.
            cursor.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(name))
            cursor.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} ENCODING 'UTF8' TEMPLATE template0").format(
                    name, name
                )
            )
        cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))


def main(environment: Mapping[str, str]) -> int:
    """Do it all; 0 when done, 2 when the environment is wrong, 1 when the server refuses."""
    try:
        secrets = passwords(environment)
        with closing(connect(environment, "postgres")) as server:
            for role, password in secrets.items():
                ensure_role(server, role, password)
                ensure_database(server, role)
        for role, extensions in OWNERS.items():
            with closing(connect(environment, role)) as database, database.cursor() as cursor:
                for extension in extensions:
                    cursor.execute(
                        sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(
                            sql.Identifier(extension)
                        )
                    )
    except SetupError as error:
        print(f"init-databases: {error}", file=sys.stderr)
        return 2
    except psycopg2.Error as error:
        print(f"init-databases: {str(error).strip()}", file=sys.stderr)
        return 1
    print(f"init-databases: {', '.join(OWNERS)} are ready.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
