"""Extraction side by side with OpenCV: JPEG bytes in memory → embeddings.

    python benchmarks/extraction.py [--images DIR] [--count 600] [--threads 2] [--json OUT]

Both sides decode, detect, align and embed the same files with the same (dequantised) weights
and the same number of threads, in one process, in alternating rounds A B A B. The peer is used
as its samples show: FaceDetectorYN (score 0.6) at the image's size, then alignCrop and
FaceRecognizerSF.feature for every face, one image after the other, as it takes no batches.
Pictures larger than 1280 px are searched by the peer at full size; LFW's are 250 px.

Reported: images/s (median, all rounds), the ratio of medians and of each adjacent pair, CPU
seconds, faces found on both sides, and the cosine between both sides' embeddings of the same
face (matched by IoU > 0.5). A busy machine lowers both; look at the pairs before believing it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torchvision

from facecore.config import settings
from facecore.pipeline.extract import FaceExtractor
from facecore.pipeline.load import load_extractor
from facecore.samples.sources import portraits
from facecore.stages.decode import Limits, decode
from facecore.zoo import registry, weights
from facecore.zoo.onnx_export import write_dequantised

SUFFIXES = {".jpg", ".jpeg"}
BATCH = 32
# Per image: boxes [n, 4] (x1 y1 x2 y2) and unit vectors [n, d].
Faces = list[tuple[np.ndarray, np.ndarray]]


def read_images(folder: Path | None, count: int) -> tuple[str, list[bytes]]:
    """Where the pictures come from, and `count` JPEG files spread evenly over them."""
    data = settings().data_dir
    if folder is None and data is not None and (data / "lfw" / "images").is_dir():
        folder = data / "lfw" / "images"
    if folder is None:
        files = [p.path for p in portraits(settings().cache)]
        name = "sample portraits"
    else:
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        name = str(folder)
    files = [p for p in files if p.suffix.lower() in SUFFIXES]
    if not files:
        sys.exit(f"no JPEG files in {name}")
    if folder is None:  # a handful: repeat them up to the count
        chosen = [files[i % len(files)] for i in range(count)]
    else:
        chosen = [
            files[i * len(files) // min(count, len(files))] for i in range(min(count, len(files)))
        ]
    return name, [path.read_bytes() for path in chosen]


def run_facecore(extractor: FaceExtractor, files: list[bytes]) -> Faces:
    """Our side, in batches of 32 images."""
    found: Faces = []
    limits = Limits()
    for start in range(0, len(files), BATCH):
        images = [decode(data, limits) for data in files[start : start + BATCH]]
        for image in extractor.extract(images):
            found.append((image.detections.boxes, image.embeddings.vectors))
    return found


def run_opencv(detector: Any, recogniser: Any, files: list[bytes]) -> Faces:
    """The peer, one image after the other."""
    found: Faces = []
    for data in files:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None, "not a picture that OpenCV reads"
        detector.setInputSize((image.shape[1], image.shape[0]))
        _, faces = detector.detect(image)
        faces = np.zeros((0, 15), np.float32) if faces is None else faces
        vectors = [recogniser.feature(recogniser.alignCrop(image, face))[0] for face in faces]
        stacked = np.array(vectors, np.float32).reshape(len(faces), -1)
        boxes = np.concatenate([faces[:, :2], faces[:, :2] + faces[:, 2:4]], 1)
        found.append((boxes, stacked / np.linalg.norm(stacked, axis=1, keepdims=True)))
    return found


def compare(ours: Faces, theirs: Faces) -> dict[str, Any]:
    """Counts on both sides, and the cosine of faces that both found."""
    cosines: list[float] = []
    for (boxes, vectors), (peer_boxes, peer_vectors) in zip(ours, theirs, strict=True):
        if len(boxes) and len(peer_boxes):
            iou = torchvision.ops.box_iou(
                torch.from_numpy(boxes), torch.from_numpy(np.ascontiguousarray(peer_boxes))
            ).numpy()
            best = iou.argmax(1)
            same = iou.max(1) > 0.5
            cosines += (vectors[same] * peer_vectors[best[same]]).sum(1).tolist()
    return {
        "faces_facecore": sum(len(boxes) for boxes, _ in ours),
        "faces_opencv": sum(len(boxes) for boxes, _ in theirs),
        "faces_both": len(cosines),
        "images_without_face_facecore": sum(not len(boxes) for boxes, _ in ours),
        "images_without_face_opencv": sum(not len(boxes) for boxes, _ in theirs),
        "cosine_mean": statistics.fmean(cosines) if cosines else None,
        "cosine_median": statistics.median(cosines) if cosines else None,
        "cosine_min": min(cosines, default=None),
    }


def timed(run: Callable[[list[bytes]], Faces], files: list[bytes]) -> tuple[Faces, float, float]:
    """Result, wall seconds, CPU seconds of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = run(files)
    return found, time.perf_counter() - wall, time.process_time() - cpu


def cpu_name() -> str:
    """The processor's own name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def machine(threads: int, precision: str) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "threads": threads,
        "embedder_precision": precision,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "opencv": cv2.__version__,
        "numpy": np.__version__,
    }


def main() -> None:
    """Measure, print a table to stdout, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=Path, help="folder of JPEG files, searched recursively")
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="rounds per side")
    parser.add_argument("--precision", default="auto", help="of the embedder")
    parser.add_argument(
        "--json", type=Path, default=Path(__file__).parent / "out" / "extraction.json"
    )
    options = parser.parse_args()

    name, files = read_images(options.images, options.count)
    cache, mirror = settings().cache, settings().model_dir
    detector, embedder = (registry.prepare(m, cache, mirror) for m in ("yunet", "sface"))
    extractor = load_extractor(
        *(detector.path, detector.sha256, embedder.path, embedder.sha256),
        device="cpu",
        precision=options.precision,
        threads=options.threads,
    )
    cv2.setNumThreads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        plain = {
            model: str(
                write_dequantised(
                    weights.fetch(model, cache, mirror), Path(scratch) / f"{model}.onnx"
                )
            )
            for model in ("yunet", "sface")
        }
        peer = (
            cv2.FaceDetectorYN.create(plain["yunet"], "", (250, 250), 0.6),
            cv2.FaceRecognizerSF.create(plain["sface"], ""),
        )
    sides: dict[str, Callable[[list[bytes]], Faces]] = {
        "facecore": lambda data: run_facecore(extractor, data),
        "opencv": lambda data: run_opencv(*peer, data),
    }
    for run in sides.values():  # warm-up: first calls allocate and choose kernels
        run(files[:BATCH])

    rates: dict[str, list[float]] = {side: [] for side in sides}
    cpu: dict[str, list[float]] = {side: [] for side in sides}
    found: dict[str, Faces] = {}
    for _ in range(options.rounds):
        for side, run in sides.items():
            found[side], wall, cpu_seconds = timed(run, files)
            rates[side].append(len(files) / wall)
            cpu[side].append(cpu_seconds)
            print(f"{side:9} {rates[side][-1]:7.1f} images/s", file=sys.stderr)

    median = {side: statistics.median(values) for side, values in rates.items()}
    pairs = [a / b for a, b in zip(rates["facecore"], rates["opencv"], strict=True)]
    report = {
        "images": name,
        "count": len(files),
        "images_per_second": rates,
        "median_images_per_second": median,
        "ratio_of_medians": median["facecore"] / median["opencv"],
        "ratio_per_pair": pairs,
        "cpu_seconds": cpu,
        "agreement": compare(found["facecore"], found["opencv"]),
        "machine": machine(options.threads, str(extractor.embedder.dtype).removeprefix("torch.")),
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"{len(files)} images from {name}, {options.threads} threads, {cpu_name()}\n")
    print(f"{'':10}{'median images/s':>16}{'all rounds':>28}{'CPU s':>9}")
    for side, values in rates.items():
        rounds = " ".join(f"{value:.1f}" for value in values)
        print(f"{side:10}{median[side]:16.1f}{rounds:>28}{statistics.median(cpu[side]):9.1f}")
    agreement = report["agreement"]
    print(
        f"\nratio {report['ratio_of_medians']:.2f} (pairs: {', '.join(f'{p:.2f}' for p in pairs)})"
    )
    print(f"faces: {agreement}")
    print(f"written to {options.json}")


if __name__ == "__main__":
    main()
