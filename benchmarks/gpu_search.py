"""Exact batch search on a GPU, on a bare machine: torch and numpy are enough.

    PYTHONPATH=. python benchmarks/gpu_search.py [--sizes 1000000 10000000] [--batch 16384]

Made-up unit vectors `[n, 128]` in float16 in the host's memory, compared with a batch of queries
by `facecore.stages.nearest`, ten nearest each. Per size and precision: queries/s with the
references coming from the host; the share of it that copying them takes; and the bounds, from what
the same device does alone: the best matrix product in that precision for the arithmetic
(2 · 128 per pair), and host-to-device copies. Every precision must find what float32 finds.
`--device cpu` runs the same without a GPU, to see that it works.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facecore.stages.nearest import Nearest
from facecore.stages.screening import resolve_precision

DIMENSION, K = 128, 10
BLOCK = 1 << 18


def made_up(count: int, seed: int) -> np.ndarray:
    """Unit vectors, float16, made block by block."""
    vectors = np.empty((count, DIMENSION), np.float16)
    for start in range(0, count, BLOCK):
        drawn = np.random.default_rng((seed, start)).standard_normal(
            (min(BLOCK, count - start), DIMENSION), np.float32
        )
        vectors[start : start + BLOCK] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return vectors


def timed(device: torch.device, work: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    """Median seconds after one round that does not count, and the last result."""
    times, result = [], work()
    for _ in range(rounds):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        result = work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return statistics.median(times), result


def product_rate(device: torch.device, dtype: torch.dtype, rounds: int) -> float:
    """Pairs per second of bare products of this dtype."""
    rows, columns = (4096, 1 << 15) if device.type == "cuda" else (512, 2048)
    a = torch.ones(rows, DIMENSION, device=device).to(dtype)
    b = torch.ones(columns, DIMENSION, device=device).to(dtype)
    out = torch.empty(
        rows, columns, device=device, dtype=torch.int32 if dtype == torch.int8 else dtype
    )
    multiply = torch._int_mm if dtype == torch.int8 else torch.mm

    def work() -> None:
        for _ in range(20):
            multiply(a, b.T, out=out)

    return 20 * rows * columns / timed(device, work, rounds)[0]


def measure(count: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    device = torch.device(options.device)
    references = made_up(count, 1)
    queries = made_up(options.batch, 2).astype(np.float32)
    names = np.arange(count)

    def copy() -> None:
        for start in range(0, count, BLOCK):
            torch.from_numpy(references[start : start + BLOCK]).to(device)

    copying = timed(device, copy, options.rounds)[0]
    rows: list[dict[str, Any]] = []
    truth = None
    for precision in ("fp32", "bf16", "fp16", "int8"):
        if precision == "fp16" and device.type == "cpu":
            continue  # no processor here multiplies it fast

        def search(precision: str = precision) -> Any:
            found = Nearest(queries, K, precision=precision, device=device)
            found.add(references, names)
            return found.result().scores

        seconds, scores = timed(device, search, options.rounds)
        truth = scores if truth is None else truth
        np.testing.assert_allclose(scores, truth, atol=1e-5)
        dtype = resolve_precision(precision, device, len(queries))
        pairs = count * len(queries)
        arithmetic = pairs / product_rate(device, dtype, options.rounds)
        bound = max(arithmetic, copying)
        rows.append(
            {
                "references": count,
                "queries": len(queries),
                "precision": precision,
                "queries_per_s": len(queries) / seconds,
                "pairs_per_s": pairs / seconds,
                "copy_share": copying / seconds,
                "product_share": arithmetic / seconds,
                "of_bound": bound / seconds,
                "bound": "products" if arithmetic >= copying else "copies",
            }
        )
        print(
            f"{count:>12,} {precision:>5} {rows[-1]['queries_per_s']:>12,.0f} queries/s  "
            f"{pairs / seconds / 1e9:>9,.1f} G pairs/s  copies {copying / seconds:>5.1%}  "
            f"products {arithmetic / seconds:>5.1%}  {bound / seconds:.1%} of the bound "
            f"({rows[-1]['bound']})",
            flush=True,
        )
    return rows


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--batch", type=int, default=16_384, help="queries")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--json", type=Path, default=Path(__file__).parent / "out" / "gpu_search.json"
    )
    options = parser.parse_args()
    device = torch.device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    rows = [row for count in options.sizes for row in measure(count, options)]
    options.json.parent.mkdir(parents=True, exist_ok=True)
    report = {"device": name, "torch": torch.__version__, "rows": rows}
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written to {options.json}")


if __name__ == "__main__":
    main()
