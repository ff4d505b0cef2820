"""Transactions on the catalogue, and PostgreSQL's errors told in facecore's words.

One connection per transaction: transactions here last from milliseconds to minutes and
connecting costs about 5 ms, so there is no pool to go stale when the server restarts or to be
inherited by a forked worker.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import psycopg2
import psycopg2.extensions
from psycopg2 import errors as pg

from facecore.config import DatabaseSettings
from facecore.errors import (
    CatalogBusy,
    CatalogUnavailable,
    ChangeRefused,
    ConfigError,
    CredentialsRejected,
    FacecoreError,
    StorageFull,
    UsageError,
)

Transaction: TypeAlias = psycopg2.extensions.connection

_STORE = "PostgreSQL"
_GUARD = "FC001"  # raised by the triggers of the catalogue

# Nothing waits for ever: for a lock, for a statement, or for a peer that is gone. A claimed
# shard may idle for long inside its transaction, so that has no limit; a worker that died
# releases it when its socket closes, and at the latest when the server's keepalives fail.
# Times come back in UTC: the server's own zone may push the first and last years over the edge.
_OPTIONS = (
    "-c search_path=facecore,public -c timezone=UTC "
    "-c lock_timeout={lock_s}s -c statement_timeout={statement_s}s "
    "-c tcp_keepalives_idle=20 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=4"
)
_KEEPALIVES = {
    "keepalives": 1,
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 40_000,
}

# While connecting libpq gives no SQLSTATE, only the server's text.
_REFUSALS = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "permission denied for database",
    'role "',
)


class Catalog:
    """The catalogue of one database. Holds no connection: safe to share and to fork."""

    def __init__(
        self, database: DatabaseSettings, *, lock_s: int = 120, statement_s: int = 900
    ) -> None:
        self.database = database
        self._options = _OPTIONS.format(lock_s=lock_s, statement_s=statement_s)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction: committed when the block ends, undone when it raises.

        Raises:
            CatalogUnavailable: the server cannot be reached, or went away.
            CredentialsRejected: it refused the user or password.
            CatalogBusy: a lock was held too long, or two transactions got in each other's way.
            ChangeRefused: a constraint or guard of the catalogue forbids the change.
            StorageFull: the database's disk is full.
            ConfigError: the database or its tables do not exist.
        """
        connection = self.connect()
        try:
            with told_in_our_words(self.database):
                yield connection
                connection.commit()
        finally:
            connection.close()  # undoes what was not committed

    def connect(self) -> Transaction:
        """A bare connection, which the caller closes; `transaction` is what you want."""
        try:
            arguments = {**self.database.dsn, **_KEEPALIVES, "options": self._options}
            connection: Transaction = psycopg2.connect(**arguments)
        except psycopg2.OperationalError as error:
            raise _connection_error(self.database, str(error)) from None
        return connection


def _where(database: DatabaseSettings) -> str:
    return f"{database.host}:{database.port}/{database.name}"


def _connection_error(database: DatabaseSettings, text: str) -> FacecoreError:
    text = " ".join(text.split())
    if any(sign in text for sign in _REFUSALS):
        return CredentialsRejected(
            _STORE,
            f"PostgreSQL at {_where(database)} refused user {database.user!r}.",
            remedy="Check FACECORE_DATABASE__USER and FACECORE_DATABASE__PASSWORD.",
        )
    if 'database "' in text and "does not exist" in text:
        return ConfigError(
            f"PostgreSQL at {database.host}:{database.port} has no database {database.name!r}.",
            remedy="Create it, or correct FACECORE_DATABASE__NAME.",
        )
    return CatalogUnavailable(
        f"PostgreSQL at {_where(database)} cannot be reached: {text}.",
        remedy="Is it running? See `facecore status`.",
    )


@contextmanager
def told_in_our_words(database: DatabaseSettings) -> Iterator[None]:
    """Turn the driver's errors into facecore's; what is left is a defect of the program.

    Only the server's primary message is passed on: its details quote rows, and rows hold names.
    """
    try:
        yield
    except psycopg2.Error as error:
        translated = _translate(database, error)
        if translated is None:
            raise
        raise translated from None


def _translate(database: DatabaseSettings, error: psycopg2.Error) -> FacecoreError | None:
    code = error.pgcode or ""
    message = (error.diag.message_primary or str(error).strip()).rstrip(".")
    rules: tuple[tuple[bool, type[FacecoreError], dict[str, Any]], ...] = (
        (
            code == _GUARD or isinstance(error, psycopg2.IntegrityError),
            ChangeRefused,
            {"rule": error.diag.constraint_name or "guard"},
        ),
        (
            isinstance(
                error,
                pg.LockNotAvailable
                | pg.DeadlockDetected
                | pg.SerializationFailure
                | pg.QueryCanceled,
            ),
            CatalogBusy,
            {"remedy": "Try again; see `facecore status` for what is running."},
        ),
        (isinstance(error, pg.NumericValueOutOfRange), UsageError, {}),
        (
            isinstance(error, pg.UndefinedTable | pg.UndefinedColumn | pg.InvalidSchemaName),
            ConfigError,
            {"remedy": "The catalogue is older than the program: run its migrations."},
        ),
    )
    if isinstance(error, pg.DiskFull):
        return StorageFull(
            _STORE, f"{_STORE}: {message}.", remedy="Free space on the database's disk."
        )
    for applies, kind, extra in rules:
        if applies:
            return kind(f"catalogue: {message}.", **extra)
    if code[:2] in ("08", "53", "57") or (
        not code and isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
    ):
        return CatalogUnavailable(
            f"PostgreSQL at {_where(database)} went away: {' '.join(message.split())}.",
            remedy="Try again; see `facecore status`.",
        )
    return None
