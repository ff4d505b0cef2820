"""Every model version with what the registry wants and what is in use."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import Any

from facecore.errors import NotFound, StoreError
from facecore.jobs.stores import Stores
from facecore.stores.catalog.models import models, promotions

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listed:
    """One version the catalogue knows.

    Attributes:
        aliases: what the registry calls it; None where the registry could not be asked.
    """

    version: models.ModelVersion
    aliases: tuple[str, ...] | None

    @property
    def in_use(self) -> bool:
        return self.version.state == "active"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self.version), "aliases": self.aliases}


def listed(stores: Stores | None = None) -> tuple[list[Listed], promotions.Promotion | None]:
    """All versions by name and number, and the promotion under way.

    Raises:
        CatalogUnavailable: the catalogue cannot be read.
    """
    stores = stores or Stores()
    with stores.catalog.transaction() as tx:
        rows, opened = models.every(tx), promotions.find_open(tx)
    aliases = {name: _aliases(stores, name) for name in sorted({row.name for row in rows})}
    found = []
    for row in rows:
        known = aliases[row.name]
        names = (
            None
            if known is None
            else tuple(sorted(a for a, version in known.items() if version == row.version))
        )
        found.append(Listed(row, names))
    return found, opened


def _aliases(stores: Stores, name: str) -> dict[str, int] | None:
    try:
        return stores.registry.aliases(name)
    except NotFound:
        return {}
    except StoreError as error:
        logger.warning("aliases of %s are unknown: %s", name, error)
        return None
