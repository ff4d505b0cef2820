"""The way of results into the stores, and what Airflow adds: on a running platform.

    facecore up
    python benchmarks/write_path.py [--faces 20000] [--objects 1000] [--airflow 5000] [--json OUT]

1. Rows: faces and their vectors, through the catalogue's own functions, in packs of 4,096 inside
   one transaction that is rolled back at the end. The vectors' partition has its HNSW index, as
   in production.
2. Objects: 14 KB each, put, read and deleted with 1, 4 and 16 threads.
3. End to end (`--airflow N`): N pictures with bytes of their own are delivered, `ingest_images` is
   triggered, `extract_faces` follows by its asset. Reported: images/s of the whole and of
   `extract_faces` alone; the same pictures through the bare engine in this process, before and
   after; the share of the bare rate that is reached; and where the time of the tasks goes: waiting
   in the queue, starting (Airflow's task without our job), and the job itself (the catalogue's
   record of it).

`--set` as in benchmarks/extraction.py. What the third part delivers stays in the platform.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from extraction import cpu_name, read_set
from growth import distinct
from growth import run as run_bare

from facecore.config import home_dir, settings
from facecore.jobs.demo.demo import _client
from facecore.jobs.demo.demo_runs import Runs
from facecore.jobs.faces.crops import FACES_PER_PACK
from facecore.jobs.models.champions import champions, extractor
from facecore.jobs.stores import Stores
from facecore.local.airflow_client import AirflowClient
from facecore.local.platform import Platform
from facecore.stores.catalog.faces import faces
from facecore.stores.catalog.pages.summary import summarise
from facecore.types import Embeddings

OBJECT = os.urandom(14_000)
# Asking Airflow and the catalogue twice a second, as the demo does, takes 2 % of two cores.
_POLL_S = 2.0
REPOSITORY = Path(__file__).resolve().parents[1]


class _Undo(Exception):
    """Ends a transaction whose rows are not wanted."""


def measure_rows(stores: Stores, count: int) -> dict[str, float]:
    """Rows per second."""
    chosen = champions(stores)
    contract = extractor(stores, chosen).contract
    seconds: dict[str, float] = defaultdict(float)
    generator = np.random.default_rng(0)
    try:
        with stores.catalog.transaction() as tx:
            with tx.cursor() as cursor:
                cursor.execute(
                    "INSERT INTO image (sha256, bucket, object_key, source, bytes) "
                    "VALUES (repeat('0', 64), 'images', 'benchmark', 'benchmark', 1) RETURNING id"
                )
                (image,) = cursor.fetchone() or (0,)
            for start in range(0, count, FACES_PER_PACK):
                size = min(FACES_PER_PACK, count - start)
                vectors = generator.standard_normal((size, contract.dimension), dtype=np.float32)
                vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
                rows = [
                    faces.FaceRow(
                        image, chosen.detector_row.id, start + i, [0.0, 0.0, 9.0, 9.0], [1.0] * 10,
                        0.9, "benchmark", i, {"score": 0.5, "size_px": 90.0},
                    )
                    for i in range(size)
                ]  # fmt: skip
                began = time.perf_counter()
                ids = faces.insert_faces(tx, rows)
                seconds["faces"] += time.perf_counter() - began
                began = time.perf_counter()
                own = Embeddings(vectors, contract)
                faces.copy_embeddings(tx, chosen.embedder_row.id, ids, own)
                seconds["vectors (COPY, indexed)"] += time.perf_counter() - began
            raise _Undo
    except _Undo:
        pass
    return {name: count / took for name, took in seconds.items()}


def measure_objects(stores: Stores, count: int) -> dict[str, dict[int, float]]:
    """Objects per second by operation and threads."""
    found: dict[str, dict[int, float]] = defaultdict(dict)
    keys = [f"benchmark/{i:06d}" for i in range(count)]
    operations: dict[str, Callable[[str], object]] = {
        "put": lambda key: stores.objects.put("crops", key, OBJECT),
        "get": lambda key: stores.objects.get("crops", key),
        "delete": lambda key: stores.objects.delete("crops", key),
    }
    for threads in (1, 4, 16):
        with ThreadPoolExecutor(threads) as pool:
            for name, operation in operations.items():
                began = time.perf_counter()
                list(pool.map(operation, keys))
                found[name][threads] = count / (time.perf_counter() - began)
    return dict(found)


def bare_rate(stores: Stores, pictures: list[bytes], count: int) -> float:
    """Images/s of the engine in this process."""
    engine = extractor(stores, champions(stores))
    run_bare(engine, pictures, 100, 0)
    return 1e3 / float(run_bare(engine, pictures, count, 0)["ms_per_image"])


def measure_airflow(stores: Stores, pictures: list[bytes], count: int) -> dict[str, Any]:
    """Deliver, trigger, wait, and take the time of every task apart."""
    with _client(Platform(home_dir(), REPOSITORY), "admin") as client:
        client.wait_for_dags({"ingest_images", "extract_faces"})
        _settle(client)
        bare = [bare_rate(stores, pictures, min(count, 1000))]
        _wait_for_the_schedule()
        prefix = _deliver(stores, pictures, count)
        _settle(client)
        began = datetime.now(UTC)
        params = {"prefix": prefix, "page_limit": max(1, -(-count // 1000)) + 1}
        runs = Runs(client, lambda part, text: print(f"{part}: {text}"), poll_s=_POLL_S)
        runs.run("ingest_images", params)
        runs.settle("extract_faces", lambda: _waiting(stores), "images")
        ended = datetime.now(UTC)
        tasks = [
            task
            for dag in ("ingest_images", "extract_faces")
            for task in _tasks(client, dag, began)
        ]
        _settle(client)
    bare.append(bare_rate(stores, pictures, min(count, 1000)))
    jobs = _jobs(stores, began)
    extraction = [task for task in tasks if task["dag"] == "extract_faces"]
    first, last = min(t["start"] for t in extraction), max(t["end"] for t in extraction)
    whole = count / (ended - began).total_seconds()
    alone = count / (last - first).total_seconds()
    rate = statistics.fmean(bare)
    return {
        "images": count,
        "images_per_second": whole,
        "extract_faces_images_per_second": alone,
        "bare_images_per_second": bare,
        "share_of_bare": whole / rate,
        "extract_faces_share_of_bare": alone / rate,
        "tasks": _apart(tasks, jobs),
    }


def _deliver(stores: Stores, pictures: list[bytes], count: int) -> str:
    """Put so many distinct pictures into the landing bucket; returns the prefix of their keys."""
    prefix = f"benchmark-{datetime.now(UTC):%Y%m%dT%H%M%S}/"
    base = int(time.time() * 1000)  # so that no earlier run delivered the same bytes

    def deliver(number: int) -> None:
        data = distinct(pictures[number % len(pictures)], base + number)
        stores.objects.put("landing", f"{prefix}{number:06d}.jpg", data)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(deliver, range(count)))
    return prefix


def _wait_for_the_schedule() -> None:
    """`ingest_images` looks by itself every five minutes: between two looks nobody interferes."""
    while not 10 < time.time() % 300 < 120:
        time.sleep(1)


def _settle(client: AirflowClient) -> None:
    """Until no DAG runs: what follows on new faces takes processor time as well."""
    while client._get("/api/v2/dags/~/dagRuns", state="running", limit=1)["total_entries"]:
        time.sleep(1)


def _waiting(stores: Stores) -> int:
    with stores.catalog.transaction() as tx:
        return summarise(tx).images["accepted"]


def _tasks(client: AirflowClient, dag: str, since: datetime) -> list[dict[str, Any]]:
    """Every task instance of the runs since then: when it was queued, started and ended."""
    runs = client._get(f"/api/v2/dags/{dag}/dagRuns", limit=50, order_by="-run_after")["dag_runs"]
    found = []
    for run in runs:
        if run["start_date"] is None or datetime.fromisoformat(run["start_date"]) < since:
            continue
        path = f"/api/v2/dags/{dag}/dagRuns/{run['dag_run_id']}/taskInstances"
        for one in client._get(path, limit=1000)["task_instances"]:
            if one["start_date"] and one["end_date"]:
                times = (one["queued_when"] or one["start_date"], one["start_date"])
                queued, start = (datetime.fromisoformat(moment) for moment in times)
                end = datetime.fromisoformat(one["end_date"])
                found.append(
                    {
                        "dag": dag,
                        "task": one["task_id"],
                        "queued": queued,
                        "start": start,
                        "end": end,
                    }
                )
    return found


def _jobs(stores: Stores, since: datetime) -> dict[str, list[float]]:
    """Seconds of our own jobs by Airflow's task, from the catalogue's records."""
    found: dict[str, list[float]] = defaultdict(list)
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute(
            "SELECT task_id, extract(epoch FROM finished_at - started_at) FROM run "
            "WHERE started_at >= %s AND finished_at IS NOT NULL",
            [since],
        )
        for task, seconds in cursor:
            found[task].append(float(seconds))
    return found


def _apart(tasks: list[dict[str, Any]], jobs: dict[str, list[float]]) -> dict[str, Any]:
    by_task: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for task in tasks:
        by_task[task["task"]].append(task)
    return {
        name: {
            "count": len(own),
            "queued_s": statistics.fmean((t["start"] - t["queued"]).total_seconds() for t in own),
            "task_s": statistics.fmean((t["end"] - t["start"]).total_seconds() for t in own),
            "job_s": statistics.fmean(jobs[name]) if jobs.get(name) else None,
        }
        for name, own in by_task.items()
    }


def show(report: dict[str, Any]) -> None:
    """Markdown."""
    for name, rate in report["rows_per_second"].items():
        print(f"{name}: {rate:,.0f} rows/s")
    print("\n| objects/s, 14 KB | 1 thread | 4 | 16 |\n|---|---|---|---|")
    for name, rates in report["objects_per_second"].items():
        print(f"| {name} | " + " | ".join(f"{rate:,.0f}" for rate in rates.values()) + " |")
    through = report.get("airflow")
    if not through:
        return
    bare = " and ".join(f"{rate:.1f}" for rate in through["bare_images_per_second"])
    print(
        f"\n{through['images']:,} images through Airflow: {through['images_per_second']:.1f}/s from"
        f" trigger to identified ({through['share_of_bare']:.0%} of the bare engine's {bare}/s);"
        f" extract_faces alone {through['extract_faces_images_per_second']:.1f}/s"
        f" ({through['extract_faces_share_of_bare']:.0%})\n"
    )
    print("| task | times | waits in the queue, s | runs, s | of it our job, s |")
    print("|---|---|---|---|---|")
    for name, own in through["tasks"].items():
        job = "" if own["job_s"] is None else f"{own['job_s']:.2f}"
        print(f"| {name} | {own['count']} | {own['queued_s']:.2f} | {own['task_s']:.2f} | {job} |")


def main() -> None:
    """Measure, print tables to stdout, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--set", default="", help="lfw, 1080p, portraits or a folder")
    parser.add_argument("--faces", type=int, default=20_000)
    parser.add_argument("--objects", type=int, default=1_000)
    parser.add_argument("--airflow", type=int, default=0, help="images through Airflow; 0 for none")
    parser.add_argument(
        "--json", type=Path, default=Path(__file__).parent / "out" / "write_path.json"
    )
    options = parser.parse_args()
    stores = Stores()
    report: dict[str, Any] = {
        "cpu": cpu_name(),
        "load_average": os.getloadavg(),
        "rows_per_second": measure_rows(stores, options.faces),
        "objects_per_second": measure_objects(stores, options.objects),
    }
    if options.airflow:
        name = options.set or ("lfw" if settings().data_dir else "portraits")
        pictures = read_set(name, 500)
        report["airflow"] = {"set": name, **measure_airflow(stores, pictures, options.airflow)}
    show(report)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
