"""The same images for both engines, and what they leave in the catalogue."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any

from PIL import Image

from facecore.jobs.faces import crops, extract
from facecore.jobs.images import ingest, validate
from facecore.jobs.lineage import RunContext
from facecore.jobs.stores import Stores
from facecore.samples.sources import Portrait

LANES = 2  # of both engines: how many pictures may be computed together depends on it


def deliver(
    stores: Stores, pictures: dict[str, Portrait], noisy: Callable[..., bytes], count: int
) -> None:
    """Accepted images: faces small and large, nobody, one that is damaged, one that is lost."""
    for name, picture in pictures.items():
        stores.objects.put("landing", f"door/{name}", picture.path.read_bytes())
        with Image.open(picture.path) as opened:
            face = opened.convert("RGB")
        large = io.BytesIO()  # read at half its size
        face.resize((2700, 2700 * face.height // face.width)).save(large, "JPEG", quality=90)
        stores.objects.put("landing", f"hall/{name}", large.getvalue())
    for i in range(count):
        stores.objects.put("landing", f"door/{i}.jpg", noisy(i, (320, 240)))
    context = RunContext("test", f"deliver-{time.time_ns()}", "ingest")
    shard_ids = ingest.plan(context, stores=stores)
    for number, shard_id in enumerate(shard_ids):
        ingest.ingest_shard(
            RunContext("test", context.dag_run_id, "ingest", number), shard_id, stores
        )
    validate.validate_shards(context, shard_ids, batch_checks=False, stores=stores)
    damaged, lost = rows(
        stores, "SELECT object_key FROM image WHERE status = 'accepted' ORDER BY sha256 LIMIT 2"
    )
    data = stores.objects.get("images", damaged[0])
    stores.objects.put("images", damaged[0], data[: len(data) // 2])
    stores.objects.delete("images", lost[0])


def rows(stores: Stores, query: str) -> list[tuple[Any, ...]]:
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def catalogued(stores: Stores) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Images and faces by content, with crops and vectors bit for bit, without ids."""
    images = rows(
        stores,
        "SELECT sha256, status, bucket, object_key, reasons::text, "
        "(SELECT count(*) FROM coverage c WHERE c.image_id = image.id) FROM image ORDER BY sha256",
    )
    faces = rows(
        stores,
        "SELECT image.sha256, ordinal, box, landmarks, face.score, face.quality::text, "
        "vector::text, m.name, crop_key, crop_index FROM face JOIN image ON image.id = image_id "
        "JOIN embedding ON face_id = face.id JOIN model_version m ON m.id = model_version_id "
        "ORDER BY sha256, ordinal",
    )
    packs = {key: crops.read_pack(stores.objects, key).pixels for key in {f[-2] for f in faces}}
    return images, [(*f[:-2], packs[f[-2]][f[-1]].tobytes()) for f in faces]


def emptied(stores: Stores) -> None:
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute(
            "TRUNCATE image, sighting, shard, face, embedding, run, ingest_cursor "
            "RESTART IDENTITY CASCADE"
        )
    for bucket in ("landing", "images", "quarantine", "crops"):
        for item in list(stores.objects.list(bucket)):
            stores.objects.delete(bucket, item.key)


def by_local_engine(stores: Stores) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    wanted = stores.settings.extract.model_copy(update={"threads": LANES})
    local = Stores(stores.settings.model_copy(update={"extract": wanted}))
    context = RunContext("test", "local", "extract")
    for number, shard_id in enumerate(extract.plan(context, stores=local)):
        extract.extract_shard(RunContext("test", "local", "extract", number), shard_id, local)
    return catalogued(local)
