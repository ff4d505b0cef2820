"""Bring empty stores into the state every job expects; safe to repeat."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from facecore.errors import NotFound
from facecore.jobs.models.model_versions import row_of
from facecore.jobs.stores import Stores
from facecore.lifecycle.default_pack import register_default_pack
from facecore.stores.catalog import schema
from facecore.stores.catalog.faces import faces
from facecore.stores.catalog.models import models
from facecore.stores.registry import ModelVersionInfo

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
    detector, embedder = registered
    _activate_first(stores, detector, None)
    _activate_first(stores, embedder, detector)
    return tuple(f"{info.name}/{info.version}" for info in registered)


def _activate_first(
    stores: Stores, info: ModelVersionInfo, detector: ModelVersionInfo | None
) -> None:
    with stores.catalog.transaction() as tx:
        known = models.find(tx, info.name, info.version)
    # A version that is known may have been calibrated on the operator's own data since.
    document = None if known else stores.registry.calibration(info)
    with stores.catalog.transaction() as tx:
        paired = models.find(tx, detector.name, detector.version) if detector else None
        row = row_of(info, document, paired.id if paired else None)
        version_id = models.upsert(tx, row)
        if row.dimension is not None:
            faces.ensure_embedding_partition(tx, version_id, row.dimension)
        try:
            models.active(tx, row.task)
        except NotFound:
            models.set_active(tx, version_id)
            logger.info("%s/%s is active", info.name, info.version)
