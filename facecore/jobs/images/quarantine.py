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
from facecore.stores.catalog.images import quarantine as quarantined
from facecore.types import ImageStatus

logger = logging.getLogger(__name__)

Reasons = Sequence[Mapping[str, Any]]

# The bytes of such images have no place in `images`.
ELSEWHERE = (ImageStatus.QUARANTINED, ImageStatus.ERASED)

# Reviewers wait for the rows that are held meanwhile.
_REMOVED_AT_ONCE = 500


def quarantine(
    stores: Stores,
    tx: Transaction,
    keys: Mapping[int, str],
    rejected: Mapping[int, Reasons],
    *,
    only: Sequence[ImageStatus] = (ImageStatus.STORED, ImageStatus.ACCEPTED),
) -> list[int]:
    """Copy objects into the quarantine and record why, within the caller's transaction.

    Args:
        keys: image id → object key, for every rejected image.
        rejected: image id → its reasons.
        only: what the images still have to be. Somebody may have decided on one meanwhile.

    Returns:
        The ids whose bytes were copied: `remove_originals` is to be called with them.
    """

    def copied(image_id: int) -> bool:
        try:
            stores.objects.copy("images", keys[image_id], "quarantine", keys[image_id])
        except ObjectMissing as missing:
            # The verdict may be just that it is gone; the row and its reasons stay.
            logger.warning("nothing to quarantine: %s", missing)
            return False
        return True

    moved = sorted(images.quarantine(tx, rejected, bucket="quarantine", only=only))
    with ThreadPoolExecutor(stores.settings.s3.connections, "quarantine") as pool:
        return [i for i, done in zip(moved, pool.map(copied, moved), strict=True) if done]


def remove_originals(stores: Stores, image_ids: Sequence[int]) -> None:
    """Remove the originals of what went into the quarantine; call it after the transaction.

    One that was released meanwhile keeps its original, and nobody can release one while this
    removes it.
    """
    for start in range(0, len(image_ids), _REMOVED_AT_ONCE):
        part = image_ids[start : start + _REMOVED_AT_ONCE]
        with stores.catalog.transaction() as tx:
            held = quarantined.lock(tx, part).values()
            keys = [image.object_key for image in held if image.status in ELSEWHERE]
            with ThreadPoolExecutor(stores.settings.s3.connections, "quarantine") as pool:
                list(pool.map(lambda key: stores.objects.delete("images", key), keys))
