"""The embedded platform as a use case: started and made ready, or looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facecore.config import exported_store_settings, settings
from facecore.errors import ConfigError, FacecoreError
from facecore.jobs.platform.setup import prepare_stores, register_models
from facecore.jobs.stores import Stores
from facecore.local.platform import Platform
from facecore.local.status import PlatformStatus
from facecore.stores.catalog.pages.summary import Summary, summarise
from facecore.zoo.installed import cpu_engine

Say = Callable[[str, str], None]


def start(home: Path, repo: Path, say: Say) -> Platform:
    """Start every part and bring its stores into the state jobs expect.

    Tables and buckets are there before Airflow, whose schedules begin at once.

    Raises:
        ConfigError: the environment leads to other stores than the platform's own.
    """
    if exported := exported_store_settings():
        raise ConfigError(
            f"the embedded platform uses its own stores, but {', '.join(exported)} is set.",
            remedy="Unset it here; to work with other stores, see docs/production.md.",
        )
    platform = Platform(home, repo)
    platform.up(["postgres", "s3"], on_progress=say)
    settings.cache_clear()  # the platform has just written them
    stores = Stores()
    say("setup", f"catalogue at revision {prepare_stores(stores)}")
    platform.up(on_progress=say)
    say("setup", f"models {', '.join(register_models(stores))}")
    return platform


@dataclass(frozen=True, slots=True)
class Look:
    """The platform and what its catalogue holds; `catalog_error` says why that is unknown."""

    platform: PlatformStatus
    catalog: Summary | None
    catalog_error: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "platform": asdict(self.platform),
            "catalog": None if self.catalog is None else self.catalog.as_json(),
            "catalog_error": self.catalog_error,
            "engine": self.engine(),
        }

    def engine(self) -> dict[str, str]:
        """What computes networks on this machine's CPU, and why."""
        return dict(zip(("backend", "because"), cpu_engine(), strict=True))

    def catalog_counts(self) -> dict[str, dict[str, Any]]:
        """Title → counts, for people."""
        if self.catalog is None:
            return {}
        c = self.catalog
        return {
            "Images": {**c.images, "sightings": c.sightings},
            "Faces": {"faces": c.faces, "embeddings": c.embeddings, **c.assignments},
            "People": c.people,
            "Shards": {
                f"{stage} {state}": number
                for stage, states in c.shards.items()
                for state, number in states.items()
            },
            "Models": c.models,
            "Reports": {"reports": c.reports},
        }


def look(home: Path, repo: Path) -> Look:
    """See how every part is, without starting anything."""
    status = Platform(home, repo).status()
    if not any(part.name == "postgres" and part.healthy for part in status.parts):
        return Look(status, None, "PostgreSQL is not running")
    try:
        with Stores().catalog.transaction() as tx:
            return Look(status, summarise(tx))
    except FacecoreError as error:
        return Look(status, None, str(error))
