"""The audit log: who did what to what, and why. Only added to, each entry chained to the last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.json_values import as_json, as_text


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry.

    Attributes:
        actor: a user of Airflow, a user of the operating system, or a part of the platform.
        action: what was done, for example `promotion.active`.
        subject: to what, for example `face-embedder/2`.
        previous, hash: SHA-256 (hex) of the entry before and of this one.
    """

    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    reason: str
    details: dict[str, Any]
    previous: str
    hash: str


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether the log is what was written.

    Attributes:
        entries: how many there are.
        first_fault: the first entry that was changed, or before which one is missing; None: none.
        head: hash of the newest entry. Kept elsewhere, it shows whether entries vanished from
            the end.
    """

    entries: int
    first_fault: int | None
    head: str | None


_COLUMNS = "id, at, actor, action, subject, reason, details, previous, hash"


def record(
    tx: Transaction,
    actor: str,
    action: str,
    subject: str,
    reason: str = "",
    details: Mapping[str, Any] | None = None,
) -> int:
    """Add an entry, which exists when the transaction commits; returns its number.

    Others that add entries wait until then, so it should be among the last things done.
    """
    with tx.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit (actor, action, subject, reason, details) "
            "VALUES (%s, %s, %s, %s, %s) RETURNING id",
            [as_text(actor), action, as_text(subject), as_text(reason), as_json(details or {})],
        )
        (number,) = cursor.fetchone() or (0,)
        return int(number)


def newest(tx: Transaction, *, subject: str | None = None, limit: int = 20) -> list[Entry]:
    """The newest entries, of one subject or of all, newest first."""
    with tx.cursor() as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM audit WHERE %s::text IS NULL OR subject = %s "
            "ORDER BY id DESC LIMIT %s",
            [subject, subject, limit],
        )
        return [Entry(*row) for row in cursor]


def verify(tx: Transaction) -> Verification:
    """Compute every hash of the log again, in the database."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM audit), audit_first_fault(), "
            "(SELECT hash FROM audit ORDER BY id DESC LIMIT 1)"
        )
        entries, fault, head = cursor.fetchone() or (0, None, None)
        return Verification(int(entries), fault, head)
