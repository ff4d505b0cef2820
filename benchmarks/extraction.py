"""Extraction side by side with others: JPEG bytes in memory → embeddings.

    python benchmarks/extraction.py [--set lfw|1080p|portraits|DIR] [--count 600] [--threads 2]
                                    [--peers opencv onnxruntime dlib facenet-pytorch]

Every side (`benchmarks/peers.py` says how each is used) runs in a process of its own with the
same files in its memory and the same number of threads. They take turns, round after round, so
that a busy machine is fair to all; while one computes the others wait.

Reported: images/s and faces/s (median over rounds), CPU seconds per image, peak resident memory
of the process, the ratio to each peer (of medians, and of each adjacent pair), faces found by
both, and the cosine between both sides' embeddings of the same face (IoU > 0.5) where the weights
are the same. And the bound: what the networks alone would take at the speed of this machine's
best matrix product.

Sets: `lfw` is Labeled Faces in the Wild below $FACECORE_DATA_DIR (250 × 250 px); `1080p` composes
pictures of 1920 × 1080 px from the sample portraits, a few people each; `portraits` are those
themselves.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from backends import peak_gflops
from peers import INSTALL, PEERS, Faces, facecore

from facecore.config import settings
from facecore.lifecycle.evaluation.cost import count_flops
from facecore.samples.sources import portraits
from facecore.zoo import registry

SUFFIXES = {".jpg", ".jpeg"}
WARM_UP = 32


def read_set(name: str, count: int) -> list[bytes]:
    """`count` JPEG files."""
    if name == "1080p":
        return compose(count)
    if name == "portraits":
        files = [p.path for p in portraits(settings().cache) if p.path.suffix.lower() in SUFFIXES]
        return [files[i % len(files)].read_bytes() for i in range(count)]
    data = settings().data_dir
    folder = Path(name)
    if name == "lfw":
        if data is None or not (data / "lfw" / "images").is_dir():
            sys.exit("Labeled Faces in the Wild is not below $FACECORE_DATA_DIR: --set portraits")
        folder = data / "lfw" / "images"
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        sys.exit(f"no JPEG files in {folder}")
    count = min(count, len(files))
    return [files[i * len(files) // count].read_bytes() for i in range(count)]


def compose(count: int) -> list[bytes]:
    """Pictures of 1920 × 1080 px with one to six portraits of 200 to 500 px each."""
    from PIL import Image

    rng = np.random.default_rng(0)
    people = [Image.open(p.path).convert("RGB") for p in portraits(settings().cache)]
    files = []
    for _ in range(count):
        level = int(rng.integers(60, 200))
        sheet = Image.new("RGB", (1920, 1080), (level, level, level))
        for place in rng.permutation(6)[: rng.integers(1, 7)]:
            one = people[rng.integers(len(people))]
            height = int(rng.integers(200, 500))
            small = one.resize((max(1, one.width * height // one.height), height))
            sheet.paste(small, (640 * (int(place) % 3) + 40, 540 * (int(place) // 3) + 20))
        buffer = io.BytesIO()
        sheet.save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


def serve(name: str, folder: Path, options: argparse.Namespace) -> None:
    """A side's process: make it, then one round per line on stdin; answers are lines of JSON."""
    if name == "facecore":
        run, made = facecore(options.threads, options.precision, options.backend)
    else:
        run, made = PEERS[name](options.threads)
    files = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]
    run(files[:WARM_UP])
    print(json.dumps(made), flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        found = run(files)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        flat: dict[str, Any] = {f"boxes{i}": boxes for i, (boxes, _) in enumerate(found)}
        flat |= {f"vectors{i}": vectors for i, (_, vectors) in enumerate(found)}
        np.savez(folder / f"{name}.npz", **flat)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        faces = sum(len(boxes) for boxes, _ in found)
        print(json.dumps({"wall": wall, "cpu": cpu, "faces": faces, "peak_mb": peak}), flush=True)


class Side:
    """A side's process, seen from here. `absent` says why there is none."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.rounds: list[dict[str, float]] = []
        arguments = [sys.executable, __file__, "--serve", name, "--folder", str(folder)]
        self._process = subprocess.Popen(
            arguments + sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        line = self._line()
        self.absent = "" if line else f"it did not start ({INSTALL.get(name, '')})"
        self.made: dict[str, str] = json.loads(line) if line else {}

    def round(self) -> dict[str, float]:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        self.rounds.append(json.loads(self._line()))
        return self.rounds[-1]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def read_faces(folder: Path, name: str, count: int) -> Faces:
    with np.load(folder / f"{name}.npz") as found:
        return [(found[f"boxes{i}"], found[f"vectors{i}"]) for i in range(count)]


def compare(ours: Faces, theirs: Faces) -> dict[str, Any]:
    """Faces that both found, and the cosine of their embeddings."""
    cosines: list[float] = []
    both = 0
    for (boxes, vectors), (peer_boxes, peer_vectors) in zip(ours, theirs, strict=True):
        if len(boxes) and len(peer_boxes):
            iou = torchvision.ops.box_iou(
                torch.from_numpy(boxes), torch.from_numpy(np.ascontiguousarray(peer_boxes))
            ).numpy()
            best, same = iou.argmax(1), iou.max(1) > 0.5
            both += int(same.sum())
            if vectors.shape[1] == peer_vectors.shape[1]:
                cosines += (vectors[same] * peer_vectors[best[same]]).sum(1).tolist()
    return {
        "faces_both": both,
        "cosine_median": statistics.median(cosines) if cosines else None,
        "cosine_above_0.999": sum(c > 0.999 for c in cosines) / len(cosines) if cosines else None,
    }


def bound(
    faces_per_image: float, pixels: float, threads: int, embedder: torch.dtype
) -> dict[str, Any]:
    """Images/s if nothing but the networks' arithmetic took time, at the best matrix product.

    Args:
        pixels: searched in an image; the detector computes in float32.
        embedder: what SFace computes in.
    """
    torch.set_num_threads(1)
    peak = {dtype: peak_gflops(dtype) for dtype in {torch.float32, embedder}}
    flops = {}
    for name, side in (("sface", 112), ("yunet", 256)):
        prepared = registry.prepare(name, settings().cache, settings().model_dir)
        network = registry.load(name, prepared.path, prepared.sha256)
        batch = torch.zeros(1, 3, side, side, dtype=torch.uint8)
        flops[name] = count_flops(partial(network, batch)) / 1e9
    embedding, detection = faces_per_image * flops["sface"], pixels / 256**2 * flops["yunet"]
    seconds = embedding / peak[embedder] + detection / peak[torch.float32]
    return {
        "gflops_per_core": {str(dtype).removeprefix("torch."): peak[dtype] for dtype in peak},
        "gflop_per_crop": flops["sface"],
        "gflop_per_image": embedding + detection,
        "images_per_second": threads / seconds,
    }


def cpu_name() -> str:
    """The processor's own name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def searched_pixels(files: list[bytes]) -> float:
    """Pixels YuNet searches per image, all sizes together, padded to multiples of 32."""
    from facecore.stages.decode import Limits, inspect

    total = 0
    for data in files:
        header = inspect(data, Limits())
        longest = max(header.width, header.height)
        for side in {min(s, longest) for s in settings().extract.detect_sides_px}:
            sides = (-(-n * side // longest) for n in (header.width, header.height))
            width, height = (-(-n // 32) * 32 for n in sides)
            total += width * height
    return total / len(files)


def table(sides: list[Side], report: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        "| | images/s, median | all rounds | faces/s | CPU ms per image | peak memory | ours is |",
        "|---|---|---|---|---|---|---|",
    ]
    for side in sides:
        own = report["sides"][side.name]
        if "absent" in own:
            lines.append(f"| {side.name} | absent: {own['absent']} | | | | | |")
            continue
        rounds = " · ".join(f"{rate:.1f}" for rate in own["images_per_second"])
        ratio = "" if "ratio" not in own else f"{own['ratio']:.2f} times as fast"
        lines.append(
            f"| {side.name} | {own['median']:.1f} | {rounds} | {own['faces_per_second']:.1f} |"
            f" {own['cpu_ms_per_image']:.1f} | {own['peak_mb']} MB | {ratio} |"
        )
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--set", default="", help="lfw, 1080p, portraits or a folder")
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="*", default=["opencv"], choices=sorted(PEERS))
    parser.add_argument("--precision", default="auto", help="of our embedder")
    parser.add_argument("--backend", default="auto", help="of ours: auto, torch, openvino")
    parser.add_argument(
        "--json", type=Path, default=Path(__file__).parent / "out" / "extraction.json"
    )
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def take_turns(sides: list[Side], rounds: int, count: int) -> None:
    for _ in range(rounds):
        for side in sides:
            done = side.round()
            print(f"{side.name:16} {count / done['wall']:7.1f}/s", file=sys.stderr)


def summary(side: Side, count: int) -> dict[str, Any]:
    """What a side's rounds come to."""
    rates = [count / one["wall"] for one in side.rounds]
    return {
        "made": side.made,
        "images_per_second": rates,
        "median": statistics.median(rates),
        "faces": side.rounds[-1]["faces"],
        "faces_per_second": statistics.median(o["faces"] / o["wall"] for o in side.rounds),
        "cpu_ms_per_image": statistics.median(o["cpu"] for o in side.rounds) / count * 1e3,
        "peak_mb": max(int(one["peak_mb"]) for one in side.rounds),
    }


def main() -> None:
    """Measure, print a table to stdout, write JSON."""
    options = arguments()
    if options.serve:
        try:
            serve(options.serve, options.folder, options)
        except ImportError as error:
            print(f"{options.serve}: {error}", file=sys.stderr)
        return
    name = options.set or ("lfw" if settings().data_dir else "portraits")
    files = read_set(name, options.count)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for number, data in enumerate(files):
            (folder / f"{number:06d}.jpg").write_bytes(data)
        sides = [Side(side, folder) for side in ("facecore", *options.peers)]
        present = [side for side in sides if not side.absent]
        take_turns(present, options.rounds, len(files))
        found = {side.name: read_faces(folder, side.name, len(files)) for side in present}
        for side in sides:
            side.close()
    ours = summary(sides[0], len(files))
    report: dict[str, Any] = {
        "set": name,
        "count": len(files),
        "threads": options.threads,
        "cpu": cpu_name(),
        "load_average": os.getloadavg(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "sides": {"facecore": ours},
    }
    for side in sides[1:]:
        if side.absent:
            report["sides"][side.name] = {"absent": side.absent}
            continue
        own = summary(side, len(files))
        own["ratio"] = ours["median"] / own["median"]
        pairs = zip(ours["images_per_second"], own["images_per_second"], strict=True)
        own["ratio_per_pair"] = [a / b for a, b in pairs]
        own["agreement"] = compare(found["facecore"], found[side.name])
        report["sides"][side.name] = own
    limit = bound(
        *(ours["faces"] / len(files), searched_pixels(files), options.threads),
        embedder=getattr(torch, sides[0].made["embedder"].rpartition(" ")[2]),
    )
    report["bound"] = limit
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"{len(files)} images ({name}), {options.threads} threads, {report['cpu']}\n")
    print(table(sides, report), end="\n\n")
    speeds = " and ".join(f"{x:.0f} ({name})" for name, x in limit["gflops_per_core"].items())
    print(
        f"bound: {limit['images_per_second']:.0f} images/s ({limit['gflop_per_image']:.2f} GFLOP an"
        f" image at {speeds} GFLOP/s a core); facecore reaches"
        f" {ours['median'] / limit['images_per_second']:.0%} of it"
    )
    for side in present[1:]:
        print(f"agreement with {side.name}: {report['sides'][side.name]['agreement']}")
    print(f"written to {options.json}")


if __name__ == "__main__":
    main()
