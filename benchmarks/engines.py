"""One back-fill by the local engine and by Ray on this machine: images/s, start-up, memory.

    facecore up
    python benchmarks/engines.py [--count 4000] [--threads 2] [--json OUT]

Ray must be installed (requirements-ray.txt). For each engine as many pictures with bytes of their
own are delivered, taken in and judged; then its command runs, as a user would run it: `facecore
extract`, and `facecore extract --engine ray --ray-address local`. Both write to the same stores.
Reported: seconds of the command, seconds until the first shard was done, images/s of the whole and
from the first shard on, and the most memory of the command and all it started (proportional set
size, which counts shared memory once).

`--set` as in benchmarks/extraction.py. What is delivered stays in the platform. On one machine
this shows what Ray costs, not what it is for: docs/scale.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from extraction import cpu_name, read_set
from growth import distinct

from facecore.config import settings
from facecore.jobs.images import ingest, validate
from facecore.jobs.lineage import command_context
from facecore.jobs.stores import Stores

FACECORE = str(Path(sys.executable).with_name("facecore"))
ENGINES = {"local": [], "ray": ["--engine", "ray", "--ray-address", "local"]}


def deliver(stores: Stores, pictures: list[bytes], count: int) -> None:
    """`count` accepted images that were never seen before."""
    stamp = time.time_ns()
    for number in range(count):
        data = distinct(pictures[number % len(pictures)], stamp + number)
        stores.objects.put("landing", f"benchmark/{stamp}-{number:06d}.jpg", data)
    context = command_context("engines")
    shard_ids = ingest.plan(context, stores=stores)
    for shard_id in shard_ids:
        ingest.ingest_shard(context, shard_id, stores)
    validate.validate_waiting(context, batch_checks=False, stores=stores)


def extracted(stores: Stores) -> tuple[int, int]:
    """Images that were extracted, and shards of extraction that are done."""
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM image WHERE status = 'extracted'), "
            "(SELECT count(*) FROM shard WHERE stage = 'extract' AND state = 'done')"
        )
        images, shards = cursor.fetchone() or (0, 0)
    return int(images), int(shards)


def memory_mb(root: psutil.Process) -> float:
    """Of a process and all below it."""
    total = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return total / 2**20


def measure(stores: Stores, arguments: list[str], threads: int) -> dict[str, Any]:
    """One command, from its start to its end."""
    before = extracted(stores)
    began, first, first_images, most = time.perf_counter(), 0.0, 0, 0.0
    log = Path(__file__).parent / "out" / "engines.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as said:
        running = subprocess.Popen(
            [FACECORE, "extract", *arguments, "--json"],
            env={**os.environ, "FACECORE_EXTRACT__THREADS": str(threads)},
            stdout=subprocess.PIPE,
            stderr=said,
        )
        root = psutil.Process(running.pid)
        while running.poll() is None:
            most = max(most, memory_mb(root))
            now = extracted(stores)
            if not first and now[1] > before[1]:
                first, first_images = time.perf_counter() - began, now[0] - before[0]
            time.sleep(0.5)
    seconds = time.perf_counter() - began
    if running.returncode:
        sys.exit(f"{' '.join(arguments)} failed: {log.read_text()[-2000:]}")
    images = extracted(stores)[0] - before[0]
    return {
        "images": images,
        "seconds": seconds,
        "first_shard_s": first,
        "images_per_s": images / seconds,
        "after_first_shard_images_per_s": (images - first_images) / max(seconds - first, 1e-9),
        "most_memory_mb": most,
    }


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--set", default="lfw")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "out" / "engines.json")
    options = parser.parse_args()
    stores = Stores(settings())
    pictures = read_set(options.set, 500)
    report: dict[str, Any] = {"cpu": cpu_name(), "threads": options.threads, "engines": {}}
    for _ in range(options.rounds):
        for name, arguments in ENGINES.items():
            deliver(stores, pictures, options.count)
            row = measure(stores, arguments, options.threads)
            report["engines"].setdefault(name, []).append(row)
            print(f"{name}: {row}", flush=True)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written to {options.json}")


if __name__ == "__main__":
    main()
