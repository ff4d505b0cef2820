"""Bring empty stores into the state every job expects; safe to repeat."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from facecore.errors import NotFound
from facecore.jobs.stores import Stores
from facecore.lifecycle.default_pack import register_default_pack
from facecore.lifecycle.thresholds import VERIFICATION_FMR, Calibration, threshold_at
from facecore.stores.catalog import faces, models, schema
from facecore.stores.registry import ModelVersionInfo
from facecore.types import Contract

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SetUp:
    """What is in place: the catalogue's revision and the models in use."""

    schema: str
    models: tuple[str, ...]


def set_up(
    stores: Stores | None = None, on_progress: Callable[[str], None] = lambda _: None
) -> SetUp:
    """Migrate the catalogue, create buckets, register the default models and activate them.

    Raises:
        WeightsError: the default weights cannot be had from any mirror.
        StoreError: a store cannot be used.
    """
    stores = stores or Stores()
    on_progress("migrating the catalogue, creating buckets")
    revision = prepare_stores(stores)
    on_progress("registering the default models")
    return SetUp(revision, register_models(stores))


def prepare_stores(stores: Stores) -> str:
    """What every task needs before it can start: tables and buckets. Returns the revision."""
    revision = schema.migrate(stores.settings.database)
    stores.objects.ensure_buckets()
    return revision


def register_models(stores: Stores) -> tuple[str, ...]:
    """Register the default models, and activate them where no model is active.

    A promotion is never undone. Returns name/version of each.
    """
    registered = register_default_pack(
        stores.registry, stores.settings.cache, stores.settings.model_dir
    )
    for info in registered:
        _activate_first(stores, info)
    return tuple(f"{info.name}/{info.version}" for info in registered)


def _activate_first(stores: Stores, info: ModelVersionInfo) -> None:
    with stores.catalog.transaction() as tx:
        known = models.find(tx, info.name, info.version)
    # A version that is known may have been calibrated on the operator's own data since.
    document = None if known else stores.registry.calibration(info)
    embedding = Contract(**info.contract["embedding"]) if "embedding" in info.contract else None
    threshold = None
    if document:
        threshold = threshold_at(Calibration.from_json(document), VERIFICATION_FMR).threshold
    row = models.ModelVersionRow(
        task="embed" if embedding else "detect",
        name=info.name,
        version=info.version,
        contract=embedding.digest if embedding else info.weights_sha256,
        weights_sha256=info.weights_sha256,
        dimension=embedding.dimension if embedding else None,
        threshold=threshold,
        target_fmr=VERIFICATION_FMR if threshold is not None else None,
        calibration=document or {},
    )
    with stores.catalog.transaction() as tx:
        version_id = models.upsert(tx, row)
        if row.dimension is not None:
            faces.ensure_embedding_partition(tx, version_id, row.dimension)
        try:
            models.active(tx, row.task)
        except NotFound:
            models.set_active(tx, version_id)
            logger.info("%s/%s is active", info.name, info.version)
