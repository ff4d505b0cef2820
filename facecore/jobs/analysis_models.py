"""Models that analyse, beside those that recognise: the autoencoder and the forecaster.

Nothing in the catalogue is made anew when another version of them comes into use: what each
version said lies side by side. So coming into use is one transaction, and going back is the same
with the version before.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from facecore.errors import NotFound, PromotionRefused
from facecore.jobs import model_aliases
from facecore.jobs.stores import Stores
from facecore.stores.catalog import alias_decisions, audit, models
from facecore.stores.registry import WEIGHTS, ModelVersionInfo

if TYPE_CHECKING:
    from torch import nn

    from facecore.stores.catalog.connection import Transaction

logger = logging.getLogger(__name__)

AnalysisTask = Literal["reconstruct", "forecast"]
TASKS: tuple[AnalysisTask, ...] = ("reconstruct", "forecast")


def registered_name(stores: Stores, task: str) -> str:
    """What the models of an analysing task are registered as."""
    names = stores.settings.mlflow
    return names.autoencoder if task == "reconstruct" else names.forecaster


def is_analysis(info: ModelVersionInfo) -> bool:
    """Whether a version is an autoencoder or a forecaster."""
    return info.contract.get("task") in TASKS


def is_named(name: str, stores: Stores | None = None) -> bool:
    """Whether models of this registered name are of these tasks."""
    stores = stores or Stores()
    return name in {registered_name(stores, task) for task in TASKS}


def in_use(stores: Stores, task: AnalysisTask) -> models.ModelVersion | None:
    """The version in use; None: there is none yet."""
    with stores.catalog.transaction() as tx:
        return _active(tx, task)


def load(stores: Stores, name: str, version: int) -> nn.Module:
    """The network of a version, loaded once per process, on the CPU.

    Raises:
        NotFound: there is no such version.
        DigestMismatch, WeightsError: its files are not the registered ones.
    """
    info = stores.registry.version(name, version)
    path = stores.registry.download(info) / WEIGHTS
    return _load(str(info.contract["model"]), path, info.weights_sha256)


def activate(
    name: str,
    version: int,
    *,
    actor: str,
    reason: str,
    details: Mapping[str, Any] | None = None,
    stores: Stores | None = None,
) -> bool:
    """Bring a version into use, with aliases and audit; False where it is in use already.

    Raises:
        NotFound: there is no such version.
        PromotionRefused: it is no model of these tasks, or its files are damaged.
        RegistryUnavailable, CatalogUnavailable: a store is down.
    """
    stores = stores or Stores()
    info = stores.registry.version(name, version)
    subject = f"{name}/{version}"
    if not is_analysis(info):
        raise PromotionRefused(
            subject, f"{subject} is neither autoencoder nor forecaster.", failed=("task",)
        )
    stores.registry.download(info)  # whole, or it does not come into use
    task: AnalysisTask = info.contract["task"]
    row = models.ModelVersionRow(
        task=task,
        name=name,
        version=version,
        contract=info.weights_sha256,
        weights_sha256=info.weights_sha256,
    )
    with stores.catalog.transaction() as tx:
        version_id = models.upsert(tx, row)
        before = _active(tx, task)
        if before is not None and before.id == version_id:
            return False
        models.set_active(tx, version_id)
        alias_decisions.decide(tx, name, stores.settings.mlflow.alias, version)
        if before is not None:
            alias_decisions.decide(tx, before.name, model_aliases.PREVIOUS, before.version)
        replaced = f"{before.name}/{before.version}" if before is not None else None
        said = {**(details or {}), "task": task, "replaced": replaced}
        audit.record(tx, actor, "promotion.active", subject, reason, said)
    model_aliases.write_if_possible(stores)
    logger.info("%s is in use for %s", subject, task)
    return True


def _active(tx: Transaction, task: AnalysisTask) -> models.ModelVersion | None:
    try:
        return models.active(tx, task)
    except NotFound:
        return None


# One of each task, and a challenger beside it.
@lru_cache(maxsize=4)
def _load(model: str, path: Path, sha256: str) -> nn.Module:
    from facecore.zoo import registry

    return registry.load(model, path, sha256)
