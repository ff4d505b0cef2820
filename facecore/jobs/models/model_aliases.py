"""The registry's aliases: what they name, what they are decided to be, and telling the registry.

A decision commits with the catalogue and reaches the registry after it, now or by the next call
(an outbox), so that what is in use never depends on the registry being there.
"""

from __future__ import annotations

import logging

from facecore.errors import StoreError
from facecore.jobs.stores import Stores
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.models import alias_decisions, models

logger = logging.getLogger(__name__)

PREVIOUS = "previous"


def wanted(stores: Stores, name: str) -> int | None:
    """The version that the registry's alias names, or None."""
    return stores.registry.aliases(name).get(stores.settings.mlflow.alias)


def decide(
    stores: Stores, tx: Transaction, *, champion: tuple[int, int], previous: tuple[int, int] | None
) -> None:
    """Record what the aliases of a pair in use, and of the one before it, are to be.

    Args:
        champion, previous: ids of a detector and an embedder version.
    """
    alias = stores.settings.mlflow.alias
    for ids, name in ((champion, alias), (previous, PREVIOUS)):
        for version_id in ids or ():
            if name == PREVIOUS and version_id in champion:
                continue  # this one was not replaced
            version = models.get(tx, version_id)
            known = alias_decisions.find(tx, version.name, name)
            if known is None or known.version != version.version:
                alias_decisions.decide(tx, version.name, name, version.version)


def write(stores: Stores) -> None:
    """Tell the registry what was decided and it does not know yet.

    Raises:
        RegistryUnavailable: it stays undecided there; the next call tries again.
        CatalogBusy: so it does where others took too long to tell it.
    """
    with stores.catalog.transaction() as tx:
        waiting = alias_decisions.unwritten(tx)
    for decision in waiting:
        _write_newest(stores, decision.name, decision.alias)


def write_if_possible(stores: Stores) -> None:
    """The same, where the registry being down must not stop anything."""
    try:
        write(stores)
    except StoreError as error:
        logger.warning("the aliases will follow when the registry is back: %s", error)


def _write_newest(stores: Stores, name: str, alias: str) -> None:
    """Tell the registry the decision on one alias as it is when nobody else tells it anything.

    Otherwise a call that hung would put the alias back to what was decided before.
    """
    with stores.catalog.transaction() as tx:
        alias_decisions.serialise_writers(tx)
        decision = alias_decisions.find(tx, name, alias)
        if decision is None or decision.written:
            return
        stores.registry.set_alias(decision.name, decision.alias, decision.version)
        alias_decisions.mark_written(tx, decision)
