"""Accuracy of an extractor on labelled images, and the thresholds that follow from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from facecore.errors import UsageError
from facecore.jobs.lineage import code_version
from facecore.jobs.models.champions import Champions, champions, default_extractor, extractor
from facecore.jobs.stores import Stores
from facecore.lifecycle.evaluate import calibrate_folder, evaluate_verification
from facecore.lifecycle.thresholds import VERIFICATION_FMR, Calibration, threshold_at
from facecore.lifecycle.verification import Verification
from facecore.pipeline.extract import FaceExtractor
from facecore.stores.catalog.models import active, models

Progress = Callable[[int, int], None]
Which = Literal["champion", "default"]


def verification(
    images: Path,
    pairs: Path,
    *,
    model: Which,
    on_progress: Progress,
    stores: Stores | None = None,
) -> Verification:
    """Verification accuracy on a pairs file in the format of LFW.

    Args:
        model: the models in use ("champion", needs the registry), or the default pack, which
            needs no running platform.
    """
    stores = stores or Stores()
    chosen = champions(stores) if model == "champion" else None
    return evaluate_verification(_extractor(stores, chosen), images, pairs, progress=on_progress)


def calibrate(
    images: Path,
    dataset: str,
    *,
    model: Which,
    out: Path | None,
    on_progress: Progress,
    stores: Stores | None = None,
) -> Calibration:
    """Measure thresholds on all images of a folder of folders.

    With `out` they are written there. Without, they become those of the champion: the next
    identification uses them.

    Raises:
        UsageError: thresholds of the default pack were to be activated without a registry.
        ModelsChanged: other models came into use meanwhile; theirs are left as they are.
    """
    stores = stores or Stores()
    chosen = champions(stores) if model == "champion" else None
    if chosen is None and out is None:
        raise UsageError("say where to write the default pack's calibration: --out FILE.")
    measured = _extractor(stores, chosen)
    calibration = calibrate_folder(
        measured,
        images,
        dataset=dataset,
        provenance={
            "command": f"facecore evaluate calibrate --images DIR --dataset {dataset!r}",
            "code": code_version(),
            "precision": measured.embedder.precision,
            "backend": measured.embedder.backend.name,
        },
        progress=on_progress,
    )
    if out is not None:
        out.write_text(json.dumps(calibration.to_json(), indent=1) + "\n", "utf-8")
    elif chosen is not None:
        _use(stores, chosen, calibration)
    return calibration


def _use(stores: Stores, measured: Champions, calibration: Calibration) -> None:
    with stores.catalog.transaction() as tx:
        active.require(tx, *measured.ids)
        models.set_calibration(
            tx,
            measured.embedder_row.id,
            threshold_at(calibration, VERIFICATION_FMR).threshold,
            VERIFICATION_FMR,
            calibration.to_json(),
        )


def _extractor(stores: Stores, chosen: Champions | None) -> FaceExtractor:
    """That of these models, or of the default pack."""
    return default_extractor(stores) if chosen is None else extractor(stores, chosen)
