"""Extraction on a GPU, on a bare machine: torch, torchvision and numpy are enough.

    PYTHONPATH=. python benchmarks/gpu_extraction.py [--images DIR] [--weights DIR] [--batch 256]

JPEG bytes in memory → embeddings on the host. Without `--images`, JPEGs of 250 × 250 px are made
from smooth noise. Without `--weights` (a folder with yunet.safetensors and sface.safetensors;
needs the package safetensors) the networks have random weights and every image is given one face
in the same place: the arithmetic is the same.

Three parts:

1. one batch, stage by stage, with the device waited for after each: the share of decoding,
   copying, detection, alignment, embedding and copying back;
2. everything overlapped, as the engine does it: lanes that decode, upload and compute on streams
   of their own, results as arrays; and through `facecore.pipeline.stream`, one object per image;
3. the embedder alone: eager, torch.compile and CUDA graph.

And the bounds: what each resource alone would allow (best matrix product in the embedder's
precision, host-to-device copies, decoding on all cores), and how far the measured rate is from
the lowest of them. `--device cpu` runs the same code without a GPU, to see that it works.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from facecore.pipeline.extract import FaceExtractor
from facecore.pipeline.on_device import _download, _upload, extract_on_device
from facecore.pipeline.stream import stream
from facecore.stages.align_on_device import align_on_device
from facecore.stages.decode import Limits, read
from facecore.stages.decode_on_device import decode_mixed, nvjpeg_share
from facecore.stages.detect import FaceDetector, Found
from facecore.stages.embed import FaceEmbedder
from facecore.stages.workers import Workers
from facecore.types import CROP_SIZE, Contract
from facecore.zoo import registry
from facecore.zoo.device import resolve_device, resolve_precision, usable_cores

# Multiplications and additions, counted by benchmarks/backends.py.
GFLOP_PER_CROP, GFLOP_PER_256_PX = 1.15, 0.11
FACE = torch.tensor([[90.0, 110.0], [150, 110], [120, 145], [98, 175], [142, 175]])


class OneFaceEach(FaceDetector):
    """Searches as it would, then finds one face in the same place of every picture."""

    def detect_stacks(self, stacks: Any) -> Found:
        super().detect_stacks(stacks)
        numbers = torch.cat([own for own, _ in stacks]).sort().values
        count, device = len(numbers), numbers.device
        boxes = torch.tensor([[70.0, 60.0, 170.0, 200.0]], device=device).expand(count, 4)
        scores = torch.ones(count, device=device)
        landmarks = FACE.to(device).expand(count, 5, 2)
        return Found(numbers, boxes, scores, landmarks, scores > 0)


def make_files(folder: Path | None, count: int) -> list[bytes]:
    """JPEG bytes."""
    if folder is not None:
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg"})
        return [paths[i % len(paths)].read_bytes() for i in range(count)]
    generator = torch.Generator().manual_seed(0)
    made = []
    for _ in range(min(count, 256)):
        coarse = torch.rand(1, 3, 40, 40, generator=generator)
        smooth = F.interpolate(coarse, (250, 250), mode="bicubic")[0].clamp(0, 1)
        encoded = torchvision.io.encode_jpeg((smooth * 255).to(torch.uint8), quality=90)
        made.append(encoded.numpy().tobytes())
    return [made[i % len(made)] for i in range(count)]


def make_extractor(options: argparse.Namespace) -> FaceExtractor:
    device = resolve_device(options.device)
    dtype = resolve_precision(options.precision, device)
    workers = Workers(device, usable_cores())
    kind = FaceDetector
    if options.weights is None:
        torch.manual_seed(0)
        networks = {name: registry.create(name) for name in ("yunet", "sface")}
        kind = OneFaceEach
    else:
        networks = {}
        for name in ("yunet", "sface"):
            path = options.weights / f"{name}.safetensors"
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            networks[name] = registry.load(name, path, digest)
    detector: Any = networks["yunet"]
    contract = Contract("sface", "0" * 64, 128, "0" * 64)
    finder = kind(detector, workers=workers, batch_images=options.batch, backend="torch")
    embedder = FaceEmbedder(
        networks["sface"], contract, workers=workers, dtype=dtype, backend="torch"
    )
    extractor = FaceExtractor(finder, embedder, workers)
    extractor.on_device = finder
    return extractor


def waited(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def decoded(extractor: FaceExtractor, files: list[bytes], share: float) -> list[Any]:
    contents = [read(data, Limits()) for data in files]
    device, workers = extractor.workers.device, extractor.workers.on_cpu()
    return decode_mixed(contents, device, workers, share if device.type == "cuda" else 0.0)


def by_stage(extractor: FaceExtractor, files: list[bytes], share: float) -> dict[str, float]:
    """Milliseconds per image of each stage, one after the other; medians of five."""
    detector, embedder = extractor.on_device, extractor.embedder
    assert detector is not None
    device, times = detector.device, []
    for _ in range(6):
        marks = [waited(device)]
        pictures = decoded(extractor, files, share)
        marks.append(waited(device))
        uploaded = _upload(pictures, device)
        marks.append(waited(device))
        found = detector.detect_stacks(uploaded.stacks)
        marks.append(waited(device))
        start, size = uploaded.start[found.image], uploaded.size[found.image]
        crops = align_on_device(uploaded.flat, start, size, found.landmarks)
        marks.append(waited(device))
        vectors = embedder.embed_on_device(crops)
        marks.append(waited(device))
        _download(found, crops, vectors, len(files))
        marks.append(waited(device))
        times.append(np.diff(marks) / len(files) * 1e3)
    names = ("decode", "copy up", "detect", "align", "embed", "copy back")
    median = np.median(np.array(times[1:]), axis=0)  # the first one warms up
    return dict(zip(names, median.tolist(), strict=True))


def overlapped(
    extractor: FaceExtractor, files: list[bytes], batch: int, lanes: int, share: float
) -> float:
    """Images/s with several lanes; results are arrays on the host."""
    detector = extractor.on_device
    assert detector is not None
    groups = iter([files[i : i + batch] for i in range(0, len(files), batch)])
    lock = threading.Lock()

    def lane() -> None:
        own = torch.cuda.Stream(detector.device) if detector.device.type == "cuda" else None
        with torch.cuda.stream(own):
            while True:
                with lock:
                    group = next(groups, None)
                if group is None:
                    return
                pictures = decoded(extractor, group, share)
                extract_on_device(detector, extractor.embedder, pictures)

    threads = [threading.Thread(target=lane) for _ in range(lanes)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(files) / (time.perf_counter() - start)


def streamed(extractor: FaceExtractor, files: list[bytes]) -> float:
    start = time.perf_counter()
    items = ((i, partial(bytes, data)) for i, data in enumerate(files))
    count = sum(1 for _ in stream(items, extractor))
    return count / (time.perf_counter() - start)


def rate(compute: Callable[[], object], device: torch.device, count: int) -> float:
    """Calls per second times `count`, median of five after two warm-ups."""
    seconds = []
    for _ in range(7):
        start = waited(device)
        compute()
        seconds.append(waited(device) - start)
    return count / statistics.median(seconds[2:])


def engines(extractor: FaceExtractor, batch: int) -> dict[str, Any]:
    """Crops/s of the embedder alone."""
    device, backend = extractor.workers.device, extractor.embedder.backend
    crops = torch.randint(0, 256, (batch, CROP_SIZE, CROP_SIZE, 3), device=device)
    crops = crops.to(torch.uint8)
    found: dict[str, Any] = {"eager": rate(lambda: backend(crops), device, batch)}
    if device.type != "cuda":
        return found
    network = backend._network  # type: ignore[attr-defined]

    def forward(pictures: Tensor) -> Tensor:
        with torch.inference_mode():
            output: Tensor = network(pictures.permute(0, 3, 1, 2))
            return output

    try:
        compiled = torch.compile(forward)
        found["torch.compile"] = rate(lambda: compiled(crops), device, batch)
    except Exception as error:  # no Triton, no compiler
        found["torch.compile"] = f"absent: {type(error).__name__}"
    forward(crops)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        forward(crops)
    found["CUDA graph"] = rate(graph.replay, device, batch)
    return found


def bounds(extractor: FaceExtractor, files: list[bytes]) -> dict[str, float]:
    """Images/s that each resource alone would allow."""
    device, dtype = extractor.workers.device, extractor.embedder.dtype
    side = 8192 if device.type == "cuda" else 1024
    matrix = torch.randn(side, side, device=device, dtype=dtype)
    flops = rate(lambda: matrix @ matrix, device, 1) * 2 * side**3
    single = torch.randn(side, side, device=device)
    flops_32 = rate(lambda: single @ single, device, 1) * 2 * side**3
    seconds = GFLOP_PER_CROP * 1e9 / flops + GFLOP_PER_256_PX * 1e9 / flops_32
    found = {"arithmetic, one face an image": 1 / seconds}
    host = torch.empty(64 * 2**20, dtype=torch.uint8, pin_memory=device.type == "cuda")
    copies = rate(lambda: host.to(device, non_blocking=True, copy=True), device, len(host))
    found["copies up, 250 px"] = copies / (250 * 250 * 3)
    contents = [read(data, Limits()) for data in files[:512]]
    cpu, workers = torch.device("cpu"), extractor.workers.on_cpu()
    found[f"decoding on {workers.threads} cores"] = rate(
        lambda: decode_mixed(contents, cpu, workers, 0.0), cpu, len(contents)
    )
    if device.type == "cuda":
        found["nvJPEG"] = rate(
            lambda: decode_mixed(contents, device, workers, 1.0), device, len(contents)
        )
    return found


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=Path)
    parser.add_argument("--weights", type=Path, help="with yunet.safetensors, sface.safetensors")
    parser.add_argument("--count", type=int, default=8192)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lanes", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--share", type=float, help="of nvJPEG; by default from the cores")
    parser.add_argument(
        "--json", type=Path, default=Path(__file__).parent / "out" / "gpu_extraction.json"
    )
    options = parser.parse_args()
    files = make_files(options.images, options.count)
    extractor = make_extractor(options)
    device = extractor.workers.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    share = nvjpeg_share(usable_cores()) if options.share is None else options.share
    if device.type != "cuda":
        share = 0.0
    print(f"{name or device}, {usable_cores()} cores, torch {torch.__version__}")
    print(extractor.describe())
    stages = by_stage(extractor, files[: options.batch], share)
    total = sum(stages.values())
    print(f"\nstage by stage, {options.batch} images, nvJPEG decodes {share:.0%}\n")
    print("| stage | ms per image | share |\n|---|---|---|")
    for stage, ms in stages.items():
        print(f"| {stage} | {ms:.4f} | {ms / total:.0%} |")
    warm = files[: 2 * options.batch]
    overlapped(extractor, warm, options.batch, options.lanes, share)
    arrays = overlapped(extractor, files, options.batch, options.lanes, share)
    objects = streamed(extractor, files)
    print(f"\noverlapped, {options.lanes} lanes: {arrays:,.0f} images/s into arrays,")
    print(f"{objects:,.0f} images/s through the streaming engine (an object per image)")
    alone = engines(extractor, options.batch)
    print(
        "\nembedder alone, crops/s: "
        + ", ".join(
            f"{k} {v:,.0f}" if isinstance(v, float) else f"{k} {v}" for k, v in alone.items()
        )
    )
    limits = bounds(extractor, files)
    lowest = min(limits, key=lambda key: limits[key])
    print("\nbounds, images/s: " + ", ".join(f"{k} {v:,.0f}" for k, v in limits.items()))
    print(f"{arrays / limits[lowest]:.0%} of the lowest bound ({lowest})")
    report = {
        "device": name,
        "cores": usable_cores(),
        "torch": torch.__version__,
        "load_average": os.getloadavg(),
        "describe": extractor.describe(),
        "nvjpeg_share": share,
        "stages_ms": stages,
        "arrays_per_second": arrays,
        "streamed_per_second": objects,
        "embedder": alone,
        "bounds": limits,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
