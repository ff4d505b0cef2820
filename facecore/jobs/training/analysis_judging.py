"""Models beside detector and embedder measured on a snapshot, and the gates they must pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from facecore.analytics.forecasting import methods, selection, visits
from facecore.errors import UsageError
from facecore.lifecycle.evaluation.anomaly_evaluation import evaluate_autoencoder
from facecore.lifecycle.evaluation.planted_anomalies import plant
from facecore.lifecycle.evaluation.promotion_gates import GateResult
from facecore.types import HourlyCounts, Visits
from facecore.zoo.autoencoder import FaceAutoencoder
from facecore.zoo.lstm import ActivityLstm

if TYPE_CHECKING:
    from torch import nn

    from facecore.lifecycle.datasets.activity import ActivitySeries
    from facecore.lifecycle.datasets.snapshot import Snapshot
    from facecore.lifecycle.datasets.splits import Split
    from facecore.lifecycle.evaluation import Plot

LEAST_AUROC = 0.9
# Of a matcher's probabilities, on average.
MOST_CALIBRATION_ERROR = 0.1
_MOST_CROPS = 2000
_DAY = 24


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of one version.

    Attributes:
        metrics: numbers by name.
        document: all of it, as JSON.
        plots: for the evidence page.
    """

    model: str
    metrics: dict[str, float]
    document: dict[str, Any]
    plots: tuple[Plot, ...] = ()


def measure(network: nn.Module, snapshot: Snapshot, model: str, split: Split = "test") -> Measured:
    """Measure a network on a split: planted anomalies, or forecasts beside the baselines.

    Raises:
        UsageError: the snapshot is of the wrong kind, or the split has too little.
    """
    if isinstance(network, FaceAutoencoder):
        return _autoencoder(network, snapshot, model, split)
    if isinstance(network, ActivityLstm):
        return _forecaster(network, snapshot, model, split)
    raise UsageError(f"{model} is neither autoencoder nor forecaster.")


def gates(
    task: str, challenger: Measured, champion: Measured | None, *, margin: float
) -> list[GateResult]:
    """What must hold before a person is asked.

    Args:
        margin: by how much the measure may be worse than the champion's.
    """
    if task == "reconstruct":
        worst = challenger.metrics["auroc_worst"]
        found = [
            GateResult(
                "planted anomalies",
                worst,
                LEAST_AUROC,
                worst >= LEAST_AUROC,
                f"of the planted anomalies, the kind found least well has an AUROC of {worst:.3f}.",
            )
        ]
        measure_name, sign = "auroc_worst", 1.0
    elif task == "match":
        found = _of_matcher(challenger, margin)
        measure_name, sign = "auc", 1.0
    else:
        wins = bool(challenger.metrics["wins"])
        reason = str(challenger.document["choice"]["reason"])
        found = [GateResult("better than the baselines", float(wins), 1.0, wins, reason)]
        measure_name, sign = "mase", -1.0
    own = challenger.metrics.get(measure_name)
    other = None if champion is None else champion.metrics.get(measure_name)
    if own is not None and other is not None:
        gain = sign * (own - other)
        rival = "the one in use" if champion is None else champion.model
        reason = f"{measure_name} {own:.4f} against {other:.4f} of {rival}."
        found.append(GateResult("accuracy", gain, -margin, gain >= -margin, reason))
    return found


def _of_matcher(challenger: Measured, margin: float) -> list[GateResult]:
    numbers = challenger.metrics
    gain, error = numbers["auc"] - numbers["cosine_auc"], numbers["calibration_error"]
    beside = f"auc {numbers['auc']:.4f} against {numbers['cosine_auc']:.4f} of the plain cosine."
    stated = (
        f"stated probabilities and what was observed differ by {error:.3f} on average "
        f"(Brier score {numbers['brier']:.4f})."
    )
    return [
        GateResult("as good as the cosine", gain, -margin, gain >= -margin, beside),
        GateResult(
            "calibration",
            error,
            MOST_CALIBRATION_ERROR,
            error <= MOST_CALIBRATION_ERROR,
            stated,
        ),
    ]


def _autoencoder(
    network: FaceAutoencoder, snapshot: Snapshot, model: str, split: Split
) -> Measured:
    crops, _, _ = snapshot.crops(split)
    crops = crops[:_MOST_CROPS]
    found = evaluate_autoencoder(network, crops, plant(crops))
    return Measured(model, found.metrics(), found.to_json())


def _forecaster(network: ActivityLstm, snapshot: Snapshot, model: str, split: Split) -> Measured:
    parts = list(snapshot.series(split))
    counts = [
        HourlyCounts(p.name, p.start, p.values[: p.last]) for p in parts if p.kind == "counts"
    ]
    if not counts:
        raise UsageError(f"{snapshot.reference} has no series in its {split} split.")
    days = max((p.last - p.first) // _DAY for p in parts if p.kind == "counts")
    choice = selection.select(counts, methods.lstm(network), days=max(1, days))
    own = next(score for score in choice.scores if score.method == "LSTM")
    numbers: dict[str, float | None] = {
        "mase": own.mase,
        "error": own.error,
        "coverage": own.coverage,
        "pinball": own.pinball,
    }
    for score in choice.scores:
        if score.method != "LSTM":
            numbers[f"mase_{score.method.lower().replace(' ', '_').replace('-', '_')}"] = score.mase
    gaps = visits.select_gap_method(
        _people(p for p in parts if p.kind == "visits"), visits.lstm(network)
    )
    for score in gaps.scores:
        numbers[f"gap_mase_{score.method.lower().replace(' ', '_')}"] = score.mase
    metrics = {name: value for name, value in numbers.items() if value is not None}
    metrics["wins"] = float(choice.learned)
    return Measured(
        model, metrics, {"choice": choice.to_json(), "gaps": gaps.to_json(), "days": days}
    )


def _people(parts: Any) -> list[Visits]:
    return [_visits(part) for part in parts]


def _visits(part: ActivitySeries) -> Visits:
    from datetime import datetime, timedelta

    # Gap g ends with visit g + 1: those of the split and what lies before.
    hours: Sequence[float] = part.values[: part.last + 1].tolist()
    epoch = datetime(1970, 1, 1)
    return Visits(part.name, tuple(epoch + timedelta(hours=h) for h in hours))
