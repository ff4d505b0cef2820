"""Models beside detector and embedder: the autoencoder, the forecaster and the matcher.

Nothing in the catalogue is made anew when another version of them comes into use: what each
version said lies side by side, and a matcher says nothing that is kept. So coming into use is one
transaction, and going back is the same with the version before.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from facecore.errors import NotFound, PromotionRefused
from facecore.jobs.models import model_aliases, promotion_log
from facecore.jobs.models.model_versions import require_whole
from facecore.jobs.stores import Stores
from facecore.stores.catalog import audit
from facecore.stores.catalog.models import active, alias_decisions, models
from facecore.stores.registry import WEIGHTS, ModelVersionInfo

if TYPE_CHECKING:
    from torch import nn

    from facecore.stores.catalog.connection import Transaction

logger = logging.getLogger(__name__)

AnalysisTask = Literal["reconstruct", "forecast", "match"]
TASKS: tuple[AnalysisTask, ...] = ("reconstruct", "forecast", "match")


def registered_name(stores: Stores, task: AnalysisTask) -> str:
    """What the models of one of these tasks are registered as."""
    names = stores.settings.mlflow
    return {
        "reconstruct": names.autoencoder,
        "forecast": names.forecaster,
        "match": names.matcher,
    }[task]


def is_analysis(info: ModelVersionInfo) -> bool:
    """Whether a version is an autoencoder, a forecaster or a matcher."""
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
        PromotionRefused: it is no model of these tasks, its files are damaged, or it compares the
            vectors of an embedder that is not in use.
        RegistryUnavailable, CatalogUnavailable: a store is down.
    """
    stores = stores or Stores()
    info = stores.registry.version(name, version)
    subject = f"{name}/{version}"
    if not is_analysis(info):
        raise PromotionRefused(
            subject,
            f"{subject} is neither autoencoder nor forecaster nor matcher.",
            failed=("task",),
        )
    require_whole(stores, info)
    task: AnalysisTask = info.contract["task"]
    row = models.ModelVersionRow(
        task=task,
        name=name,
        version=version,
        # A matcher is of use with the vectors of one contract only.
        contract=info.contract["digest"] if task == "match" else info.weights_sha256,
        weights_sha256=info.weights_sha256,
    )
    with stores.catalog.transaction() as tx:
        if task == "match":
            _require_same_embedder(tx, info)
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


def follow_aliases(stores: Stores, *, actor: str) -> dict[str, str]:
    """Bring into use what somebody's hand set the champion aliases of these models to.

    What may not come into use is refused once, with the reason in the audit log; what is in use
    stays.

    Returns:
        Task → "name/version" of what has come into use.
    """
    followed: dict[str, str] = {}
    alias = stores.settings.mlflow.alias
    for task in TASKS:
        name = registered_name(stores, task)
        wanted = unnoticed(stores, task)
        if wanted is None:
            continue
        # MLflow does not say who set an alias.
        reason = f"the alias {alias} was set to version {wanted} in the registry"
        try:
            activate(
                name, wanted, actor=actor, reason=reason, details={"origin": "alias"}, stores=stores
            )
            followed[task] = f"{name}/{wanted}"
        except PromotionRefused as refused:
            logger.warning("%s", refused)
            with stores.catalog.transaction() as tx:
                promotion_log.refusal(tx, refused, actor, reason)
                alias_decisions.decide(tx, name, alias, wanted, written=True)
    return followed


def unnoticed(stores: Stores, task: AnalysisTask) -> int | None:
    """The version that the champion alias of a task's models names, where it was set by hand and
    nobody dealt with it yet; or None.
    """
    name, alias = registered_name(stores, task), stores.settings.mlflow.alias
    try:
        wanted = model_aliases.wanted(stores, name)
    except NotFound:
        return None  # no version was ever registered
    if wanted is None:
        return None
    with stores.catalog.transaction() as tx:
        used, decision = _active(tx, task), alias_decisions.find(tx, name, alias)
    if used is not None and used.version == wanted:
        return None
    # One that is not written yet is facecore's own change on its way.
    known = decision is not None and (not decision.written or decision.version == wanted)
    return None if known else wanted


def _require_same_embedder(tx: Transaction, info: ModelVersionInfo) -> None:
    used = active.current(tx).embedder
    if info.contract["digest"] == used.contract:
        return
    subject, of = f"{info.name}/{info.version}", info.tags.get("embedder_version", "another one")
    raise PromotionRefused(
        subject,
        f"{subject} compares vectors of {of}; {used.name}/{used.version} is in use.",
        failed=("other embedder",),
        remedy="Train a matcher (`--model siamese --goal match`): it learns on the embedder in "
        "use.",
    )


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
