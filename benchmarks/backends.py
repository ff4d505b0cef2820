"""What computes YuNet and SFace fastest on this CPU: the same weights in every engine.

    python benchmarks/backends.py [--batches 1 8 32 64] [--rounds 5] [--json OUT]

torch eager (folded, channels_last, packed: `zoo.placement`), torch.compile (inductor; needs a
C++ compiler), ONNX Runtime and OpenVINO, in float32 and, where the engine has it, bfloat16 and
float16. All start from the torch module of the zoo. One thread each; rounds alternate, so that
a busy machine is fair to all; the best round counts, in CPU time of the process. OpenVINO and
torch are measured as the product uses them, splitting large batches into those that fit the
cache (`facecore.zoo.backend`).

Every engine's output is held against plain float32 torch: the smallest cosine of a row (SFace),
or of the picture's whole output (YuNet). Below 0.999 an engine is out, however fast it is.

The bound: operations of the network (multiplications and additions) at the speed of this
machine's best matrix product (one thread, float32).
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from facecore.config import settings
from facecore.lifecycle.evaluation.cost import count_flops
from facecore.zoo import registry
from facecore.zoo.backend import TorchBackend
from facecore.zoo.openvino_backend import OpenVinoBackend, _ChannelsLast

Compute = Callable[[torch.Tensor], torch.Tensor]
CPU = torch.device("cpu")
LEAST_COSINE = 0.999
# What the product computes at once: crops, and pictures of 256 × 256 px (or as many pixels).
AT_ONCE = {"sface": 8, "yunet": 4}


def split(compute: Compute, size: int) -> Compute:
    """The same in batches of at most `size`."""
    return lambda batch: torch.cat([compute(part) for part in torch.split(batch, size)])


def torch_eager(network: torch.nn.Module, name: str, side: int, dtype: torch.dtype) -> Compute:
    size = AT_ONCE[name]
    return split(TorchBackend(network, CPU, dtype, (size, side, side, 3)), size)


def openvino(network: torch.nn.Module, name: str, side: int, dtype: torch.dtype) -> Compute:
    example = (AT_ONCE[name], side, side, 3)
    return OpenVinoBackend(network, dtype, example, any_size=name == "yunet")


def inductor(network: torch.nn.Module, name: str, side: int, dtype: torch.dtype) -> Compute:
    from facecore.zoo.placement import _fold

    _fold(network)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    compiled = torch.compile(_ChannelsLast(network), dynamic=False)
    torch._dynamo.config.recompile_limit = 64

    @torch.inference_mode()
    def compute(batch: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = compiled(batch)
        return found

    return split(compute, AT_ONCE[name])


def onnx_runtime(network: torch.nn.Module, name: str, side: int, dtype: torch.dtype) -> Compute:
    import onnxruntime

    content = io.BytesIO()
    axes = {0: "n"} if name == "sface" else {0: "n", 1: "h", 2: "w"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _ChannelsLast(network).eval(),
            (torch.zeros(4, side, side, 3, dtype=torch.uint8),),
            content,  # type: ignore[arg-type]  # without dynamo, it takes a stream as well
            dynamo=False,
            input_names=["pictures"],
            dynamic_axes={"pictures": axes},
            opset_version=17,
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        content.getvalue(), options, providers=["CPUExecutionProvider"]
    )

    def compute(batch: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(session.run(None, {"pictures": batch.numpy()})[0])

    return split(compute, AT_ONCE[name])


ENGINES: dict[str, tuple[Callable[..., Compute], torch.dtype]] = {
    "torch eager": (torch_eager, torch.float32),
    "torch eager bf16": (torch_eager, torch.bfloat16),
    "torch.compile": (inductor, torch.float32),
    "ONNX Runtime": (onnx_runtime, torch.float32),
    "OpenVINO": (openvino, torch.float32),
    "OpenVINO bf16": (openvino, torch.bfloat16),
    "OpenVINO fp16": (openvino, torch.float16),
}


def pictures(count: int, side: int) -> torch.Tensor:
    """Smooth noise, uint8 `[n, side, side, 3]`."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 16, 16, generator=generator)
    smooth = F.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1) * 255
    return smooth.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def peak_gflops(dtype: torch.dtype = torch.float32) -> float:
    """The best matrix product of this machine on one thread, by torch.mm or by oneDNN.

    The library behind torch.mm leaves AVX-512 alone on some processors.
    """
    best = 0.0
    for rows, columns, inner in ((2048, 2048, 2048), (3136, 128, 64), (1568, 512, 512)):
        left = torch.randn(rows, inner).to(dtype)
        right = torch.randn(columns, inner).to(dtype)
        products: list[Callable[[], object]] = [partial(torch.mm, left, right.T)]
        if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            packed = torch.ops.mkldnn._reorder_linear_weight(right, rows)
            products.append(
                partial(torch.ops.mkldnn._linear_pointwise, left, packed, None, "none", [], "")
            )
        for product in products:
            for _ in range(15):
                start = time.process_time()
                product()
                seconds = time.process_time() - start
                best = max(best, 2 * rows * columns * inner / seconds / 1e9)
    return best


def measure(name: str, side: int, batches: list[int], rounds: int) -> dict[str, Any]:
    """Milliseconds per picture by engine and batch size, and agreement."""
    where = (settings().cache, settings().model_dir)
    prepared = registry.prepare(name, *where)

    def network() -> torch.nn.Module:
        return registry.load(name, prepared.path, prepared.sha256)

    inputs = {count: pictures(count, side) for count in batches}
    with torch.inference_mode():
        expected = network()(inputs[batches[0]].permute(0, 3, 1, 2)).flatten(1)
    engines: dict[str, Compute] = {}
    agreement: dict[str, float] = {}
    absent: dict[str, str] = {}
    for engine, (make, dtype) in ENGINES.items():
        try:
            compute = make(network(), name, side, dtype)
            found = compute(inputs[batches[0]]).flatten(1)
            for batch in inputs.values():  # warm up every shape
                compute(batch)
        except Exception as error:  # an engine that is not here or cannot
            absent[engine] = f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
            print(f"{engine}: absent ({absent[engine]})", file=sys.stderr)
            continue
        engines[engine] = compute
        agreement[engine] = float(F.cosine_similarity(found, expected, dim=1).min())
    best: dict[str, dict[int, float]] = {engine: {} for engine in engines}
    for count, batch in inputs.items():
        for _ in range(rounds):
            for engine, compute in engines.items():
                start = time.process_time()
                compute(batch)
                milliseconds = (time.process_time() - start) / count * 1e3
                best[engine][count] = min(best[engine].get(count, milliseconds), milliseconds)
    one = pictures(1, side).permute(0, 3, 1, 2)
    return {
        "gflop": count_flops(lambda: network()(one)) / 1e9,
        "milliseconds": best,
        "cosine": agreement,
        "absent": absent,
    }


def table(name: str, found: dict[str, Any], peak: float, batches: list[int]) -> str:
    """Markdown."""
    bound = found["gflop"] / peak * 1e3
    lines = [
        f"{name}: {found['gflop']:.2f} GFLOP, bound {bound:.2f} ms at {peak:.0f} GFLOP/s (fp32)",
        "",
        "| engine | " + " | ".join(f"batch {n}" for n in batches) + " | cosine |",
        "|---|" + "---|" * (len(batches) + 1),
    ]
    for engine, times in found["milliseconds"].items():
        cosine = found["cosine"][engine]
        out = "" if cosine >= LEAST_COSINE else " (out)"
        cells = " | ".join(f"{times[n]:.2f}" for n in batches)
        lines.append(f"| {engine} | {cells} | {cosine:.5f}{out} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print tables to stdout, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", type=int, default=256, help="px of YuNet's pictures")
    parser.add_argument(
        "--json", type=Path, default=Path(__file__).parent / "out" / "backends.json"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    torch.set_num_threads(1)
    peak = peak_gflops()
    report: dict[str, Any] = {
        "peak_gflops": peak,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "load_average": os.getloadavg(),
    }
    for name, side in (("sface", 112), ("yunet", options.side)):
        found = measure(name, side, options.batches, options.rounds)
        report[name] = found
        print(table(name, found, peak, options.batches), end="\n\n")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
