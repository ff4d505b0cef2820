"""Whether an engine or a lower precision costs accuracy: verification on Labeled Faces in the Wild.

    FACECORE_DATA_DIR=DIR python benchmarks/precision.py [--pairs-per-fold 300] [--json OUT]

`DIR/lfw/images/Person_Name/Person_Name_0001.jpg` and `DIR/lfw/pairs.txt`. Every variant finds,
aligns and embeds the same images by itself; torch in float32 is the reference. Reported: the
accuracy of verification (cross-validated threshold, as the protocol has it), its difference to
the reference, and the smallest and median cosine between both embeddings of the same image.
Fails (exit status 1) where the accuracy is more than 0.1 point below the reference's, or where the
median cosine is below 0.999.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from extraction import cpu_name

from facecore.config import settings
from facecore.lifecycle.evaluate import judge_pairs
from facecore.lifecycle.main_face import embed_main_faces
from facecore.lifecycle.pairs import image_path, read_pairs
from facecore.pipeline.load import load_extractor
from facecore.zoo import registry

VARIANTS = (
    ("torch", "fp32"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("torch", "bf16"),
)
ACCURACY_LOSS, LEAST_COSINE = 0.001, 0.999


def fewer(pairs: Path, per_fold: int, target: Path) -> Path:
    """The first pairs of each kind and fold, in the same format."""
    lines = pairs.read_text("utf-8").splitlines()
    folds, each = (int(number) for number in lines[0].split("\t"))
    if per_fold >= each:
        return pairs
    kept = [f"{folds}\t{per_fold}"]
    for start in range(1, 1 + 2 * folds * each, each):  # genuine and impostors of every fold
        kept += lines[start : start + per_fold]
    target.write_text("\n".join(kept) + "\n", "utf-8")
    return target


def main() -> None:
    """Measure, print a table to stdout, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs-per-fold", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--json", type=Path, default=Path(__file__).parent / "out" / "precision.json"
    )
    options = parser.parse_args()
    data = settings().data_dir
    if data is None or not (data / "lfw" / "pairs.txt").is_file():
        sys.exit("Labeled Faces in the Wild is not below $FACECORE_DATA_DIR.")
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "pairs.txt"
        listed = read_pairs(fewer(data / "lfw" / "pairs.txt", options.pairs_per_fold, target))
    names = listed.images
    paths = [image_path(data / "lfw" / "images", name) for name in names]
    where = settings().cache, settings().model_dir
    detector, embedder = (registry.prepare(model, *where) for model in ("yunet", "sface"))
    print(f"{len(listed.pairs)} pairs of {len(names)} images, {cpu_name()}\n")
    print("| engine | accuracy | against torch fp32 | cosine, least | cosine, median | seconds |")
    print("|---|---|---|---|---|---|")
    rows: list[dict[str, Any]] = []
    reference: Any = None
    for backend, precision in VARIANTS:
        extractor = load_extractor(
            *(detector.path, detector.sha256, embedder.path, embedder.sha256),
            device="cpu",
            precision=precision,
            threads=options.threads,
            backend=backend,
        )
        start = time.perf_counter()
        faces = embed_main_faces(extractor, paths)
        seconds = time.perf_counter() - start
        accuracy = judge_pairs(listed, names, faces).accuracy
        reference = reference or (accuracy, faces)
        both = faces.found & reference[1].found
        cosine = (faces.vectors[both] * reference[1].vectors[both]).sum(1)
        row = {
            "engine": f"{backend} {precision}",
            "computed_in": extractor.embedder.precision,
            "accuracy": accuracy,
            "difference": accuracy - reference[0],
            "cosine_least": float(cosine.min()),
            "cosine_median": float(np.median(cosine)),
            "seconds": seconds,
        }
        rows.append(row)
        print(
            f"| {row['engine']} | {accuracy:.4f} | {row['difference']:+.4f} |"
            f" {row['cosine_least']:.5f} | {row['cosine_median']:.5f} | {seconds:.0f} |",
            flush=True,
        )
    options.json.parent.mkdir(parents=True, exist_ok=True)
    report = {"pairs": len(listed.pairs), "images": len(names), "cpu": cpu_name(), "rows": rows}
    report["load_average"] = os.getloadavg()
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    worse = [
        row["engine"]
        for row in rows
        if row["difference"] < -ACCURACY_LOSS or row["cosine_median"] < LEAST_COSINE
    ]
    if worse:
        sys.exit(f"costs accuracy: {', '.join(worse)}")


if __name__ == "__main__":
    main()
