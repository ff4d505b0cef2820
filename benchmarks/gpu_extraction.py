"""Extraction on a GPU, on a bare machine: torch, torchvision and numpy are enough.

    PYTHONPATH=. python benchmarks/gpu_extraction.py [--images DIR] [--weights DIR] [--batch 256]
                                                   [--processes N]

JPEG bytes in memory → embeddings on the host. Without `--images`, JPEGs of 250 × 250 px are made
from smooth noise. Without `--weights` (a folder with yunet.safetensors and sface.safetensors;
needs the package safetensors) the networks have random weights and every image is given one face
in the same place: the arithmetic is the same.

Three parts:

1. one batch, stage by stage, with the device waited for after each: the share of decoding,
   copying, detection, alignment, embedding and copying back;
2. everything overlapped, as the engine does it: lanes that decode, upload and compute on streams
   of their own, results as arrays; and through `facecore.pipeline.stream`, one object per image;
   with `--processes N`, also in so many processes side by side;
3. the embedder alone: as the engine computes it (CUDA graphs), kernel by kernel, torch.compile.

And the bounds: what each resource alone would allow (best matrix product in the embedder's
precision, host-to-device copies, decoding on all cores), and how far the measured rate is from
the lowest of them. `--device cpu` runs the same code without a GPU, to see that it works.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
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
from facecore.pipeline.stream import _own_stream, stream
from facecore.stages.align_on_device import align_on_device
from facecore.stages.decode import Limits, decode, read
from facecore.stages.decode_behind import decode_behind
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
    """As the engine does it: on the device, or rejected."""
    contents = [read(data, Limits()) for data in files]
    device, workers = extractor.workers.device, extractor.workers.on_cpu()
    return decode_mixed(contents, device, workers, share)


def by_stage(extractor: FaceExtractor, files: list[bytes]) -> dict[str, float]:
    """Milliseconds per image of each stage, one after the other; medians of five."""
    detector, embedder = extractor.on_device, extractor.embedder
    assert detector is not None
    device, times = detector.device, []
    for _ in range(8):
        marks = [waited(device)]
        contents = [read(data, Limits()) for data in files]
        marks.append(waited(device))
        cpu = extractor.workers.on_cpu()
        pixels, _ = decode_behind(contents, cpu, pinned=device.type == "cuda")
        marks.append(waited(device))
        pixels = pixels.to(device, non_blocking=True)
        marks.append(waited(device))
        sizes = [content.header.height * content.header.width for content in contents]
        pictures = [
            picture.view(content.header.height, content.header.width, 3)
            for picture, content in zip(torch.split(pixels, sizes), contents, strict=True)
        ]
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
    names = ["header", "decode", "copy up", "lay out", "detect", "align", "embed", "copy back"]
    median = np.median(np.array(times[3:]), axis=0)  # the first ones warm up
    return dict(zip(names, median.tolist(), strict=True))


def agreement(
    extractor: FaceExtractor, options: argparse.Namespace, files: list[bytes]
) -> dict[str, float]:
    """Beside the CPU's own way in float32: images with as many faces, and the least cosine."""
    twin = make_extractor(
        argparse.Namespace(**{**vars(options), "device": "cpu", "precision": "fp32"})
    )
    twin.on_device = None
    pictures = [decode(data, Limits()) for data in files]
    extractor.extract(pictures)  # from the second time on, CUDA graphs compute
    pairs = list(zip(extractor.extract(pictures), twin.extract(pictures), strict=True))
    alike = [(a, b) for a, b in pairs if len(a) == len(b)]
    products = [(a.embeddings.vectors * b.embeddings.vectors).sum(1) for a, b in alike]
    cosines = np.concatenate(products)
    return {
        "images": len(pairs),
        "same number of faces": len(alike),
        "median cosine": float(np.median(cosines)),
        "least cosine": float(cosines.min()),
    }


def for_seconds(files: list[bytes], seconds: float) -> Iterator[bytes]:
    """Files over and over, until the time is over."""
    end = time.perf_counter() + seconds
    return itertools.takewhile(lambda _: time.perf_counter() < end, itertools.cycle(files))


def overlapped(
    extractor: FaceExtractor, files: Iterator[bytes], batch: int, lanes: int, share: float
) -> dict[str, float]:
    """Images/s with several lanes; results are arrays on the host.

    Beside it, what a lane waits for while the others are at work: milliseconds of its own time per
    image until its pictures are on the device, and for all that follows.
    """
    detector = extractor.on_device
    assert detector is not None
    groups = iter(lambda: list(itertools.islice(files, batch)), [])
    lock = threading.Lock()
    done: list[tuple[int, float, float]] = []

    def lane(number: int) -> None:
        torch.set_num_threads(1)
        with _own_stream(detector.device, number):  # the engine's: what it holds is warm
            while True:
                with lock:
                    group = next(groups, None)
                if group is None:
                    return
                marks = [time.perf_counter()]
                pictures = decoded(extractor, group, share)
                marks.append(time.perf_counter())
                extract_on_device(detector, extractor.embedder, pictures)
                marks.append(time.perf_counter())
                decoding, computing = np.diff(marks).tolist()
                done.append((len(group), decoding, computing))

    threads = [threading.Thread(target=lane, args=(i,)) for i in range(lanes)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    images, decoding, rest = np.array(done).sum(0)
    return {
        "images_per_second": images / (time.perf_counter() - start),
        "decode_ms": decoding / images * 1e3,
        "rest_ms": rest / images * 1e3,
    }


def streamed(extractor: FaceExtractor, files: Iterator[bytes]) -> dict[str, float]:
    """Images/s through the engine, one object per image, and core-seconds of the process."""
    start, cores = time.perf_counter(), time.process_time()
    items = ((i, partial(bytes, data)) for i, data in enumerate(files))
    count = sum(1 for _ in stream(items, extractor))
    elapsed = time.perf_counter() - start
    return {
        "images_per_second": count / elapsed,
        "cpu_ms": (time.process_time() - cores) / count * 1e3,
    }


def serve(options: argparse.Namespace) -> None:
    """One of several processes: gets ready, waits for a line on stdin, answers with its rate."""
    files, extractor = make_files(options.images, options.count), make_extractor(options)
    streamed(extractor, for_seconds(files, options.seconds))
    print("ready", flush=True)
    sys.stdin.readline()
    print(streamed(extractor, for_seconds(files, options.seconds))["images_per_second"], flush=True)


def together(options: argparse.Namespace) -> float:
    """Images/s of several processes on one device, each with an engine of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--serve"]
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        for _ in range(options.processes)
    ]
    total = 0.0
    for process in processes:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            sys.exit("a process did not get ready; what it said stands above")
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        total += float(process.communicate()[0])
    return total


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
    found: dict[str, Any] = {"as the engine does it": rate(lambda: backend(crops), device, batch)}
    if device.type != "cuda":
        return found
    network = backend._network  # type: ignore[attr-defined]

    def forward(pictures: Tensor) -> Tensor:
        with torch.inference_mode():
            output: Tensor = network(pictures.permute(0, 3, 1, 2))
            return output

    found["kernel by kernel"] = rate(lambda: forward(crops), device, batch)
    try:
        compiled = torch.compile(forward)
        found["torch.compile"] = rate(lambda: compiled(crops), device, batch)
    except Exception as error:  # no Triton, no compiler
        found["torch.compile"] = f"absent: {type(error).__name__}"
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
    workers = extractor.workers.on_cpu()
    began, count = time.perf_counter(), 0
    while time.perf_counter() < began + 2.0:  # long enough to meet a limit of the container
        decode_behind(contents, workers, pinned=device.type == "cuda")
        count += len(contents)
    found[f"decoding on {workers.threads} cores"] = count / (time.perf_counter() - began)
    if device.type == "cuda":
        found["nvJPEG"] = rate(
            lambda: decode_mixed(contents, device, workers, 1.0), device, len(contents)
        )
    return found


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=Path)
    parser.add_argument("--weights", type=Path, help="with yunet.safetensors, sface.safetensors")
    parser.add_argument("--count", type=int, default=2048, help="different files, at most")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--processes", type=int, default=1, help="also so many side by side")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lanes", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--share", type=float, help="of nvJPEG; by default from the cores")
    parser.add_argument(
        "--json", type=Path, default=Path(__file__).parent / "out" / "gpu_extraction.json"
    )
    return parser.parse_args()


def main() -> None:
    """Measure, print, write JSON."""
    options = parsed()
    if options.serve:
        serve(options)
        return
    files = make_files(options.images, options.count)
    extractor = make_extractor(options)
    device = extractor.workers.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    share = nvjpeg_share(usable_cores()) if options.share is None else options.share
    if device.type != "cuda":
        share = 0.0
    print(f"{name or device}, {usable_cores()} cores, torch {torch.__version__}")
    print(extractor.describe())
    if options.weights is not None and options.images is not None:
        print("beside the CPU in float32:", agreement(extractor, options, files[:64]))
    stages = by_stage(extractor, files[: options.batch])
    total = sum(stages.values())
    print(f"\nstage by stage, {options.batch} images, decoded by the CPU\n")
    print("| stage | ms per image | share |\n|---|---|---|")
    for stage, ms in stages.items():
        print(f"| {stage} | {ms:.4f} | {ms / total:.0%} |")

    def some() -> Iterator[bytes]:
        return for_seconds(files, options.seconds)

    overlapped(extractor, some(), options.batch, options.lanes, share)
    arrays = overlapped(extractor, some(), options.batch, options.lanes, share)
    streamed(extractor, some())
    objects = streamed(extractor, some())
    print(f"\noverlapped, {options.lanes} lanes, nvJPEG decodes {share:.0%}:")
    print(
        f"{arrays['images_per_second']:,.0f} images/s into arrays (a lane's time per image:"
        f" {arrays['decode_ms']:.3f} ms until pictures are on the device, {arrays['rest_ms']:.3f}"
        " ms for the rest),"
    )
    print(
        f"{objects['images_per_second']:,.0f} images/s through the streaming engine (an object"
        f" per image), {objects['cpu_ms']:.3f} core-ms per image"
    )
    several = None
    if options.processes > 1:
        several = together(options)
        print(f"{several:,.0f} images/s in {options.processes} processes on the same device")
    limits = bounds(extractor, files)
    lowest = min(limits, key=lambda key: limits[key])
    print("\nbounds, images/s: " + ", ".join(f"{k} {v:,.0f}" for k, v in limits.items()))
    reached = arrays["images_per_second"] / limits[lowest]
    print(f"{reached:.0%} of the lowest bound ({lowest})")
    # Last: a compilation that fails can leave torch unusable.
    alone = engines(extractor, options.batch)
    print(
        "\nembedder alone, crops/s: "
        + ", ".join(
            f"{k} {v:,.0f}" if isinstance(v, float) else f"{k} {v}" for k, v in alone.items()
        )
    )
    report = {
        "device": name,
        "cores": usable_cores(),
        "torch": torch.__version__,
        "load_average": os.getloadavg(),
        "describe": extractor.describe(),
        "nvjpeg_share": share,
        "stages_ms": stages,
        "arrays": arrays,
        "streamed": objects,
        "processes": options.processes,
        "processes_per_second": several,
        "embedder": alone,
        "bounds": limits,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
