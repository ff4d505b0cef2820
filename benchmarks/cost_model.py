"""What N images cost: machines, hours, storage, index memory, and what limits each size.

    python benchmarks/cost_model.py                      the tables of docs/scale.md
    python benchmarks/cost_model.py --faces 3 --image-kb 250     for pictures of your own
    python benchmarks/cost_model.py --measure            sizes of rows and objects, from the
                                                         catalogue and buckets of the settings
    python benchmarks/cost_model.py --check 5000 --cores 2 --rate 60   one size beside a measurement

Arithmetic over `CONSTANTS`; each says where it was measured. Nothing is fitted. A resource's time
is work divided by capacity. Resources work side by side, so the whole takes as long as the slowest
one: the bottleneck. Cores and S3 servers can be added, so the model adds as many as the deadline
needs and reports them; one PostgreSQL cannot, so its time is reported as it is.

Two things no number of cores or servers mends, so they are named where they bind: the index of
all vectors has to lie in the memory of one machine (`MEMORY`), and a full clustering compares all
faces with all.

Not in it: GPUs (one takes the place of a hundred cores, docs/performance.md), the network,
deletion and retention, training, and what people cost.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from facecore.jobs.stores import Stores

HOUR = 3600.0
MEMORY = 256e9  # bytes; the largest database machine that is easily had
SIZES = (10_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000)


@dataclass(frozen=True)
class Constant:
    """A measured number: what it is, in which unit, and where it was measured."""

    value: float
    unit: str
    source: str


_PERFORMANCE = "docs/performance.md"
_MEASURED = "--measure on the catalogue of 5,000 images of tests/cluster"
CONSTANTS = {
    # Work
    "extract_core_s": Constant(0.0178, "core-seconds per image", f"{_PERFORMANCE}, beside others"),
    "ingest_core_s": Constant(0.0044, "core-seconds per image", "--measure, as below"),
    "task_s": Constant(0.8, "seconds per task that are Airflow's", f"{_PERFORMANCE}, write path"),
    "load_s": Constant(1.2, "seconds per extraction until networks run", f"{_PERFORMANCE}, same"),
    "gflops_core": Constant(151.0, "GFLOP/s of matrix products on a core", _PERFORMANCE),
    # One PostgreSQL, 2 cores
    "face_rows_s": Constant(5_293, "face rows per second", f"{_PERFORMANCE}, write path"),
    "vectors_s": Constant(549, "vectors per second into an HNSW index", f"{_PERFORMANCE}"),
    # One SeaweedFS that shares 2 cores, 14 KB, 16 threads
    "put_s": Constant(311, "objects written per second", f"{_PERFORMANCE}, write path"),
    "read_s": Constant(656, "objects read per second", f"{_PERFORMANCE}, write path"),
    # Bytes, with indexes
    "image_row": Constant(3_330, "bytes per image: image, sighting, coverage", _MEASURED),
    "face_row": Constant(870, "bytes per face: face, assignment", _MEASURED),
    "vector": Constant(390, "bytes per face: embedding without HNSW", _MEASURED),
    "hnsw": Constant(570, "bytes per face: HNSW index", _MEASURED),
    "crop": Constant(37_632, "bytes per face: 112 × 112 × 3, not compressed", _MEASURED),
}


def constant(name: str) -> float:
    return CONSTANTS[name].value


@dataclass(frozen=True)
class Load:
    """What is to be done.

    Attributes:
        images: distinct pictures.
        faces: faces per image.
        image_kb: bytes per picture / 1,000.
        shard: images per shard of extraction; `ingest_shard`: objects per shard of ingestion.
        deadline_h: hours in which cores and S3 servers are to be through.
    """

    images: int
    faces: float = 1.2
    image_kb: float = 14.0
    shard: int = 8_192
    ingest_shard: int = 512
    deadline_h: float = 24.0


def planned(images: int, faces: float = 1.2, image_kb: float = 14.0) -> Load:
    """The load of a size, with the shards and the deadline that suit it."""
    ingest_shard = 512 if images <= 1_000_000 else 4_096
    deadline = 0.1 if images <= 10_000 else 24.0 if images <= 10_000_000 else 168.0
    if images > 100_000_000:
        deadline = 720.0
    return Load(images, faces, image_kb, ingest_shard=ingest_shard, deadline_h=deadline)


def core_hours(load: Load) -> float:
    """Computing, and what tasks cost beside it."""
    return work_hours(load) + task_hours(load)


def work_hours(load: Load) -> float:
    """Of cores, on the pictures themselves."""
    return load.images * (constant("extract_core_s") + constant("ingest_core_s")) / HOUR


def task_hours(load: Load) -> float:
    """Of cores, on starting tasks: one to ingest a shard, two to extract and identify one."""
    ingested, extracted = (math.ceil(load.images / n) for n in (load.ingest_shard, load.shard))
    tasks = ingested + 2 * extracted
    return (tasks * constant("task_s") + extracted * constant("load_s")) / HOUR


def s3_hours(load: Load) -> float:
    """Of one server. An image is written once and removed once from the landing bucket (which
    counts as a write), and looked at or read three times: read, stat before it is removed, read to
    extract.
    """
    return load.images * (2 / constant("put_s") + 3 / constant("read_s")) / HOUR


def postgres_hours(load: Load) -> float:
    """Of the one server, with the HNSW index kept up to date."""
    faces = load.images * load.faces
    return faces * (1 / constant("face_rows_s") + 1 / constant("vectors_s")) / HOUR


def cluster_hours(load: Load) -> float:
    """Of one core: a full pass compares all faces with all, 2 × 128 operations a pair."""
    faces = load.images * load.faces
    return faces * faces * 256 / (constant("gflops_core") * 1e9) / HOUR


def storage_bytes(load: Load) -> dict[str, float]:
    """By kind. Pictures lie in S3 once: the landing object is removed."""
    faces = load.images * load.faces
    return {
        "pictures": load.images * load.image_kb * 1e3,
        "crops": faces * constant("crop"),
        "catalogue": load.images * constant("image_row")
        + faces * (constant("face_row") + constant("vector")),
        "index": faces * constant("hnsw"),
    }


@dataclass(frozen=True)
class Plan:
    """What a load needs. Hours of a resource are with the machines that are given."""

    load: Load
    cores: int
    s3_servers: int
    hours: dict[str, float]
    bytes: dict[str, float]

    @property
    def clustering_h(self) -> float:
        """A full pass on the cores that are there."""
        return cluster_hours(self.load) / self.cores

    @property
    def bottleneck(self) -> str:
        """What to mend first at this size."""
        if self.bytes["index"] > MEMORY:
            return "memory of the index"
        if self.clustering_h > self.load.deadline_h:
            return "full clustering"
        return max(self.hours, key=lambda name: self.hours[name])


def plan(load: Load) -> Plan:
    """As many cores and S3 servers as meet the deadline, at least two and one."""
    cores = max(2, math.ceil(core_hours(load) / load.deadline_h))
    servers = max(1, math.ceil(s3_hours(load) / load.deadline_h))
    hours = {
        "computing": core_hours(load) / cores,
        "S3 requests": s3_hours(load) / servers,
        "PostgreSQL": postgres_hours(load),
    }
    return Plan(load, cores, servers, hours, storage_bytes(load))


def _time(hours: float) -> str:
    if hours < 1:
        return f"{max(1, round(hours * 60))} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:,.0f} days"


def _size(count: float) -> str:
    for unit, scale in (("TB", 1e12), ("GB", 1e9)):
        if count >= scale:
            return f"{count / scale:,.1f} {unit}"
    return f"{count / 1e6:,.0f} MB"


def _row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return "\n".join([_row(*head), "|" + "---|" * len(head), *(_row(*row) for row in rows)])


def tables(loads: Sequence[Load]) -> str:
    """Markdown: time and machines, then storage and index."""
    plans = [plan(load) for load in loads]
    times = [
        (
            f"{p.load.images:,}",
            f"{p.load.shard:,}",
            p.cores,
            p.s3_servers,
            *(_time(hours) for hours in p.hours.values()),
            p.bottleneck,
            _time(p.clustering_h),
        )
        for p in plans
    ]
    sizes = [(f"{p.load.images:,}", *(_size(b) for b in p.bytes.values())) for p in plans]
    first = ("images", "shard", "cores", "S3 servers", "computing", "S3 requests", "PostgreSQL")
    return "\n\n".join(
        [
            _table((*first, "bottleneck", "one full clustering, same cores"), times),
            _table(("images", "pictures", "crops", "catalogue", "HNSW index (memory)"), sizes),
        ]
    )


def sources() -> str:
    """Markdown: every constant."""
    rows = [(f"`{n}`", f"{c.value:,g}", c.unit, c.source) for n, c in CONSTANTS.items()]
    return _table(("constant", "value", "unit", "source"), rows)


def check(load: Load, cores: int, rate: float) -> str:
    """The model's images/s on these cores beside a measured rate."""
    hours = max(core_hours(load) / cores, s3_hours(load), postgres_hours(load))
    predicted = load.images / hours / HOUR
    return (
        f"{load.images:,} images, {cores} cores: {predicted:.1f}/s predicted, {rate:.1f} measured"
    )


def ingest_core_s(stores: Stores, keys: Sequence[str]) -> float:
    """CPU seconds of what ingestion does to one picture, rows and the landing bucket left out."""
    from facecore.stages.decode import Limits, decode, inspect
    from facecore.stages.fingerprint import content_digest, perceptual_hash
    from facecore.stages.measure import measure as measurements

    bounds = Limits(stores.settings.ingest.max_bytes, stores.settings.ingest.max_pixels)
    warm_up = 20
    began = 0.0
    for number, key in enumerate(keys):
        if number == warm_up:
            began = time.process_time()
        data = stores.objects.get("images", key)
        content_digest(data)
        stores.objects.put("snapshots", "benchmark", data)
        inspect(data, bounds)
        pixels = decode(data, bounds)
        measurements(pixels, len(data))
        perceptual_hash(pixels)
    stores.objects.delete("snapshots", "benchmark")
    return (time.process_time() - began) / (len(keys) - warm_up)


def measure() -> str:
    """Bytes per row and object of the stores that the settings name, and CPU of ingestion."""
    from facecore.jobs.stores import Stores

    stores = Stores()
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:

        def one(query: str) -> float:
            cursor.execute(query)
            return float((cursor.fetchone() or (0,))[0] or 0)

        def size(*names: str) -> float:
            return sum(one(f"SELECT pg_total_relation_size('facecore.{name}')") for name in names)

        images, faces = one("SELECT count(*) FROM image"), one("SELECT count(*) FROM face")
        parts = "SELECT sum(pg_table_size(oid)) FROM pg_class WHERE relname ~ '^embedding_v\\d+$'"
        kept = "SELECT sum(pg_relation_size(indexrelid)) FROM pg_index JOIN pg_class c"
        kept += " ON c.oid = indexrelid WHERE c.relname ~ '^embedding_v\\d+_{}'"
        keys = one(kept.format("(pkey|face_id)"))
        found = {
            "images": images,
            "faces": faces,
            "image_row": size("image", "sighting", "coverage") / images,
            "face_row": size("face", "assignment") / faces,
            "vector": (one(parts) + keys) / faces,
            "hnsw": one(kept.format("hnsw")) / faces,
        }
    crops = sum(item.size for item in stores.objects.list("crops"))
    pictures = list(stores.objects.list("images"))
    found |= {
        "crop": crops / faces,
        "picture": sum(item.size for item in pictures) / len(pictures),
        "ingest_core_s": ingest_core_s(stores, [item.key for item in pictures[:1020]]),
    }
    return _table(("", "measured"), [(n, f"{value:,.6g}") for n, value in found.items()])


def main() -> None:
    """Print Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--faces", type=float, default=1.2, help="per image")
    parser.add_argument("--image-kb", type=float, default=14.0)
    parser.add_argument("--measure", action="store_true", help="rows and objects of the settings")
    parser.add_argument("--check", type=int, help="images of a run that was measured")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--rate", type=float, default=0.0, help="images/s that were measured")
    options = parser.parse_args()
    if options.measure:
        print(measure())
    elif options.check:
        load = planned(options.check, options.faces, options.image_kb)
        print(check(load, options.cores, options.rate))
    else:
        print(tables([planned(n, options.faces, options.image_kb) for n in options.sizes]))
        print(f"\n{sources()}")


if __name__ == "__main__":
    main()
