"""The audit log is only added to, and shows when somebody did more than that."""

from __future__ import annotations

import threading

import pytest

from facecore.errors import ChangeRefused
from facecore.stores.catalog import Catalog, audit


def test_entries_are_numbered_and_chained(catalog: Catalog) -> None:
    with catalog.transaction() as tx:
        before = audit.verify(tx)
        first = audit.record(tx, "ada", "person.erased", "person/1", "asked to", {"faces": 3})
        second = audit.record(tx, "bob", "promotion.active", "face-embedder/2")
    with catalog.transaction() as tx:
        newest, older = audit.newest(tx, limit=2)
        after = audit.verify(tx)
    assert (first, second) == (before.entries + 1, before.entries + 2)
    assert (older.actor, older.reason, older.details) == ("ada", "asked to", {"faces": 3})
    assert newest.previous == older.hash
    assert older.previous == (before.head or "0" * 64)
    assert (after.entries, after.first_fault, after.head) == (second, None, newest.hash)
    with catalog.transaction() as tx:
        assert audit.newest(tx, subject="person/1", limit=1)[0].id == first


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET reason = 'another'",
        "DELETE FROM audit",
        "TRUNCATE audit",
    ],
)
def test_nothing_is_changed_or_removed(catalog: Catalog, statement: str) -> None:
    with catalog.transaction() as tx:
        audit.record(tx, "ada", "test", "subject")
    with pytest.raises(ChangeRefused, match="only added to"), catalog.transaction() as tx:
        tx.cursor().execute(statement)


def test_number_time_and_hash_are_not_the_writers_to_choose(catalog: Catalog) -> None:
    with catalog.transaction() as tx:
        number = audit.record(tx, "ada", "test", "subject")
        tx.cursor().execute(
            "INSERT INTO audit (id, at, actor, action, subject, previous, hash) VALUES "
            "(1, '2001-01-01', 'eve', 'test', 'subject', repeat('a', 64), repeat('b', 64))"
        )
        (forged, _) = audit.newest(tx, limit=2)
        assert forged.id == number + 1
        assert forged.at.year > 2001
        assert audit.verify(tx).first_fault is None


@pytest.mark.parametrize(
    "forgery",
    [
        "UPDATE audit SET actor = 'eve' WHERE id = %s",
        "DELETE FROM audit WHERE id = %s",
        "UPDATE audit SET at = at - interval '1 day' WHERE id = %s",
    ],
)
def test_whoever_disables_the_guard_is_found_out(catalog: Catalog, forgery: str) -> None:
    with catalog.transaction() as tx:
        numbers = [audit.record(tx, "ada", "test", f"subject {n}") for n in range(3)]
    with catalog.transaction() as tx:
        tx.cursor().execute("ALTER TABLE audit DISABLE TRIGGER guard")
        tx.cursor().execute(forgery, [numbers[1]])
        assert audit.verify(tx).first_fault in (numbers[1], numbers[2])
        tx.rollback()
    with catalog.transaction() as tx:
        assert audit.verify(tx).first_fault is None


def test_writers_at_once_make_one_chain(catalog: Catalog) -> None:
    def write(name: str) -> None:
        for _ in range(5):
            with catalog.transaction() as tx:
                audit.record(tx, name, "test", "at once")

    threads = [threading.Thread(target=write, args=[f"writer {n}"]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with catalog.transaction() as tx:
        assert audit.verify(tx).first_fault is None
        assert len(audit.newest(tx, subject="at once", limit=100)) >= 20
