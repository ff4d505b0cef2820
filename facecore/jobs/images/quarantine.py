"""Moving images into the quarantine: copied before the verdict commits, removed after.

Interrupted in between, an object exists twice, never not at all.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from facecore.errors import ObjectMissing
from facecore.jobs.stores import Stores
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.images import images

logger = logging.getLogger(__name__)

Reasons = Sequence[Mapping[str, Any]]


def quarantine(
    stores: Stores, tx: Transaction, keys: Mapping[int, str], rejected: Mapping[int, Reasons]
) -> None:
    """Copy objects into the quarantine and record why, within the caller's transaction.

    Args:
        keys: image id → object key, for every rejected image.
        rejected: image id → its reasons.
    """

    def copy(image_id: int) -> None:
        try:
            stores.objects.copy("images", keys[image_id], "quarantine", keys[image_id])
        except ObjectMissing as missing:
            # The verdict may be just that it is gone; the row and its reasons stay.
            logger.warning("nothing to quarantine: %s", missing)

    with ThreadPoolExecutor(stores.settings.s3.connections, "quarantine") as pool:
        list(pool.map(copy, rejected))
    images.quarantine(tx, rejected, bucket="quarantine")


def remove_originals(stores: Stores, keys: Sequence[str]) -> None:
    """Remove what lies in the quarantine now; call it after the transaction."""
    with ThreadPoolExecutor(stores.settings.s3.connections, "quarantine") as pool:
        list(pool.map(lambda key: stores.objects.delete("images", key), keys))
