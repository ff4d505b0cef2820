"""Whether time per image and memory stay flat as the number of images grows.

    python benchmarks/growth.py [--sizes 1000 10000 100000] [--threads 2] [--json OUT]

One process extracts that many images, one run after the other, through the streaming engine. The
content repeats (Labeled Faces in the Wild below $FACECORE_DATA_DIR, else the sample portraits),
the bytes never do: every file carries a JPEG comment of its own, as every delivery would differ.
Results are consumed and dropped, as the job does that writes them away.

Reported for each size: seconds, milliseconds per image, CPU milliseconds per image, resident
memory at the end of the run and the most during it; and how far the last size is from the first.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from extraction import cpu_name, read_set

from facecore.config import settings
from facecore.pipeline.extract import ExtractedImage, FaceExtractor
from facecore.pipeline.load import load_extractor
from facecore.pipeline.stream import stream
from facecore.zoo import registry

PICTURES = 500
Delivery = tuple[int, Callable[[], bytes]]


def distinct(data: bytes, number: int) -> bytes:
    """The same picture as a file of its own: a comment segment (ITU-T T.81) after the start."""
    comment = f"delivery {number}".encode()
    return data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]


def deliveries(pictures: list[bytes], count: int, first: int) -> Iterator[Delivery]:
    for number in range(first, first + count):
        yield number, partial(distinct, pictures[number % len(pictures)], number)


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def run(extractor: FaceExtractor, pictures: list[bytes], count: int, first: int) -> dict[str, Any]:
    wall, cpu, faces, most = time.perf_counter(), time.process_time(), 0, 0.0
    for number, found in stream(deliveries(pictures, count, first), extractor):
        assert isinstance(found, ExtractedImage)
        faces += len(found)
        if number % 100 == 0:
            most = max(most, resident_mb())
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "images": count,
        "faces": faces,
        "seconds": wall,
        "ms_per_image": wall / count * 1e3,
        "cpu_ms_per_image": cpu / count * 1e3,
        "resident_mb": resident_mb(),
        "most_mb": most,
    }


def main() -> None:
    """Measure, print a table to stdout, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--set", default="", help="lfw, 1080p, portraits or a folder")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "out" / "growth.json")
    options = parser.parse_args()
    name = options.set or ("lfw" if settings().data_dir else "portraits")
    pictures = read_set(name, PICTURES)
    where = settings().cache, settings().model_dir
    detector, embedder = (registry.prepare(model, *where) for model in ("yunet", "sface"))
    extractor = load_extractor(
        *(detector.path, detector.sha256, embedder.path, embedder.sha256),
        device="cpu",
        threads=options.threads,
    )
    run(extractor, pictures, 200, 0)  # warm up: every shape compiled once
    first, rows = 200, []
    print("| images | ms per image | CPU ms per image | memory at the end | most |")
    print("|---|---|---|---|---|")
    for size in options.sizes:
        row = run(extractor, pictures, size, first)
        first += size
        rows.append(row)
        print(
            f"| {size:,} | {row['ms_per_image']:.2f} | {row['cpu_ms_per_image']:.2f} |"
            f" {row['resident_mb']:.0f} MB | {row['most_mb']:.0f} MB |",
            flush=True,
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    change = {
        key: rows[-1][key] / rows[0][key] - 1
        for key in ("ms_per_image", "cpu_ms_per_image", "resident_mb")
    }
    print(f"\n{name}, {options.threads} threads, {cpu_name()}, load {os.getloadavg()[0]:.1f}")
    print(
        f"from {rows[0]['images']:,} to {rows[-1]['images']:,} images: time per image"
        f" {change['ms_per_image']:+.1%}, CPU {change['cpu_ms_per_image']:+.1%}, memory"
        f" {change['resident_mb']:+.1%}; peak of the process {peak} MB"
    )
    report = {
        "set": name,
        "threads": options.threads,
        "cpu": cpu_name(),
        "rows": rows,
        "change": change,
        "peak_mb": peak,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written to {options.json}", file=sys.stderr)


if __name__ == "__main__":
    main()
