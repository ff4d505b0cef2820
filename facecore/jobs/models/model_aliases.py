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
    """
    with stores.catalog.transaction() as tx:
        waiting = alias_decisions.unwritten(tx)
    for decision in waiting:
        stores.registry.set_alias(decision.name, decision.alias, decision.version)
        with stores.catalog.transaction() as tx:
            alias_decisions.mark_written(tx, decision)


def write_if_possible(stores: Stores) -> None:
    """The same, where the registry being down must not stop anything."""
    try:
        write(stores)
    except StoreError as error:
        logger.warning("the aliases will follow when the registry is back: %s", error)
