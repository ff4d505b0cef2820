"""The pair of versions in use, and how nobody works with half of a switch.

Readers take one snapshot. Writers `require` the pair they computed with, which holds it until
their transaction ends; `switch` waits for them and lets the next ones wait. So what commits was
made by the pair that was in use when it committed.
"""

from __future__ import annotations

from dataclasses import dataclass

from facecore.errors import ModelsChanged
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.models import models

_LOCK = "models in use"


@dataclass(frozen=True, slots=True)
class Active:
    """The detector and embedder in use."""

    detector: models.ModelVersion
    embedder: models.ModelVersion

    @property
    def ids(self) -> tuple[int, int]:
        """Of detector and embedder."""
        return self.detector.id, self.embedder.id


def current(tx: Transaction) -> Active:
    """The pair in use, as this transaction sees it. Raises `NotFound` where none was activated."""
    return Active(models.active(tx, "detect"), models.active(tx, "embed"))


def hold_any(tx: Transaction) -> None:
    """Let nobody switch until this transaction ends, whatever is in use."""
    _lock(tx, "pg_advisory_xact_lock_shared")


def hold(tx: Transaction) -> Active:
    """The pair in use, which stays in use until this transaction ends.

    Raises:
        NotFound: none was activated.
        CatalogBusy: a switch took longer than the transaction waits for locks.
    """
    hold_any(tx)
    return current(tx)


def require(tx: Transaction, detector_id: int, embedder_id: int) -> None:
    """Hold the pair in use, which must be this one.

    Raises:
        ModelsChanged: it is another one by now.
    """
    if hold(tx).ids != (detector_id, embedder_id):
        raise ModelsChanged


def pin(tx: Transaction, embedder_id: int) -> None:
    """Let this transaction see one moment only, in which this embedder is in use.

    Must be the first thing its transaction does. Nobody waits for it and it waits for nobody.

    Raises:
        ModelsChanged: another embedder is in use by now.
    """
    with tx.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    if models.active(tx, "embed").id != embedder_id:
        raise ModelsChanged


def freeze(tx: Transaction) -> Active:
    """Let no writer in until this transaction ends, having waited for those at work.

    Raises:
        CatalogBusy: they took longer than the transaction waits for locks.
    """
    _lock(tx, "pg_advisory_xact_lock")
    return current(tx)


def switch(tx: Transaction, detector_id: int, embedder_id: int) -> None:
    """Put another pair into use, at once for everybody when this transaction commits."""
    freeze(tx)
    models.set_active(tx, detector_id)
    models.set_active(tx, embedder_id)


def _lock(tx: Transaction, function: str) -> None:
    with tx.cursor() as cursor:
        cursor.execute(f"SELECT {function}(hashtextextended(%s, 0))", [_LOCK])
