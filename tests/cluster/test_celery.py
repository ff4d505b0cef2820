"""Two Celery workers, one of them killed half-way, against one machine: the same catalogue."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facecore.jobs.faces import extract, identify
from facecore.jobs.faces.crops import read_pack
from facecore.jobs.images import ingest, validate
from facecore.jobs.lineage import RunContext
from facecore.jobs.stores import Stores
from facecore.samples.sources import Portrait, portraits

IMAGES = 5_000
SIZES = ((250, 250), (224, 224), (320, 240))
_PATIENCE_S = 3000.0
PAGES = {"page_limit": 100}

# What the catalogue says, without what differs between two runs by its nature: surrogate ids,
# ids of runs and shards, when a row was written, in which pack a crop lies, and which of two
# alike pictures came first (`near_duplicate_of`: shards that run side by side do not see each
# other's).
TABLES = {
    "image": "SELECT sha256, bucket, object_key, source, captured_at, captured_from, bytes, width,"
    " height, format, status, quality, reasons, phash FROM image",
    "sighting": "SELECT image.sha256, landing_bucket, landing_key, etag, sighting.source,"
    " sighting.captured_at, sighting.captured_from"
    " FROM sighting JOIN image ON image.id = image_id",
    "coverage": "SELECT image.sha256, model_version.name, model_version.version FROM coverage"
    " JOIN image ON image.id = image_id JOIN model_version ON model_version.id = model_version_id",
    "face": "SELECT image.sha256, ordinal, name, version, box, landmarks, score, face.quality"
    " FROM face JOIN image ON image.id = image_id"
    " JOIN model_version ON model_version.id = face.detector_version_id",
    "embedding": "SELECT image.sha256, ordinal, name, version, contract, vector::text"
    " FROM embedding JOIN face ON face.id = face_id JOIN image ON image.id = image_id"
    " JOIN model_version ON model_version.id = model_version_id",
    "assignment": "SELECT image.sha256, ordinal, label, assignment.outcome, assignment.source,"
    " assignment.score, margin, assignment.threshold, gallery_size, gallery FROM assignment"
    " JOIN face ON face.id = face_id JOIN image ON image.id = image_id"
    " LEFT JOIN person ON person.id = person_id",
}


def rows(stores: Stores, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchall()


def one(stores: Stores, query: str) -> Any:
    return rows(stores, query)[0][0]


def catalogue(stores: Stores) -> dict[str, list[str]]:
    """Every table's rows as text, sorted; and of every crop its pixels' digest."""
    found = {name: sorted(map(repr, rows(stores, query))) for name, query in TABLES.items()}
    where: dict[str, list[tuple[str, int, int]]] = {}
    for key, index, sha256, ordinal in rows(
        stores,
        "SELECT crop_key, crop_index, sha256, ordinal FROM face JOIN image ON image.id = image_id",
    ):
        where.setdefault(key, []).append((sha256, ordinal, index))
    found["crop"] = sorted(
        f"{sha256} {ordinal} {hashlib.sha256(np.ascontiguousarray(pack[index])).hexdigest()}"
        for key, faces in where.items()
        for pack in [read_pack(stores.objects, key).pixels]
        for sha256, ordinal, index in faces
    )
    found["object"] = sorted(
        f"{bucket} {item.key} {item.size}"
        for bucket in ("landing", "images", "quarantine")
        for item in stores.objects.list(bucket)
    )
    return found


def deliver(stores: Stores, files: Sequence[tuple[str, bytes]]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda file: stores.objects.put("landing", *file), files))


def run_here(stores: Stores) -> None:
    """The main job on one machine: its tasks one after the other in this process."""

    def context(task: str, index: int = -1) -> RunContext:
        return RunContext("here", "here", task, index)

    planned = ingest.plan(context("ingest"), **PAGES, stores=stores)
    for index, shard in enumerate(planned):
        ingest.ingest_shard(context("ingest_shard", index), shard, stores)
    validate.validate_shards(context("validate"), planned, stores=stores)
    for index, shard in enumerate(extract.plan(context("extract"), stores=stores)):
        extract.extract_shard(context("extract_shard", index), shard, stores)
        identify.identify_shard(context("identify_shard", index), shard, stores)


def wait(check: Callable[[], bool], *alive: Any, seconds: float = _PATIENCE_S) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        for part in alive:
            part.require_alive()
        assert time.monotonic() < deadline, f"not so after {seconds:.0f} s"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def deliveries(downloads: Path) -> Callable[[int], Sequence[tuple[str, bytes]]]:
    """Landing keys and pictures with bytes of their own."""

    def make(count: int) -> Iterator[tuple[str, bytes]]:
        faces = [(p, Image.open(p.path).convert("RGB")) for p in portraits(downloads)]
        for number in range(count):
            second = number % 60
            key = f"camera-{number % 4}/2026/11/{1 + number % 28:02d}/"
            yield (
                f"{key}10{number // 60 % 60:02d}{second:02d}-{number:06d}.jpg",
                _file(faces, number),
            )

    return cache(lambda count: list(make(count)))


def _file(faces: Sequence[tuple[Portrait, Image.Image]], number: int) -> bytes:
    """Mostly one face; now and then two, nobody, or a file that broke off."""
    rng = np.random.default_rng(number)
    size = SIZES[number % len(SIZES)]
    if number % 100 == 99:
        coarse = rng.integers(0, 256, (size[1] // 10, size[0] // 10, 3), np.uint8)
        picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    elif number % 40 == 39:
        picture = Image.new("RGB", (size[0] * 2, size[1]))
        for place in range(2):
            own = _face(*faces[(number + 3 * place) % len(faces)], size, rng)
            picture.paste(own, (place * size[0], 0))
    else:
        picture = _face(*faces[number % len(faces)], size, rng)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90, comment=f"delivery {number}".encode())
    data = buffer.getvalue()
    return data[: len(data) // 2] if number % 250 == 249 else data


def _face(
    portrait: Portrait, pixels: Image.Image, size: tuple[int, int], rng: np.random.Generator
) -> Image.Image:
    """The portrait's face, placed, sized, lit and mirrored at random."""
    x1, y1, x2, y2 = portrait.face
    height = (y2 - y1) * rng.uniform(1.6, 2.4)
    width = height * size[0] / size[1]
    left = (x1 + x2) / 2 + rng.uniform(-0.1, 0.1) * width - width / 2
    top = (y1 + y2) / 2 + rng.uniform(-0.1, 0.1) * height - height / 2
    box = (left, top, left + width, top + height)
    cut = pixels.transform(size, Image.Transform.EXTENT, box, Image.Resampling.BICUBIC)
    if rng.random() < 0.5:
        cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    light = rng.uniform(0.8, 1.15)
    return cut.point(lambda value: min(255, int(value * light)))


@pytest.fixture(scope="module")
def alone(make_stores, deliveries) -> tuple[dict[str, list[str]], float]:
    """The catalogue that one machine makes of the same deliveries, and its seconds."""
    stores = make_stores("alone")
    deliver(stores, deliveries(IMAGES))
    began = time.monotonic()
    run_here(stores)
    seconds = time.monotonic() - began
    found = catalogue(stores)
    assert len(found["sighting"]) == IMAGES
    assert len(found["face"]) > 0.9 * IMAGES
    refused = one(stores, "SELECT count(*) FROM image WHERE status = 'quarantined'")
    assert IMAGES // 250 <= refused < IMAGES // 50  # the broken files, and some of nobody
    return found, seconds


@pytest.mark.slow
@pytest.mark.timeout(2 * _PATIENCE_S)
def test_a_killed_worker_changes_no_row(alone, celery, deliveries):
    expected, alone_s = alone
    cluster, stores = celery
    deliver(stores, deliveries(IMAGES))
    survivor, victim = (cluster.start_worker(name) for name in ("worker-1", "worker-2"))
    cluster.wait_until_ready(survivor, victim)
    parts = list(cluster.parts.values())
    extracting = "SELECT count(*) FROM run WHERE stage = 'extract.shard' AND state = 'running'"
    extracted = "SELECT count(*) FROM image WHERE status = 'extracted' AND source <> 'enrolment'"
    repeated = "SELECT count(*) FROM shard WHERE stage = 'extract' AND attempts > 1"
    with cluster.client() as client:
        client.wait_for_dags({"ingest_images", "extract_faces"})
        cluster.pause("extract_faces", False)
        cluster.pause("ingest_images", False)
        began = time.monotonic()
        client.wait(client.trigger("ingest_images", PAGES), timeout_s=_PATIENCE_S)
        cluster.pause("ingest_images", True)  # its schedule has nothing to do any more

        # Half-way, with a shard on each worker: the victim's is lost in the middle.
        wait(lambda: one(stores, extracted) >= 0.4 * IMAGES, *parts)
        wait(lambda: one(stores, extracting) == 2, *parts)
        assert len(victim.kill()) > 2, "the worker ran no task"
        killed, done = time.monotonic(), one(stores, extracted)
        assert done < IMAGES - IMAGES // 100
        parts.remove(victim)
        wait(lambda: one(stores, repeated) > 0, *parts)
        noticed = time.monotonic()
        run = client.newest("extract_faces")
        assert run is not None
        client.wait(run, timeout_s=_PATIENCE_S)
    print(
        f"\n{IMAGES} images: one machine {alone_s:.0f} s, two workers {noticed - began:.0f} s until"
        f" the lost shard began again; killed after {killed - began:.0f} s and {done} extracted"
        f" images, noticed {noticed - killed:.0f} s later; {time.monotonic() - began:.0f} s in all"
    )

    again = "SELECT attempts FROM shard WHERE stage = 'extract' AND attempts > 1"
    assert rows(stores, again) == [(2,)], "exactly the victim's shard was computed again"
    found = catalogue(stores)
    assert {name: len(own) for name, own in found.items()} == {
        name: len(own) for name, own in expected.items()
    }
    different = {name: sorted(set(own) ^ set(found[name])) for name, own in expected.items()}
    assert not {name: rows[:4] for name, rows in different.items() if rows}
