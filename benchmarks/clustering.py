"""Clustering of labelled faces beside DBSCAN, HDBSCAN and Chinese Whispers, in one run.

    python -m benchmarks.clustering --images DIR [--sizes 10000 30000 100000] [--json OUT]

DIR holds one folder per person (`person/*.jpg`). The main face of each picture is embedded with
the default models; people with one picture are left out (`--everybody` keeps them).

facecore uses one setting, from the calibration table of the model. Each peer gets the setting
that is best for it on these very pictures, found by trying: DBSCAN and Chinese Whispers every
similarity threshold of a grid (and DBSCAN the number of neighbours of a core face), HDBSCAN the
size of the smallest cluster. A face that a method leaves alone counts as a group of its own.
"incremental" gives facecore the faces in ten parts, in random order, without a full pass.

Time and peak memory are measured on made-up faces (people of 1 to 20 pictures, as similar as
real ones), each in a process of its own; the peers only as far as they go in a minute.
"grown" is what the peak adds to the libraries and the vectors.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from facecore.analytics.clustering.agreement import Agreement, agreement
from facecore.analytics.clustering.communities import communities, graph_of
from facecore.analytics.clustering.evidence import Evidence
from facecore.analytics.clustering.joining import join
from facecore.analytics.clustering.owners import Known
from facecore.analytics.clustering.settling import group, settle
from facecore.config import ClusterSettings, settings
from facecore.jobs.faces.cluster import FEWEST_FACES, FRAGMENT_RATE
from facecore.lifecycle.default_pack import default_calibration
from facecore.lifecycle.thresholds import threshold_for_gallery
from facecore.stages.nearest import Nearest, nearest_others
from facecore.stages.neighbours import Neighbours

Groups = np.ndarray
WANTED = ClusterSettings()
LIMITS = {"HDBSCAN": 10_000, "DBSCAN": 30_000, "Chinese Whispers": 30_000}


def evidence_for(faces: int) -> Evidence:
    """As the job does it: thresholds of the default model for so many faces."""
    calibration = default_calibration()
    size = max(faces, FEWEST_FACES)
    edge = threshold_for_gallery(calibration, WANTED.target_fpir, size)
    fragment = threshold_for_gallery(calibration, WANTED.target_fpir, size // FRAGMENT_RATE)
    table = [(p.fmr, p.threshold) for p in calibration.points]
    return Evidence.from_table(
        table,
        edge=edge.threshold,
        fragment=fragment.threshold,
        review_margin=WANTED.review_margin,
    )


def known_of(prior: np.ndarray) -> Known:
    """Faces of which nothing is known but what clustering said before."""
    nothing, no = np.zeros(len(prior), np.int64), np.zeros(len(prior), np.bool_)
    return Known(fixed=nothing, confirmed=no, prior=prior, unsure=no, good=~no)


def each_its_own(people: np.ndarray) -> Groups:
    """Faces of nobody (0), or noise (-1), as groups of their own."""
    alone = people <= 0
    return np.where(alone, people.max(initial=0) + 1 + np.arange(len(people)), people)


def run_full(vectors: np.ndarray) -> Groups:
    """A full pass."""
    evidence = evidence_for(len(vectors))
    pairs = nearest_others(vectors, evidence.fragment, WANTED.neighbours)
    known = known_of(np.zeros(len(vectors), np.int64))
    labels = group(vectors, pairs, known.good, evidence)
    return each_its_own(-settle(labels, pairs, known, evidence).people)


def run_incremental(vectors: np.ndarray, parts: int = 10, seed: int = 0) -> Groups:
    """New faces join or open, part after part; nobody moves."""
    order = np.random.default_rng(seed).permutation(len(vectors))
    person = np.zeros(len(vectors), np.int64)
    seen = np.zeros(0, np.int64)
    for part in np.array_split(order, parts):
        seen = np.sort(np.concatenate([seen, part]))
        evidence = evidence_for(len(seen))
        own = np.searchsorted(seen, np.sort(part))
        search = Nearest(vectors[seen[own]], WANTED.neighbours, floor=evidence.fragment, own=own)
        search.add(vectors[seen], np.arange(len(seen)))
        found = search.result()
        pairs = Neighbours(own[found.rows], found.columns, found.scores)
        new = np.zeros(len(seen), np.bool_)
        new[own] = True
        people = join(pairs, known_of(person[seen]), new, evidence).people
        person[seen] = np.where(people < 0, person.max() - people, people)
    return each_its_own(person)


def run_communities(vectors: np.ndarray, method: str) -> Groups:
    """Other community detection of the same library, on the same graph."""
    from networkit.community import PLM, ParallelLeiden

    evidence = evidence_for(len(vectors))
    pairs = nearest_others(vectors, evidence.edge, WANTED.neighbours)
    if method == "propagation":
        return communities(len(vectors), pairs, evidence)
    graph = graph_of(len(vectors), pairs, evidence)
    found = PLM(graph) if method == "louvain" else ParallelLeiden(graph)
    return np.asarray(found.run().getPartition().getVector())


def run_dbscan(vectors: np.ndarray, threshold: float, neighbours: int) -> Groups:
    """Scikit-learn's, on Euclidean distance, which orders unit vectors as the cosine does."""
    from sklearn.cluster import DBSCAN

    radius = math.sqrt(2 * (1 - threshold))
    found = DBSCAN(eps=radius, min_samples=neighbours, algorithm="brute").fit_predict(vectors)
    return each_its_own(np.where(found < 0, -1, found + 1))


def run_hdbscan(vectors: np.ndarray, smallest: int) -> Groups:
    """Scikit-learn's."""
    from sklearn.cluster import HDBSCAN

    found = HDBSCAN(min_cluster_size=smallest, min_samples=1, copy=True).fit_predict(vectors)
    return each_its_own(np.where(found < 0, -1, found + 1))


def run_whispers(pairs: Neighbours, count: int, threshold: float, seed: int = 0) -> Groups:
    """Chinese Whispers (Biemann, 2006): in random order, each face takes the class that is
    strongest among its neighbours, weighted by similarity; 20 rounds."""
    from scipy.sparse import coo_matrix  # type: ignore[import-untyped]

    strong = pairs.above(threshold)
    ends = (strong.rows, strong.columns)
    graph = coo_matrix((strong.scores, ends), (count, count)).tocsr()
    graph = graph.maximum(graph.T).tocsr()
    labels = np.arange(count)
    rng = np.random.default_rng(seed)
    starts, columns, weights = graph.indptr, graph.indices, graph.data
    for _ in range(20):
        changed = False
        for node in rng.permutation(count).tolist():
            part = slice(starts[node], starts[node + 1])
            if part.start == part.stop:
                continue
            names, place = np.unique(labels[columns[part]], return_inverse=True)
            best = names[np.bincount(place, weights[part]).argmax()]
            changed |= best != labels[node]
            labels[node] = best
        if not changed:
            break
    return labels


def compare(vectors: np.ndarray, people: np.ndarray) -> list[dict[str, Any]]:
    """Agreement of every method with the truth, best setting of each peer."""
    rows: list[dict[str, Any]] = []

    def add(name: str, runs: list[tuple[str, Callable[[], Groups]]]) -> None:
        best: tuple[Agreement, str, float] | None = None
        for setting, run in runs:
            began = time.perf_counter()
            found = agreement(people, run())
            spent = time.perf_counter() - began
            if best is None or found.pair_f > best[0].pair_f:
                best = (found, setting, spent)
        assert best is not None
        rows.append({"method": name, "setting": best[1], "seconds": best[2], **asdict(best[0])})
        print(f"{name}: pairwise F {best[0].pair_f:.4f} ({best[1]})", file=sys.stderr)

    grid = np.arange(0.36, 0.641, 0.02).round(2).tolist()
    evidence = evidence_for(len(vectors))
    calibrated = f"calibrated: {evidence.edge:.3f}"
    add("facecore, full pass", [(calibrated, lambda: run_full(vectors))])
    for seed in range(3):
        add(
            f"facecore, incremental, order {seed + 1}",
            [("ten parts", partial(run_incremental, vectors, seed=seed))],
        )
    for method in ("propagation", "louvain", "leiden"):
        add(
            f"only {method}",
            [(calibrated, partial(run_communities, vectors, method))],
        )
    add(
        "DBSCAN",
        [
            (f"{t:.2f}, {n} neighbours", partial(run_dbscan, vectors, t, n))
            for t in grid
            for n in (1, 2, 3)
        ],
    )
    add("HDBSCAN", [(f"at least {n}", partial(run_hdbscan, vectors, n)) for n in (2, 3, 4)])
    pairs = nearest_others(vectors, grid[0], WANTED.neighbours)
    add(
        "Chinese Whispers",
        [(f"{t:.2f}", partial(run_whispers, pairs, len(vectors), t)) for t in grid],
    )
    return rows


def made_up(faces: int, seed: int = 0) -> np.ndarray:
    """Unit vectors `[faces, 128]` of people with 1 to 20 pictures; cosines of about 0.65."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 21, faces)
    owner = np.repeat(np.arange(faces), sizes)[:faces]
    centres = rng.normal(size=(int(owner.max()) + 1, 128)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    noise = rng.normal(size=(faces, 128)).astype(np.float32) * 0.73 / math.sqrt(128)
    vectors: np.ndarray = centres[owner] + noise
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _run(method: str, vectors: np.ndarray) -> None:
    if method == "facecore, full pass":
        run_full(vectors)
    elif method == "DBSCAN":
        run_dbscan(vectors, 0.5, 1)
    elif method == "HDBSCAN":
        run_hdbscan(vectors, 2)
    else:
        run_whispers(nearest_others(vectors, 0.5, WANTED.neighbours), len(vectors), 0.5)


def _measured(method: str, faces: int, answers: Any) -> None:
    vectors = made_up(faces)
    _run(method, vectors[:200])  # loads the libraries
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again at what is used now
    before = _peak_mib()
    began, cpu = time.perf_counter(), time.process_time()
    _run(method, vectors)
    spent, used = time.perf_counter() - began, time.process_time() - cpu
    after = _peak_mib()
    answers.put((spent, used, after, after - before))


def _peak_mib() -> float:
    """Most memory of this process so far (not of the one that started it)."""
    status = Path("/proc/self/status").read_text("utf-8").splitlines()
    (line,) = (line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def measure(sizes: list[int]) -> list[dict[str, Any]]:
    """Seconds and peak memory of every method at every size, each in a fresh process."""
    context = multiprocessing.get_context("spawn")
    rows = []
    for faces in sizes:
        for method in ("facecore, full pass", "Chinese Whispers", "DBSCAN", "HDBSCAN"):
            if faces > LIMITS.get(method, faces):
                continue
            answers = context.SimpleQueue()
            child = context.Process(target=_measured, args=(method, faces, answers))
            child.start()
            child.join()
            if child.exitcode:
                sys.exit(f"{method} failed at {faces:,} faces")
            seconds, cpu, peak, grown = answers.get()
            rows.append(
                {
                    "method": method, "faces": faces, "seconds": seconds, "cpu_seconds": cpu,
                    "peak_mib": peak, "grown_mib": grown,
                }
            )  # fmt: skip
            print(
                f"{faces:,} {method}: {seconds:.1f} s, {cpu:.1f} CPU s, +{grown:.0f} MiB",
                file=sys.stderr,
            )
    return rows


def embed(folder: Path, everybody: bool) -> tuple[np.ndarray, np.ndarray]:
    """Vectors float32 `[n, d]` of the main faces, and whose they are, int64 `[n]`."""
    from facecore.lifecycle.evaluate import labelled_images
    from facecore.lifecycle.main_face import embed_main_faces
    from facecore.pipeline.load import load_extractor
    from facecore.zoo import registry

    items = labelled_images(folder)
    people, counts = np.unique(np.array([name for name, _ in items]), return_counts=True)
    chosen = set(people[counts > (0 if everybody else 1)].tolist())
    items = [item for item in items if item[0] in chosen]
    cache, mirror = settings().cache, settings().model_dir
    detector, embedder = (registry.prepare(m, cache, mirror) for m in ("yunet", "sface"))
    extractor = load_extractor(
        *(detector.path, detector.sha256, embedder.path, embedder.sha256), device="auto"
    )
    faces = embed_main_faces(
        extractor,
        [path for _, path in items],
        progress=lambda done, of: print(f"\r{done} of {of} embedded", end="", file=sys.stderr),
    )
    print(file=sys.stderr)
    names = np.unique(np.array([name for name, _ in items]), return_inverse=True)[1]
    return faces.vectors[faces.found], names[faces.found].astype(np.int64)


def main() -> None:
    """Measure, print tables to stdout, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of person/*.jpg")
    parser.add_argument("--everybody", action="store_true", help="also people with one picture")
    parser.add_argument(
        "--sizes", type=int, nargs="*", default=[10_000, 30_000, 100_000], help="made-up faces"
    )
    parser.add_argument(
        "--json", type=Path, default=Path(__file__).parent / "out" / "clustering.json"
    )
    options = parser.parse_args()
    vectors, people = embed(options.images, options.everybody)
    rows, times = compare(vectors, people), measure(options.sizes)
    report = {
        "images": str(options.images),
        "faces": len(vectors),
        "people": len(np.unique(people)),
        "settings": WANTED.model_dump(),
        "accuracy": rows,
        "cost": times,
        "machine": {
            "cores": os.cpu_count(),
            "load_average": os.getloadavg(),
            "python": platform.python_version(),
        },
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"{len(vectors):,} faces of {report['people']:,} people\n")
    print(f"{'':32}{'pair F':>8}{'P':>8}{'R':>8}{'BCubed':>8}{'NMI':>8}{'groups':>8}  setting")
    for row in rows:
        print(
            f"{row['method']:32}{row['pair_f']:8.4f}{row['pair_precision']:8.4f}"
            f"{row['pair_recall']:8.4f}{row['bcubed_f']:8.4f}{row['nmi']:8.4f}"
            f"{row['clusters']:8}  {row['setting']}"
        )
    print(f"\n{'made-up faces':>14}  {'':24}{'seconds':>9}{'CPU s':>8}{'peak MiB':>10}{'grown':>8}")
    for row in times:
        print(
            f"{row['faces']:14,}  {row['method']:24}{row['seconds']:9.1f}"
            f"{row['cpu_seconds']:8.1f}{row['peak_mib']:10.0f}{row['grown_mib']:8.0f}"
        )
    print(f"\nwritten to {options.json}")


if __name__ == "__main__":
    main()
