"""Champion aliases that somebody set in the registry by hand."""

from __future__ import annotations

from typing import Any

from facecore.jobs.models import analysis_models, model_aliases
from facecore.jobs.stores import Stores
from facecore.stores.catalog.models import active, alias_decisions, models, promotions


def unnoticed_alias(stores: Stores | None = None) -> dict[str, Any] | None:
    """The model and version that an alias names, where nobody dealt with it yet; or None.

    Dealt with are: the version in use, the target of the open promotion, what facecore itself
    decided, and what was refused.

    Raises:
        RegistryUnavailable, CatalogUnavailable: a store is down.
    """
    stores = stores or Stores()
    alias = stores.settings.mlflow.alias
    with stores.catalog.transaction() as tx:
        pair, opened = active.current(tx), promotions.find_open(tx)
        settled = {version.name: {version.version} for version in (pair.detector, pair.embedder)}
        for version_id in opened.target if opened else ():
            version = models.get(tx, version_id)
            settled.setdefault(version.name, set()).add(version.version)
        decisions = {name: alias_decisions.find(tx, name, alias) for name in settled}
    for name, versions in settled.items():
        decision = decisions[name]
        if decision is not None:
            if not decision.written:
                continue  # facecore's own change is on its way
            versions.add(decision.version)
        wanted = model_aliases.wanted(stores, name)
        if wanted is not None and wanted not in versions:
            return {"name": name, "version": wanted}
    for task in analysis_models.TASKS:
        wanted = analysis_models.unnoticed(stores, task)
        if wanted is not None:
            return {"name": analysis_models.registered_name(stores, task), "version": wanted}
    return None
