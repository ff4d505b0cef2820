"""The engine on Ray leaves the rows that the local engine leaves, whatever dies meanwhile."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facecore.config import ExtractSettings, Settings
from facecore.jobs import crops, extract, ingest, validate
from facecore.jobs.lineage import RunContext
from facecore.jobs.stores import Stores
from facecore.samples.sources import Portrait
from facecore.stores.catalog.summary import summarise
from tests.jobs.on_ray.conftest import Cluster

FACECORE = str(Path(sys.executable).with_name("facecore"))
LANES = 2  # of both engines: how many pictures may be computed together depends on it
NOISY = 240

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def environment(job_settings: Settings) -> dict[str, str]:
    """The settings of these stores as environment variables, as a node or a command gets them."""
    database, s3, mlflow = job_settings.database, job_settings.s3, job_settings.mlflow
    return {
        "FACECORE_HOME": str(job_settings.home),
        "FACECORE_DATABASE__HOST": database.host,
        "FACECORE_DATABASE__PORT": str(database.port),
        "FACECORE_DATABASE__NAME": database.name,
        "FACECORE_DATABASE__USER": database.user,
        "FACECORE_DATABASE__PASSWORD": database.password.get_secret_value(),
        "FACECORE_S3__ENDPOINT": s3.endpoint,
        "FACECORE_S3__ACCESS_KEY": s3.access_key,
        "FACECORE_S3__SECRET_KEY": s3.secret_key.get_secret_value(),
        "FACECORE_S3__BUCKET_PREFIX": s3.bucket_prefix,
        "FACECORE_MLFLOW__TRACKING_URI": mlflow.tracking_uri,
        "FACECORE_MLFLOW__USERNAME": mlflow.username,
        "FACECORE_MLFLOW__PASSWORD": mlflow.password.get_secret_value(),
        "FACECORE_INGEST__SHARD_SIZE": str(job_settings.ingest.shard_size),
        "FACECORE_RAY__CPUS_PER_ACTOR": str(LANES),
    }


@pytest.fixture
def cluster(ray_folder: Path, environment: dict[str, str]) -> Iterator[Cluster]:
    cluster = Cluster(ray_folder, environment)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def deliver(stores: Stores, pictures: dict[str, Portrait], noisy: Callable[..., bytes]) -> None:
    """Accepted images: faces small and large, nobody, one that is damaged, one that is lost."""
    for name, picture in pictures.items():
        stores.objects.put("landing", f"door/{name}", picture.path.read_bytes())
        with Image.open(picture.path) as opened:
            face = opened.convert("RGB")
        large = io.BytesIO()  # read at half its size
        face.resize((2700, 2700 * face.height // face.width)).save(large, "JPEG", quality=90)
        stores.objects.put("landing", f"hall/{name}", large.getvalue())
    for i in range(NOISY):
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
    settings = stores.settings.model_copy(update={"extract": ExtractSettings(threads=LANES)})
    local = Stores(settings)
    context = RunContext("test", "local", "extract")
    for number, shard_id in enumerate(extract.plan(context, stores=local)):
        extract.extract_shard(RunContext("test", "local", "extract", number), shard_id, local)
    return catalogued(local)


def done(stores: Stores) -> tuple[int, int]:
    """Extraction shards that are done, and all."""
    ((finished, every),) = rows(
        stores,
        "SELECT count(*) FILTER (WHERE state = 'done'), count(*) FROM shard "
        "WHERE stage = 'extract'",
    )
    return finished, every


def command(address: str, env: dict[str, str], log: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [FACECORE, "extract", "--engine", "ray", "--ray-address", address, "--json"],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=log.open("w"),
        text=True,
    )


def wait_until(condition: Callable[[], bool], running: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 900
    while not condition():
        assert running.poll() is None, "the command ended"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_node_and_the_command_killed_half_way_change_no_row(
    stores: Stores,
    pictures: dict[str, Portrait],
    noisy_jpeg: Callable[..., bytes],
    cluster: Cluster,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    deliver(stores, pictures, noisy_jpeg)
    images, faces = by_local_engine(stores)
    assert len(faces) >= 2 * len(pictures)
    assert [i[1] for i in images].count("quarantined") == 2
    emptied(stores)
    deliver(stores, pictures, noisy_jpeg)

    cluster.add_node(3)
    dying = cluster.add_node(3)
    access = {**environment, **cluster.access}
    log = tmp_path / "command.log"
    running = command(cluster.address, access, log)
    try:
        wait_until(lambda: done(stores)[0] >= 3, running)
        cluster.kill(dying)
        at_kill, every = done(stores)
        assert at_kill < every
        wait_until(lambda: done(stores)[0] >= at_kill + 3, running)
        running.kill()  # now the command itself
        running.wait()
        left = done(stores)[1] - done(stores)[0]
        again = command(cluster.address, access, log)
        answer = json.loads(again.communicate(timeout=900)[0])
    finally:
        running.kill()
    assert again.returncode == 0, log.read_text()
    assert left > 0
    assert 0 < answer["shards"] <= left  # what was done is not done again
    assert catalogued(stores) == (images, faces)
    with stores.catalog.transaction() as tx:
        assert summarise(tx).images["accepted"] == 0

    said = cluster.logs() + log.read_text()
    for secret in ("DATABASE__PASSWORD", "S3__SECRET_KEY", "MLFLOW__PASSWORD"):
        assert environment[f"FACECORE_{secret}"] not in said
