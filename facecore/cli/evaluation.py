"""Commands that measure: evaluate verification, calibrate, model, identification, detection."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facecore.cli import model_evaluation
from facecore.cli.output import print_counts, print_json, progress
from facecore.cli.platform import Json

if TYPE_CHECKING:
    from facecore.jobs.training.evaluate import Which
    from facecore.lifecycle.verification import OperatingPoint

app = typer.Typer(help="Measure accuracy and calibrate thresholds.", no_args_is_help=True)
model_evaluation.add_to(app)


class Measured(StrEnum):
    """Whose accuracy: the models in use, or the default pack."""

    CHAMPION = "champion"
    DEFAULT = "default"


Model = Annotated[
    Measured,
    typer.Option(help="The models in use, or the default pack (needs no running platform)."),
]
Images = Annotated[Path, typer.Option("--images", help="Folder of folders: person/*.jpg.")]


@app.command()
def verification(
    images: Images,
    pairs: Annotated[Path, typer.Option(help="Pairs file in the format of LFW.")],
    model: Model = Measured.CHAMPION,
    json: Json = False,
) -> None:
    """Are two images one person? Accuracy, TAR at fixed FAR, EER and AUC on a pairs file."""
    from facecore.jobs.training import evaluate as job

    with progress("images") as advance:
        result = job.verification(images, pairs, model=_which(model), on_progress=advance)
    if json:
        print_json(result.to_json())
        return
    print_counts(
        f"Verification on {pairs}",
        {
            "pairs": result.pairs,
            "accuracy": f"{result.accuracy:.4f} ± {result.accuracy_std:.4f} over folds",
            "equal error rate": f"{result.eer:.4f}",
            "area under ROC": f"{result.auc:.5f}",
            **{_point_name(point): _point_value(point) for point in result.operating_points},
            "images": result.images,
            "faces not found": len(result.faces_not_found),
        },
    )


@app.command()
def calibrate(
    images: Images,
    dataset: Annotated[str, typer.Option(help="What the images are, for the record.")],
    out: Annotated[
        Path | None, typer.Option(help="Write the calibration here instead of activating it.")
    ] = None,
    model: Model = Measured.CHAMPION,
    json: Json = False,
) -> None:
    """Thresholds from all pairs of images of different people, for the active embedder."""
    from facecore.jobs.training import evaluate as job

    with progress("images") as advance:
        calibration = job.calibrate(
            images, dataset, model=_which(model), out=out, on_progress=advance
        )
    if json:
        print_json(calibration.to_json())
        return
    print_counts(
        f"Threshold at each false-match rate ({calibration.impostors:,} impostor pairs)",
        {
            f"{p.fmr:.1e}": f"{p.threshold:.4f} [{p.low:.4f}, {p.high:.4f}]"
            for p in calibration.points
        },
    )


def _which(model: Measured) -> Which:
    return "default" if model is Measured.DEFAULT else "champion"


def _point_name(point: OperatingPoint) -> str:
    return f"TAR at FAR {point.target_far:g}, {point.impostors}"


def _point_value(point: OperatingPoint) -> str:
    tar = point.tar
    return f"{tar.value:.4f} [{tar.low:.4f}, {tar.high:.4f}]" if tar else point.note
