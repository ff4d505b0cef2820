"""The stores of this process, opened from the settings when first needed."""

from __future__ import annotations

from functools import cached_property

from facecore.config import Settings, settings
from facecore.stores.catalog.connection import Catalog
from facecore.stores.objects import ObjectStore
from facecore.stores.registry import Registry


class Stores:
    """Settings and the stores they describe. Opening one does no I/O."""

    def __init__(self, configuration: Settings | None = None) -> None:
        self.settings = configuration or settings()

    @cached_property
    def catalog(self) -> Catalog:
        return Catalog(self.settings.database)

    @cached_property
    def objects(self) -> ObjectStore:
        return ObjectStore(self.settings.s3)

    @cached_property
    def registry(self) -> Registry:
        return Registry(self.settings.mlflow)
