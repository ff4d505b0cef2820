"""How well the autoencoder finds planted anomalies on faces of people it never saw.

    python benchmarks/anomaly.py --images lfw/images [--people 2086] [--epochs 12] [--code 64]
                                 [--threads 1] [--json OUT]

`--images` is a folder of folders, person/*.jpg, such as Labeled Faces in the Wild. Main faces
are found and aligned as everywhere (YuNet); three fifths of the people are for training, one
tenth for calibration, the rest is only judged. Anomalies are planted into crops of the latter:

- non-faces: squares of 50 to 110 px of the same photographs that overlap no face, enlarged;
- occlusion: a quarter to half of the crop covered by one colour, by a part of a non-face, by
  noise, in turns;
- shuffled patches: the 4×4 patches in another order.

Reported: AUROC of the reconstruction error alone, of the code's Mahalanobis distance alone, and
of both together (what the platform uses), with 95 % intervals from resampling crops; the share
of anomalies and of ordinary crops beyond the 0.99 quantile; times.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Picture
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

from facecore.config import settings
from facecore.lifecycle.datasets.faces import only
from facecore.lifecycle.evaluation.planted_anomalies import plant
from facecore.lifecycle.main_face import main_face
from facecore.lifecycle.training.autoencoder import AutoencoderTraining
from facecore.lifecycle.training.faces import FaceSplit
from facecore.lifecycle.training.plan import make_plan
from facecore.pipeline.load import load_detector
from facecore.stages.align import align
from facecore.stages.decode import Limits, decode
from facecore.stages.detector import Detector
from facecore.types import CROP_SIZE
from facecore.zoo import registry
from facecore.zoo.autoencoder import FaceAutoencoder
from facecore.zoo.device import use_threads

_BATCH = 32
_MOST_PER_PERSON = 4
_UNUSUAL = 0.99
_RESAMPLED = 200


def people_of(folder: Path, most: int, seed: int) -> tuple[list[Path], list[Path], list[Path]]:
    """Files of the people for training, calibration and judging: no person is in two."""
    people = sorted(path for path in folder.iterdir() if path.is_dir())
    random.Random(seed).shuffle(people)
    people = people[:most]
    first, second = int(0.6 * len(people)), int(0.7 * len(people))
    parts = (people[:first], people[first:second], people[second:])
    return tuple(  # type: ignore[return-value]
        [file for person in part for file in sorted(person.glob("*.jpg"))[:_MOST_PER_PERSON]]
        for part in parts
    )


def crops_of(files: Sequence[Path], detector: Detector, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Aligned main faces, and a square without a face of each picture that has room for one."""
    rng = np.random.default_rng(seed)
    faces: list[np.ndarray] = []
    others: list[np.ndarray] = []
    for start in range(0, len(files), _BATCH):
        images = [decode(file.read_bytes(), Limits()) for file in files[start : start + _BATCH]]
        mains, kept = [], []
        for image, found in zip(images, detector.detect(images), strict=True):
            index = main_face(found, image.shape[1], image.shape[0])
            if index is None:
                continue
            mains.append(only(found, index))
            kept.append(image)
            square = without_face(image, found.boxes, rng)
            if square is not None:
                others.append(square)
        faces += [one.pixels[0] for one in align(kept, mains)]
    return np.stack(faces), np.stack(others)


def without_face(image: np.ndarray, boxes: np.ndarray, rng: Any) -> np.ndarray | None:
    """A square that overlaps no face by more than a twentieth, enlarged to a crop."""
    height, width = image.shape[:2]
    for _ in range(8):
        side = int(rng.integers(50, 111))
        if side >= min(height, width):
            return None
        left, top = int(rng.integers(width - side)), int(rng.integers(height - side))
        across = np.minimum(left + side, boxes[:, 2]) - np.maximum(left, boxes[:, 0])
        down = np.minimum(top + side, boxes[:, 3]) - np.maximum(top, boxes[:, 1])
        if (np.clip(across, 0, None) * np.clip(down, 0, None) <= side * side / 20).all():
            part = Picture.fromarray(image[top : top + side, left : left + side])
            return np.asarray(part.resize((CROP_SIZE, CROP_SIZE), Picture.Resampling.BILINEAR))
    return None


def train(
    crops: np.ndarray, kept: np.ndarray, code: int, epochs: int, seed: int
) -> tuple[FaceAutoencoder, float]:
    """The platform's own loop and calibration, without stores; returns network and seconds."""
    from lightning.pytorch import Trainer, seed_everything

    from facecore.lifecycle.training.augmentation import for_crops
    from facecore.lifecycle.training.faces import FaceViews
    from facecore.lifecycle.training.preparation import Batches

    plan = make_plan(
        {
            "model": "autoencoder",
            "goals": "reconstruct",
            "dataset": "memory",
            "options": {"code": code},
            "epochs": epochs,
            "seed": seed,
            "device": "cpu",
        }
    )
    seed_everything(seed, verbose=False)
    seen, judged = (FaceSplit.of(part, [None] * len(part)) for part in (crops, kept))
    module = AutoencoderTraining(plan, registry.create("autoencoder", code=code), seen, judged)
    batches = Batches(
        plan,
        FaceViews(seen, for_crops(plan.augmentation)),
        FaceViews(judged, for_crops("none")),
    )
    began = time.perf_counter()
    Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        gradient_clip_val=plan.gradient_clip,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    ).fit(module, batches)
    module.finished()
    network = module.network
    assert isinstance(network, FaceAutoencoder)
    return network.eval(), time.perf_counter() - began


@torch.inference_mode()
def features(network: FaceAutoencoder, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features and errors."""
    found = [
        network.features(torch.from_numpy(crops[start : start + 256]).permute(0, 3, 1, 2))
        for start in range(0, len(crops), 256)
    ]
    return torch.cat([f for f, _ in found]).numpy(), torch.cat([e for _, e in found]).numpy()


def auroc(ordinary: np.ndarray, planted: np.ndarray, seed: int) -> dict[str, float]:
    """AUROC with its 95 % interval from resampling crops."""

    def once(a: np.ndarray, b: np.ndarray) -> float:
        truth = np.concatenate([np.zeros(len(a)), np.ones(len(b))])
        return float(roc_auc_score(truth, np.concatenate([a, b])))

    rng = np.random.default_rng(seed)
    drawn = [
        once(rng.choice(ordinary, len(ordinary)), rng.choice(planted, len(planted)))
        for _ in range(_RESAMPLED)
    ]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {"value": once(ordinary, planted), "low": float(low), "high": float(high)}


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--people", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--code", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    use_threads(args.threads)
    weights = registry.prepare("yunet", settings().cache, settings().model_dir)
    detector = load_detector("yunet", weights.path, weights.sha256, sides_px=(320,))
    parts = people_of(args.images, args.people, args.seed)
    (seen, _), (kept, _), (ordinary, others) = (crops_of(p, detector, args.seed) for p in parts)
    print(f"crops: {len(seen)} train, {len(kept)} calibrate, {len(ordinary)} judged", flush=True)
    network, seconds = train(seen, kept, args.code, args.epochs, args.seed)
    planted = plant(ordinary, seed=args.seed, non_faces=others)
    train_features, _ = features(network, seen)
    codes = LedoitWolf().fit(train_features[:, : args.code])

    def scores(crops: np.ndarray) -> dict[str, np.ndarray]:
        found, errors = features(network, crops)
        with torch.inference_mode():
            distance = network.distance(torch.from_numpy(found))
            rank = network.rank(distance)
        return {
            "error": errors,
            "code": codes.mahalanobis(found[:, : args.code]),
            "both": distance.numpy(),
            "rank": rank.numpy(),
        }

    began = time.perf_counter()
    plain = scores(ordinary)
    per_second = len(ordinary) / (time.perf_counter() - began)
    result: dict[str, Any] = {
        "train": len(seen),
        "calibrate": len(kept),
        "judged": len(ordinary),
        "epochs": args.epochs,
        "code": args.code,
        "threads": args.threads,
        "train_s": seconds,
        "crops_per_s": per_second,
        "error": float(np.sqrt((plain["error"] ** 2).mean())),
        "false_alarms": float((plain["rank"] >= _UNUSUAL).mean()),
        "kinds": {},
    }
    for kind, crops in planted.items():
        own = scores(crops)
        result["kinds"][kind] = {
            "crops": len(crops),
            "flagged": float((own["rank"] >= _UNUSUAL).mean()),
            **{
                name: auroc(plain[name], own[name], args.seed) for name in ("error", "code", "both")
            },
        }
    print(f"trained in {seconds:.0f} s; {per_second:.0f} crops/s judged")
    print(f"error {result['error']:.1f} grey levels; false alarms {result['false_alarms']:.3f}")
    for kind, found in result["kinds"].items():
        said = "  ".join(
            "{} {value:.3f} ({low:.3f}-{high:.3f})".format(name, **found[name])
            for name in ("error", "code", "both")
        )
        print(f"{kind:17} {said}  flagged {found['flagged']:.2f}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
