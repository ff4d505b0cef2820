"""What transactions promise, and what each failure of PostgreSQL is called."""

from __future__ import annotations

import socket
import threading
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
from pydantic import SecretStr

from facecore.errors import (
    CatalogBusy,
    CatalogUnavailable,
    ChangeRefused,
    ConfigError,
    CredentialsRejected,
    StorageFull,
)
from facecore.stores.catalog import Catalog
from facecore.stores.catalog.people import people


def _count(catalog: Catalog) -> int:
    with catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM person")
        return cursor.fetchone()[0]


def test_a_block_that_ends_is_committed_and_one_that_raises_is_undone(catalog):
    with catalog.transaction() as tx:
        people.enrol(tx, "Ada")
    assert _count(catalog) == 1

    def enrol_and_fail() -> None:
        with catalog.transaction() as tx:
            people.enrol(tx, "Grace")
            raise KeyError("the caller's own error passes unchanged")

    with pytest.raises(KeyError, match="own error"):
        enrol_and_fail()
    assert _count(catalog) == 1


def test_times_come_back_in_utc_whatever_the_databases_zone_is(catalog, migrated):
    """New York's first years lie before Python's first: they could not be read."""
    first = datetime(1, 1, 1, tzinfo=UTC)

    def execute(statement: str) -> None:
        with catalog.transaction() as tx, tx.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {migrated.name} {statement}")

    execute("SET timezone = 'America/New_York'")
    try:
        with catalog.transaction() as tx, tx.cursor() as cursor:
            cursor.execute("SELECT %s::timestamptz", [first])
            (read,) = cursor.fetchone()
    finally:
        execute("RESET timezone")
    assert (read, read.utcoffset()) == (first, timedelta(0))


def test_a_wrong_password_is_said_and_never_shown(migrated):
    wrong = migrated.model_copy(update={"password": SecretStr("not-the-password")})
    with pytest.raises(CredentialsRejected) as caught, Catalog(wrong).transaction():
        pass
    assert caught.value.store == "PostgreSQL"
    assert "not-the-password" not in str(caught.value)
    assert migrated.user in str(caught.value)


@pytest.mark.parametrize("user", ["nobody", ""])
def test_an_unknown_user_is_refused(migrated, user):
    unknown = migrated.model_copy(update={"user": user or "x", "password": SecretStr("")})
    with pytest.raises(CredentialsRejected), Catalog(unknown).transaction():
        pass


def test_an_unknown_database_is_a_wrong_setting(migrated):
    elsewhere = migrated.model_copy(update={"name": "nowhere"})
    with pytest.raises(ConfigError, match="nowhere"), Catalog(elsewhere).transaction():
        pass


def test_an_unreachable_server_is_an_error_that_can_be_retried(migrated):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        gone = migrated.model_copy(update={"port": probe.getsockname()[1]})
        with pytest.raises(CatalogUnavailable, match="facecore status") as caught:
            Catalog(gone).connect()
    assert caught.value.retryable


def test_a_server_that_accepts_and_says_nothing_costs_a_bounded_wait(migrated):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        silent = migrated.model_copy(update={"port": mute.getsockname()[1], "connect_timeout_s": 2})
        with pytest.raises(CatalogUnavailable, match="timeout"):
            Catalog(silent).connect()


def test_a_connection_cut_by_the_server_is_unavailable(catalog):
    def enrol_across_a_cut() -> None:
        with catalog.transaction() as tx:
            people.enrol(tx, "Ada")
            with catalog.transaction() as other, other.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s)", [tx.info.backend_pid])
            people.enrol(tx, "Grace")

    with pytest.raises(CatalogUnavailable):
        enrol_across_a_cut()
    assert _count(catalog) == 0


def test_a_lock_that_is_never_released_ends_in_busy(catalog, migrated):
    impatient = Catalog(migrated, lock_s=1)
    with catalog.transaction() as holder, holder.cursor() as cursor:
        cursor.execute("LOCK TABLE person")
        with pytest.raises(CatalogBusy) as caught, impatient.transaction() as tx:
            people.enrol(tx, "Ada")
    assert caught.value.retryable


def test_an_endless_statement_ends_in_busy(migrated):
    with (
        pytest.raises(CatalogBusy),
        Catalog(migrated, statement_s=1).transaction() as tx,
        tx.cursor() as cursor,
    ):
        cursor.execute("SELECT pg_sleep(30)")


def test_two_transactions_in_each_others_way_end_in_busy_for_one(catalog):
    with catalog.transaction() as tx:
        first, second = people.enrol(tx, "Ada"), people.enrol(tx, "Grace")
    both_hold_one = threading.Barrier(2)
    ended: list[str] = []

    def lock(order: list[int]) -> None:
        try:
            with catalog.transaction() as tx, tx.cursor() as cursor:
                for position, person_id in enumerate(order):
                    cursor.execute("SELECT 1 FROM person WHERE id = %s FOR UPDATE", [person_id])
                    if position == 0:
                        both_hold_one.wait(10)
            ended.append("done")
        except CatalogBusy:
            ended.append("busy")

    threads = [
        threading.Thread(target=lock, args=[order]) for order in ([first, second], [second, first])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended) == ["busy", "done"]


def test_a_full_disk_is_named(catalog):
    """The server's own error for a full disk, raised by the server."""
    with (
        pytest.raises(StorageFull) as caught,
        catalog.transaction() as tx,
        tx.cursor() as cursor,
    ):
        cursor.execute(
            "DO $$ BEGIN RAISE 'could not extend file: No space left on device' "
            "USING ERRCODE = 'disk_full'; END $$"
        )
    assert caught.value.store == "PostgreSQL"
    assert caught.value.retryable


def test_a_broken_rule_names_the_rule_but_no_row(catalog):
    with (
        pytest.raises(ChangeRefused) as caught,
        catalog.transaction() as tx,
        tx.cursor() as cursor,
    ):
        cursor.execute(
            "INSERT INTO person (label, kind) VALUES ('Ada', 'enrolled'), ('Ada', 'enrolled')"
        )
    assert caught.value.rule == "person_label"
    assert "Ada" not in str(caught.value)
    assert not caught.value.retryable


def test_a_defect_of_the_program_stays_visible(catalog):
    with (
        pytest.raises(psycopg2.errors.SyntaxError),
        catalog.transaction() as tx,
        tx.cursor() as cursor,
    ):
        cursor.execute("SELEKT 1")
