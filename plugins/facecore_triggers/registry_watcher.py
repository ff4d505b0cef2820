"""Notices that somebody set a champion alias in MLflow by hand."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

logger = logging.getLogger(__name__)


class ChampionAliasTrigger(BaseEventTrigger):
    """Fires when an alias names a version that is not in use and was not dealt with yet.

    What was dealt with stands in the catalogue, so a restarted triggerer forgets nothing. It may
    fire twice for one change; the DAG that follows does the same thing once.

    Args:
        poll_s: pause between two looks at the registry.
    """

    def __init__(self, poll_s: float = 30.0) -> None:
        super().__init__()
        self.poll_s = poll_s

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {"poll_s": self.poll_s}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event per alias that was changed: model name and version."""
        told: dict[str, Any] | None = None
        while True:
            found = await asyncio.to_thread(_look)
            if found is not None and found != told:
                yield TriggerEvent(found)
            told = found
            await asyncio.sleep(self.poll_s)


def _look() -> dict[str, Any] | None:
    from facecore.errors import FacecoreError
    from facecore.jobs.promotion.registry_watch import unnoticed_alias

    try:
        return unnoticed_alias()
    except FacecoreError as error:
        # A store that is down comes back; the next look finds what was missed.
        logger.warning("the registry cannot be watched now: %s", error)
        return None
