"""The catalogue's tables come from migrations that can be repeated and run at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from facecore.config import DatabaseSettings
from facecore.errors import ConfigError
from facecore.stores.catalog import Catalog, expected_version, migrate, schema_version


@pytest.fixture
def empty_database(postgres: DatabaseSettings):
    """Removes the catalogue's schema of a second, empty database around the test."""
    catalog = Catalog(postgres)

    def drop() -> None:
        with catalog.transaction() as tx, tx.cursor() as cursor:
            cursor.execute("DROP SCHEMA IF EXISTS facecore CASCADE")

    drop()
    yield postgres
    drop()
    migrate(postgres)


def test_an_empty_database_has_no_version_then_the_expected_one(empty_database):
    assert schema_version(empty_database) is None
    assert migrate(empty_database) == expected_version()
    assert schema_version(empty_database) == expected_version()


def test_migrating_again_changes_nothing(migrated, catalog):
    with catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute("INSERT INTO person (label, kind) VALUES ('Ada', 'enrolled')")
    migrate(migrated)
    with catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute("SELECT label FROM person")
        assert cursor.fetchall() == [("Ada",)]


def test_two_migrations_at_once_wait_for_each_other(empty_database):
    with ThreadPoolExecutor(3) as pool:
        versions = list(pool.map(migrate, [empty_database] * 3))
    assert versions == [expected_version()] * 3


def test_without_tables_the_error_says_to_migrate(empty_database):
    with (
        pytest.raises(ConfigError, match="migrations"),
        Catalog(empty_database).transaction() as tx,
        tx.cursor() as cursor,
    ):
        cursor.execute("SELECT 1 FROM image")


def test_the_password_is_in_no_repr_and_no_error(postgres):
    wrong = postgres.model_copy(update={"port": 1})
    with pytest.raises(Exception, match="cannot be reached") as caught:
        migrate(wrong)
    assert postgres.password.get_secret_value() not in repr(caught.value) + repr(wrong)
