"""Bring the catalogue's tables to the version this program expects (Alembic, no alembic.ini)."""

from __future__ import annotations

from typing import Any

import psycopg2
from psycopg2 import errors as pg

from facecore.config import DatabaseSettings
from facecore.errors import ConfigError
from facecore.stores.catalog.connection import Catalog, told_in_our_words

_MIGRATION_LOCK = 0x666163  # any constant; two migrations wait for each other


def migrate(database: DatabaseSettings) -> str:
    """Create or upgrade the catalogue; safe to repeat and to run twice at once.

    Returns:
        The version the catalogue has now.

    Raises:
        ConfigError: pgvector is not installed in the database and this user may not install it.
    """
    from alembic import command
    from sqlalchemy import NullPool, create_engine
    from sqlalchemy.exc import DBAPIError

    catalog = Catalog(database)
    with catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_MIGRATION_LOCK])
        try:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public")
        except (pg.InsufficientPrivilege, pg.FeatureNotSupported, pg.UndefinedFile):
            raise ConfigError(
                f"database {database.name!r} has no pgvector.",
                remedy="Install it, then as a superuser: CREATE EXTENSION vector.",
            ) from None
        cursor.execute("CREATE SCHEMA IF NOT EXISTS facecore")

    engine = create_engine("postgresql+psycopg2://", creator=catalog.connect, poolclass=NullPool)
    with told_in_our_words(database):
        try:
            with engine.begin() as connection:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
                config = _alembic_config()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except DBAPIError as error:
            raise (error.orig or error) from None
    return expected_version()


def schema_version(database: DatabaseSettings) -> str | None:
    """The version the catalogue has, or None when it was never created."""
    with Catalog(database).transaction() as tx, tx.cursor() as cursor:
        cursor.execute("SELECT to_regclass('facecore.schema_version') IS NOT NULL")
        if not _scalar(cursor):
            return None
        cursor.execute("SELECT version_num FROM facecore.schema_version")
        version = _scalar(cursor)
        return None if version is None else str(version)


def expected_version() -> str:
    """The version this program was written for."""
    from alembic.script import ScriptDirectory

    head = ScriptDirectory.from_config(_alembic_config()).get_current_head()
    if head is None:
        raise ConfigError("the installed facecore has no migrations; reinstall it.")
    return head


def _alembic_config() -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "facecore.stores:migrations")
    return config


def _scalar(cursor: psycopg2.extensions.cursor) -> Any:
    row = cursor.fetchone()
    return None if row is None else row[0]
