"""Which images are done for which model version, and planning what is missing.

An image is covered by a detector version when every face it finds there is catalogued, and by
an embedder version when every face of its detector has a vector. What is extracted but not
covered is what a promotion, or the time after a rollback, has to fill.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.models.promotions import Promotion
from facecore.stores.catalog.work import shards

SHARDS_PER_RUN = 500
IMAGES_PER_SHARD = 20_000  # at most: a shard's images are one transaction

# Extracted images that the target does not cover, and those where a human spoke of a face of
# the source's detector which has no counterpart of the target's.
_MISSING = """
    SELECT image.id FROM image WHERE status = 'extracted' AND NOT EXISTS (
        SELECT FROM coverage WHERE model_version_id = %(embedder)s AND image_id = image.id)
    UNION
    SELECT face.image_id FROM assignment AS a JOIN face ON face.id = a.face_id
    JOIN image ON image.id = face.image_id AND image.status = 'extracted'
    WHERE a.source = 'human' AND face.detector_version_id = %(source)s
      AND %(source)s <> %(target)s AND NOT EXISTS (
        SELECT FROM face_counterpart AS c JOIN face AS other ON other.id = c.counterpart_id
        WHERE c.face_id = face.id AND other.detector_version_id = %(target)s)
"""


def cover(tx: Transaction, model_version_ids: Sequence[int], image_ids: Sequence[int]) -> None:
    """Record that these images are done for these versions."""
    with tx.cursor() as cursor:
        cursor.execute(
            "INSERT INTO coverage (model_version_id, image_id) "
            "SELECT m, i FROM unnest(%s::bigint[]) AS m, unnest(%s::bigint[]) AS i "
            "ORDER BY m, i ON CONFLICT DO NOTHING",
            [list(model_version_ids), list(image_ids)],
        )


def covered(tx: Transaction, model_version_id: int, image_ids: Sequence[int]) -> set[int]:
    """Those of these images that are done for a version."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT image_id FROM coverage WHERE model_version_id = %s AND image_id = ANY(%s)",
            [model_version_id, list(image_ids)],
        )
        return {image_id for (image_id,) in cursor}


def missing(tx: Transaction, promotion: Promotion, limit: int) -> list[int]:
    """Images that still have to be filled for a promotion's target, lowest ids first."""
    with tx.cursor() as cursor:
        cursor.execute(
            f"SELECT id FROM ({_MISSING}) AS missing ORDER BY id LIMIT %(limit)s",
            {**_versions(promotion), "limit": limit},
        )
        return [image_id for (image_id,) in cursor]


def count_missing(tx: Transaction, promotion: Promotion) -> int:
    """How many images still have to be filled."""
    with tx.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM ({_MISSING}) AS missing", _versions(promotion))
        return int((cursor.fetchone() or (0,))[0])


def beyond_shards(tx: Transaction, promotion: Promotion) -> bool:
    """Whether the target covers images that are in no shard of the promotion: those that an
    earlier promotion filled, or that were extracted while the target was in use."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM coverage AS c WHERE model_version_id = %s AND NOT EXISTS ("
            "SELECT FROM shard, jsonb_array_elements_text(members) AS member "
            "WHERE stage = 'reembed' AND dag_run_id = %s AND member::bigint = c.image_id))",
            [promotion.target[1], run_name(promotion)],
        )
        return bool((cursor.fetchone() or (False,))[0])


def plan(tx: Transaction, promotion: Promotion, shard_size: int) -> list[int]:
    """All shards of a promotion, with new ones for what is in none; returns their ids in order.

    Asked again, it gives the shards there are and shards for the images that arrived meanwhile.
    At most `SHARDS_PER_RUN` new ones are planned, so what a huge catalogue leaves over is
    planned by the next call.
    """
    with tx.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('plan reembedding', 0))")
    name = run_name(promotion)
    known = shards.of_run(tx, "reembed", name)
    waiting = {int(i) for shard in known if shard.state != "done" for i in shard.members}
    wanted = count_missing(tx, promotion)
    size = min(max(shard_size, math.ceil(wanted / SHARDS_PER_RUN)), IMAGES_PER_SHARD)
    found = missing(tx, promotion, SHARDS_PER_RUN * size + len(waiting))
    fresh = [image_id for image_id in found if image_id not in waiting][: SHARDS_PER_RUN * size]
    added = shards.add(
        tx, "reembed", name, [fresh[i : i + size] for i in range(0, len(fresh), size)]
    )
    return [shard.id for shard in known] + added


def run_name(promotion: Promotion) -> str:
    """What the shards of a promotion, or of the catching up after its rollback, belong to."""
    return f"promotion-{promotion.id}" + ("-back" if promotion.state == "rolled_back" else "")


def _versions(promotion: Promotion) -> dict[str, int]:
    (source, _), (target, embedder) = promotion.source, promotion.target
    return {"source": source, "target": target, "embedder": embedder}
