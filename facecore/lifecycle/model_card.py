"""A model's card: what the zoo knows of it, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from facecore.lifecycle.thresholds import Calibration, threshold_for_gallery

_GALLERIES = (10, 1_000, 100_000)
_FPIR = 0.01


def model_card(
    name: str,
    *,
    calibration: Calibration | None = None,
    verification: Mapping[str, Any] | None = None,
) -> str:
    """Markdown: the zoo's card of model `name`, followed by verification and thresholds.

    Args:
        verification: `Verification.to_json()` with a `provenance` of `dataset` and `command`.

    Raises:
        NotFound: the zoo has no such model.
    """
    from facecore.zoo.registry import spec

    parts = [spec(name).card.rstrip()]
    if verification is not None:
        parts.append(_verification(verification))
    if calibration is not None:
        parts.append(_thresholds(calibration))
    return "\n\n".join(parts) + "\n"


def _verification(result: Mapping[str, Any]) -> str:
    provenance, interval = result["provenance"], result["accuracy_interval"]
    rows = [
        f"| Accuracy, mean ± std of {len(result['folds'])} folds | "
        f"{result['accuracy']:.4f} ± {result['accuracy_std']:.4f} "
        f"(95 %: {interval['low']:.4f}–{interval['high']:.4f}) |",
        f"| AUC, EER | {result['auc']:.4f}, {result['eer']:.4f} |",
    ]
    for point in result["operating_points"]:
        label = (
            f"| TAR at FAR {point['target_far']:g} "
            f"({point['impostor_count']:,} {point['impostors']} impostors) | "
        )
        if point["tar"] is None:
            rows.append(f"{label}not stated: {point['note']} |")
        else:
            tar = point["tar"]
            rows.append(f"{label}{tar['value']:.4f} (95 %: {tar['low']:.4f}–{tar['high']:.4f}) |")
    missing = len(result["faces_not_found"])
    rows.append(f"| Images without a face found | {missing} of {result['images']:,} |")
    return "\n".join(
        [
            "## Verification",
            "",
            f"{provenance['dataset']}; {result['pairs']:,} pairs; "
            f"precision {provenance['precision']}.",
            "",
            "| | |",
            "|---|---|",
            *rows,
            "",
            f"Reproduce: `{provenance['command']}`",
        ]
    )


def _thresholds(calibration: Calibration) -> str:
    points = [
        f"| {p.fmr:.1e} | {p.threshold:.4f} | {p.low:.4f}–{p.high:.4f} | "
        f"{p.fnmr:.4f} ({p.fnmr_low:.4f}–{p.fnmr_high:.4f}) |"
        for p in calibration.points
    ]
    galleries = []
    for size in _GALLERIES:
        found = threshold_for_gallery(calibration, _FPIR, size)
        how = "extrapolated" if found.extrapolated else "measured"
        galleries.append(f"| {size:,} | {found.fmr:.1e} | {found.threshold:.4f} | {how} |")
    return "\n".join(
        [
            "## Thresholds",
            "",
            f"{calibration.dataset}: {calibration.images:,} images of {calibration.people:,} "
            f"people, {calibration.impostors:,} impostor and {calibration.genuine:,} genuine "
            f"comparisons. No false-match rate below {calibration.supported_fmr:.1e} is "
            "supported. Intervals: 95 %, people resampled.",
            "",
            "| FMR | threshold | interval | FNMR |",
            "|---|---|---|---|",
            *points,
            "",
            f"Searching a gallery, false-positive identification rate {_FPIR:g}:",
            "",
            "| gallery faces | FMR needed | threshold | |",
            "|---|---|---|---|",
            *galleries,
            "",
            f"Reproduce: `{calibration.provenance.get('command', 'not recorded')}`",
        ]
    )
