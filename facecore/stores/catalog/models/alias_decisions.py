"""What the registry's aliases were decided to be, until the registry knows, and after.

The catalogue commits first and the registry follows (an outbox). An alias that differs from a
decision which the registry knows was changed by somebody else: a wish to be dealt with once.
"""

from __future__ import annotations

from dataclasses import dataclass

from facecore.stores.catalog.connection import Transaction


@dataclass(frozen=True, slots=True)
class AliasDecision:
    """One alias of one registered model; `written`: the registry knows it."""

    name: str
    alias: str
    version: int
    written: bool


def decide(tx: Transaction, name: str, alias: str, version: int, *, written: bool = False) -> None:
    """Record what an alias is to be; `written`: what it was found to be, and acted upon."""
    with tx.cursor() as cursor:
        cursor.execute(
            "INSERT INTO alias_decision (name, alias, version, written) VALUES (%s, %s, %s, %s) "
            "ON CONFLICT (name, alias) DO UPDATE SET version = excluded.version, "
            "written = excluded.written, decided_at = now()",
            [name, alias, version, written],
        )


def serialise_writers(tx: Transaction) -> None:
    """Let one transaction at a time tell the registry. Decisions are taken meanwhile: whoever
    takes one waits for no registry.

    Raises:
        CatalogBusy: others took longer than the transaction waits for locks.
    """
    with tx.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('alias decisions', 0))")


def find(tx: Transaction, name: str, alias: str) -> AliasDecision | None:
    """The decision on one alias, or None where nothing was ever decided."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT name, alias, version, written FROM alias_decision "
            "WHERE name = %s AND alias = %s",
            [name, alias],
        )
        row = cursor.fetchone()
    return None if row is None else AliasDecision(*row)


def unwritten(tx: Transaction) -> list[AliasDecision]:
    """Decisions the registry does not know yet."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT name, alias, version, written FROM alias_decision WHERE NOT written "
            "ORDER BY name, alias"
        )
        return [AliasDecision(*row) for row in cursor]


def mark_written(tx: Transaction, decision: AliasDecision) -> None:
    """The registry knows this decision, unless another one was taken since."""
    with tx.cursor() as cursor:
        cursor.execute(
            "UPDATE alias_decision SET written = true "
            "WHERE name = %s AND alias = %s AND version = %s",
            [decision.name, decision.alias, decision.version],
        )
