"""Search: the index of the catalogue, exact search there, and exact batches, beside FAISS.

    python benchmarks/search.py [--sizes 100000 1000000] [--threads 2] [--json OUT]

**Vectors** are made up as the default embedder's are: a person is a point around a common mean
(length 0.29), a picture is the person and noise, as wide as they were measured on Labeled Faces in
the Wild (variance 0.565 between people, 0.349 within; 2,086 people, 5,373 faces, whose spectra are
nearly flat in all 128 dimensions). People have 1 to `--pictures` pictures: 20, as in
benchmarks/clustering.py, is hard, because half of the faces have strangers among their ten nearest;
100, on average 50, is what cameras see of people who come again, and what the large sets of faces
have. Queries are further pictures, drawn from the same and left out. `--lfw` looks real faces up
as well: those of `FACECORE_DATA_DIR/lfw/images`, a tenth of them as queries.

1. **Index** (pgvector, through the catalogue's own tables and functions, on a server of its own):
   COPY, build, size; for each ef_search recall@10 against exact products of all vectors, p50 and
   p99 of a look-up as its client sees it, and processor time of the server per look-up; what the
   platform's own check says and chooses; look-ups per second with one and two clients; look-ups
   with a filter that leaves 1, 10 and 40 % of the faces; exact look-ups in PostgreSQL.
2. **Batches**: `facecore.stages.nearest` in each precision beside FAISS's IndexFlatIP, the same
   threads, in alternating rounds; both must name the same neighbours.
3. **FAISS's HNSW** of the same parameters, up to `--faiss-hnsw` vectors.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from facecore.config import Settings, settings
from facecore.jobs.faces import search_index
from facecore.jobs.faces.index_recall import EF_SEARCH
from facecore.jobs.lineage import command_context
from facecore.jobs.stores import Stores
from facecore.lifecycle.recall import recall
from facecore.local.platform import Platform
from facecore.stages.nearest import Nearest
from facecore.stores.catalog import migrate
from facecore.stores.catalog.faces import faces, vector_index
from facecore.stores.catalog.models import models
from facecore.stores.catalog.search import index_checks
from facecore.stores.catalog.search.face_filter import FaceFilter
from facecore.stores.catalog.search.index_checks import Method
from facecore.stores.catalog.search.neighbours import LookUp
from facecore.types import Contract, Embeddings, Floats

REPOSITORY = Path(__file__).resolve().parents[1]
DIMENSION, K = 128, 10
MEAN, BETWEEN, WITHIN = 0.29, 0.565, 0.349
FACES_PER_IMAGE = 10
FILTERS = {"1 % of the faces": "rare", "10 % of the faces": "often", "40 % of the faces": "many"}


def say(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


def made_up(count: int, pictures: int, seed: int = 0) -> Floats:
    """Unit vectors `[count, 128]`, in random order; a prefix is a fair sample."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(count), rng.integers(1, pictures + 1, count))[:count]
    centres = rng.standard_normal((int(owner[-1]) + 1, DIMENSION), np.float32)
    centres *= np.sqrt(BETWEEN / DIMENSION)
    centres[:, 0] += MEAN
    vectors = rng.standard_normal((count, DIMENSION), np.float32)
    vectors *= np.sqrt(WITHIN / DIMENSION)
    vectors += centres[owner]
    return stored(vectors[rng.permutation(count)])


def stored(vectors: Floats) -> Floats:
    """As the catalogue keeps and compares them: rounded to float16, then of unit length."""
    rounded = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    back: Floats = rounded.astype(np.float32)
    back /= np.linalg.norm(back, axis=1, keepdims=True)
    return back


def exact(vectors: Floats, queries: Floats) -> Floats:
    """Scores `[q, K]` of the nearest, best first."""
    search = Nearest(queries, K, precision="fp32")
    search.add(vectors, np.arange(len(vectors)))
    return search.result().scores.reshape(len(queries), K)


@contextlib.contextmanager
def server() -> Iterator[Stores]:
    """A catalogue on a PostgreSQL of its own, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="facecore-search-") as name:
        Path(name).chmod(0o711)  # run by root, PostgreSQL's own user must pass through
        local = Platform(Path(name) / "home", REPOSITORY, standard_ports=False)
        try:
            local.up(["postgres"])
            migrate(local.database)
            yield Stores(Settings(database=local.database))
        finally:
            local.clean()


def fill(stores: Stores, vectors: Floats) -> tuple[int, dict[str, float]]:
    """Pictures with ten faces each, and the vectors; returns the model version."""
    contract = Contract("benchmark", "a" * 64, DIMENSION, "b" * 64)
    count = len(vectors)
    images = -(-count // FACES_PER_IMAGE)
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        detector = models.upsert(
            tx, models.ModelVersionRow("detect", "benchmark-detector", 1, "d" * 64, "d" * 64)
        )
        embedder = models.upsert(
            tx,
            models.ModelVersionRow(
                "embed", "benchmark", 1, contract.digest, contract.weights_sha256, DIMENSION
            ),
        )
        for version in (detector, embedder):
            models.set_active(tx, version)
        cursor.execute(
            "INSERT INTO image (sha256, bucket, object_key, source, bytes, status) "
            "SELECT md5(n::text) || md5(n::text), 'images', n::text, 'x', 1, 'extracted' "
            "FROM generate_series(1, %s) AS n",
            [images],
        )
        cursor.execute(
            "INSERT INTO sighting (image_id, landing_bucket, landing_key, etag, source) "
            "SELECT id, 'landing', id::text, '1', CASE WHEN id % 100 = 0 THEN 'rare' "
            "WHEN id % 10 = 1 THEN 'often' WHEN id % 10 IN (2, 4, 5, 7) THEN 'many' "
            "ELSE 'else' END FROM image"
        )
        cursor.execute(
            "INSERT INTO face (image_id, detector_version_id, ordinal, box, score, crop_key, "
            "crop_index) SELECT 1 + n / %s, %s, n %% %s, '{0,0,9,9}', 0.9, 'x', 0 "
            "FROM generate_series(0, %s) AS n ORDER BY n",
            [FACES_PER_IMAGE, detector, FACES_PER_IMAGE, count - 1],
        )
        cursor.execute("SELECT min(id) FROM face")
        (first,) = cursor.fetchone() or (0,)
    say(f"{count:,} faces are catalogued")
    with stores.catalog.transaction() as tx:
        faces.ensure_embedding_partition(tx, embedder, DIMENSION)
        began = time.perf_counter()
        for start in range(0, count, 1 << 16):
            part = vectors[start : start + (1 << 16)]
            ids = range(first + start, first + start + len(part))
            faces.copy_embeddings(tx, embedder, ids, Embeddings(part, contract))
        copied = time.perf_counter() - began
    connection = stores.catalog.connect()
    connection.autocommit = True
    connection.cursor().execute("VACUUM ANALYZE face, sighting, image, embedding")
    connection.close()
    return embedder, {"copy_s": copied, "copied_per_s": count / copied}


def backend_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def measure_index(
    stores: Stores, embedder: int, vectors: Floats, queries: Floats
) -> dict[str, Any]:
    """Build it; recall and time by ef_search; the platform's own check."""
    began = time.perf_counter()
    with stores.catalog.transaction() as tx:
        faces.build_index(tx, embedder)
        notices = [line.strip() for line in tx.notices if "maintenance_work_mem" in line]
    report: dict[str, Any] = {"build_s": time.perf_counter() - began, "notices": notices}
    say(f"built in {report['build_s']:.0f} s {notices}")
    truth = exact(vectors, queries)
    nobody = np.full(len(queries), -1, np.int64)
    with stores.catalog.transaction() as tx:
        index = vector_index.find(tx, embedder)
        assert index is not None
        report |= {"m": index.m, "ef_construction": index.ef_construction, "bytes": index.bytes}
        index_checks.ask_index(tx, embedder, queries, nobody, K, EF_SEARCH[-1])  # into the cache
        report["by_ef_search"] = []
        for ef_search in EF_SEARCH:
            before = backend_seconds(tx.info.backend_pid)
            scores, seconds = index_checks.ask_index(tx, embedder, queries, nobody, K, ef_search)
            used = backend_seconds(tx.info.backend_pid) - before
            found = recall(truth, scores)
            row = {
                "ef_search": ef_search,
                "recall": found.value,
                "low": found.low,
                "high": found.high,
                "cpu_ms": 1e3 * used / len(queries),
                **percentiles(seconds),
            }
            report["by_ef_search"].append(row)
            say(
                f"ef {ef_search}: recall {found.value:.4f} ({found.low:.4f}-{found.high:.4f}), p50 "
                f"{row['p50_ms']:.2f} p99 {row['p99_ms']:.2f} ms, {row['cpu_ms']:.2f} CPU ms"
            )
    began = time.perf_counter()
    said = search_index.check(command_context("benchmark"), stores=stores)
    report["own_check"] = {"seconds": time.perf_counter() - began} | {
        key: said[key]
        for key in (
            *("ef_search", "recall", "recall_low", "recall_high", "met"),
            *("filter_share", "filter_candidates", "filter_recall"),
        )
    }
    say(f"the platform's own check: {report['own_check']}")
    return report


def percentiles(seconds: Any) -> dict[str, float]:
    p50, p99 = np.percentile(seconds, [50, 99])
    return {"p50_ms": 1e3 * float(p50), "p99_ms": 1e3 * float(p99)}


def measure_rate(
    stores: Stores, embedder: int, queries: Floats, ef_search: int, clients: int
) -> float:
    """Look-ups per second of so many clients at once, for five seconds."""
    done, end = [0] * clients, threading.Event()

    def work(number: int) -> None:
        own = np.full(1, -1, np.int64)
        with stores.catalog.transaction() as tx:
            while not end.is_set():
                row = (number + done[number] * clients) % len(queries)
                index_checks.ask_index(tx, embedder, queries[row : row + 1], own, K, ef_search)
                done[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    time.sleep(5)
    end.set()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - began)


def measure_look_ups(
    stores: Stores, embedder: int, vectors: Floats, queries: Floats
) -> dict[str, Any]:
    """Look-ups as the platform does them: with filters, and exactly."""
    place = np.arange(len(vectors)) // FACES_PER_IMAGE + 1
    kept = {
        "rare": place % 100 == 0,
        "often": place % 10 == 1,
        "many": np.isin(place % 10, (2, 4, 5, 7)),
    }
    report: dict[str, Any] = {}
    with stores.catalog.transaction() as tx:
        method = index_checks.method(tx, embedder, stores.settings.search)
        for name, source in FILTERS.items():
            look_up = LookUp(tx, embedder, method, FaceFilter(sources=(source,)))
            truth = exact(vectors[kept[source]], queries)
            report[name] = asked(look_up, queries, truth)
        plain = LookUp(tx, embedder, method, FaceFilter())
        truth = exact(vectors, queries)
        report["all faces"] = asked(plain, queries, truth)
        without = LookUp(tx, embedder, Method(None, method.exact_up_to), FaceFilter())
        report["all faces, exactly"] = asked(without, queries[:40], truth[:40])
    for name, row in report.items():
        say(f"{name}: {row}")
    return report


def asked(look_up: LookUp, queries: Floats, truth: Floats) -> dict[str, Any]:
    scores, seconds = np.full((len(queries), K), -np.inf, np.float32), []
    for row, query in enumerate(queries):
        began = time.perf_counter()
        found = look_up.nearest(query, K)
        seconds.append(time.perf_counter() - began)
        scores[row, : len(found)] = [one.score for one in found]
    measured = recall(truth, scores)
    least = int(np.isfinite(scores).sum(axis=1).min())
    return {
        "least_answers": least,
        "recall": measured.value,
        "recall_low": measured.low,
        "note": look_up.note,
        **percentiles(seconds),
    }


def measure_batches(
    vectors: Floats, queries: Floats, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Exact batches, ours and FAISS's, in alternating rounds."""
    import faiss

    faiss.omp_set_num_threads(options.threads)
    flat = faiss.IndexFlatIP(DIMENSION)
    flat.add(vectors)
    names = np.arange(len(vectors))

    def ours(precision: str) -> Floats:
        search = Nearest(queries, K, precision=precision)
        search.add(vectors, names)
        return search.result().scores.reshape(len(queries), K)

    sides: dict[str, Callable[[], Floats]] = {
        "FAISS IndexFlatIP": lambda: flat.search(queries, K)[0],
        **{f"facecore {p}": partial(ours, p) for p in options.precisions},
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    truth: Floats | None = None
    for _ in range(options.rounds):
        for name, side in sides.items():
            began, cpu = time.perf_counter(), time.process_time()
            scores = side()
            taken[name].append((time.perf_counter() - began, time.process_time() - cpu))
            truth = scores if truth is None else truth
            np.testing.assert_allclose(scores, truth, atol=2e-5)
    peer = statistics.median(s for s, _ in taken["FAISS IndexFlatIP"])
    peer_cpu = statistics.median(c for _, c in taken["FAISS IndexFlatIP"])
    rows = []
    for name, times in taken.items():
        seconds = statistics.median(s for s, _ in times)
        used = statistics.median(c for _, c in times)
        rows.append(
            {
                "side": name, "queries_per_s": len(queries) / seconds, "rounds_s": times,
                "times_faiss": peer / seconds, "times_faiss_by_cpu": peer_cpu / used,
            }
        )  # fmt: skip
        say(f"{name}: {rows[-1]}")
    return rows


def measure_faiss_hnsw(vectors: Floats, queries: Floats, threads: int) -> dict[str, Any]:
    """FAISS's HNSW in memory, float32."""
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexHNSWFlat(DIMENSION, vector_index.M, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = vector_index.EF_CONSTRUCTION
    began = time.perf_counter()
    index.add(vectors)
    report: dict[str, Any] = {"build_s": time.perf_counter() - began, "by_ef_search": []}
    truth = exact(vectors, queries)
    for ef_search in EF_SEARCH:
        index.hnsw.efSearch = ef_search
        scores, seconds = np.zeros_like(truth), []
        for row in range(len(queries)):
            began = time.perf_counter()
            scores[row] = index.search(queries[row : row + 1], K)[0]
            seconds.append(time.perf_counter() - began)
        found = recall(truth, scores)
        row_of = {"ef_search": ef_search, "recall": found.value, **percentiles(seconds)}
        report["by_ef_search"].append(row_of)
        say(f"FAISS HNSW {row_of}")
    return report


def run(vectors: Floats, queries: Floats, options: argparse.Namespace) -> dict[str, Any]:
    """Everything of one set of vectors."""
    report: dict[str, Any] = {
        "vectors": len(vectors),
        "queries": len(queries),
        "pictures": options.pictures,
    }
    some = queries[: options.queries]
    if "index" in options.parts:
        with server() as stores:
            embedder, report["fill"] = fill(stores, vectors)
            say(f"{len(vectors):,} vectors: {report['fill']}")
            report["index"] = measure_index(stores, embedder, vectors, some)
            own = report["index"]["own_check"]
            report["per_second"] = {
                clients: measure_rate(stores, embedder, some, own["ef_search"], clients)
                for clients in (1, 2)
            }
            say(f"look-ups per second by clients: {report['per_second']}")
            report["look_ups"] = measure_look_ups(stores, embedder, vectors, some[:200])
    if "batches" in options.parts:
        report["batches"] = measure_batches(vectors, queries, options)
    if "faiss-hnsw" in options.parts and len(vectors) <= options.faiss_hnsw:
        report["faiss_hnsw"] = measure_faiss_hnsw(vectors, some, options.threads)
    return report


def real_faces() -> tuple[Floats, Floats]:
    """Vectors of Labeled Faces in the Wild, nine tenths and one tenth."""
    from clustering import embed

    folder = settings().data_dir
    if folder is None:
        sys.exit("--lfw needs FACECORE_DATA_DIR, with lfw/images in it.")
    vectors, _ = embed(folder / "lfw" / "images", everybody=True)
    vectors = stored(vectors[np.random.default_rng(0).permutation(len(vectors))])
    return vectors[len(vectors) // 10 :], vectors[: len(vectors) // 10]


def main() -> None:
    """Measure, and write JSON."""
    parts = ("index", "batches", "faiss-hnsw")
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[100_000])
    parser.add_argument("--pictures", type=int, default=20, help="of a person, at most")
    parser.add_argument("--lfw", action="store_true", help="real faces as well")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--queries", type=int, default=400, help="single look-ups")
    parser.add_argument("--batch", type=int, default=4096, help="queries of a batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precisions", nargs="+", default=("auto", "fp32", "bf16", "int8"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--faiss-hnsw", type=int, default=100_000, help="vectors at most")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "out" / "search.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    load = os.getloadavg()
    runs = []
    for size in options.sizes:
        made = made_up(size + options.batch, options.pictures)
        runs.append(run(made[options.batch :], made[: options.batch], options))
    if options.lfw:
        runs.append({"set": "lfw", **run(*real_faces(), options)})
    report = {
        "runs": runs,
        "machine": {
            "cores": os.cpu_count(),
            "threads": options.threads,
            "load_average": {"before": load, "after": os.getloadavg()},
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written to {options.json}")


if __name__ == "__main__":
    main()
