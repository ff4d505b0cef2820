"""How well an autoencoder tells unusual crops from ordinary ones it never saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from facecore.errors import UsageError
from facecore.stages.reconstruct import judge

if TYPE_CHECKING:
    from facecore.lifecycle.datasets.snapshot import Crops
    from facecore.zoo.autoencoder import FaceAutoencoder

#: From this rank on a crop is called unusual, so that one ordinary crop in a hundred is.
UNUSUAL = 0.99
LEAST_CROPS = 20


@dataclass(frozen=True, slots=True)
class KindFound:
    """One kind of planted anomaly.

    Attributes:
        auroc: of the distance: chance that an anomaly is farther than an ordinary crop.
        auroc_error: of the reconstruction error alone.
        flagged: share with a rank of 0.99 or more.
    """

    kind: str
    crops: int
    auroc: float
    auroc_error: float
    flagged: float


@dataclass(frozen=True, slots=True)
class AnomalyEvaluation:
    """An autoencoder on ordinary crops and on planted anomalies.

    Attributes:
        error: of reconstructions of ordinary crops, root mean square, grey levels.
        false_alarms: share of ordinary crops with a rank of 0.99 or more; 0.01 is promised.
    """

    ordinary: int
    error: float
    false_alarms: float
    kinds: tuple[KindFound, ...]

    @property
    def worst(self) -> KindFound:
        """The kind that is found least well."""
        return min(self.kinds, key=lambda kind: kind.auroc)

    def metrics(self) -> dict[str, float]:
        """Numbers by name."""
        found = {"error": self.error, "false_alarms": self.false_alarms}
        for kind in self.kinds:
            name = kind.kind.replace(" ", "_").replace("-", "_")
            found |= {f"auroc_{name}": kind.auroc, f"auroc_error_{name}": kind.auroc_error}
        return {**found, "auroc_worst": self.worst.auroc}

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "kinds": [asdict(kind) for kind in self.kinds]}


def evaluate_autoencoder(
    network: FaceAutoencoder, ordinary: Crops, planted: Mapping[str, Crops]
) -> AnomalyEvaluation:
    """Measure it.

    Args:
        ordinary: crops of people it never saw, uint8 `[n, 112, 112, 3]`.
        planted: kind → crops, as `planted_anomalies.plant` makes them.

    Raises:
        UsageError: fewer than 20 ordinary crops.
        WeightsError: the network was never calibrated.
    """
    from sklearn.metrics import roc_auc_score

    if len(ordinary) < LEAST_CROPS:
        raise UsageError(
            f"{len(ordinary)} crops are too few to judge an autoencoder; {LEAST_CROPS} are needed.",
            remedy="Name a data set with more faces in its test split.",
        )
    own = judge(network, ordinary)
    kinds = []
    for kind, crops in planted.items():
        found = judge(network, crops)
        truth = np.concatenate([np.zeros(len(ordinary)), np.ones(len(crops))])
        kinds.append(
            KindFound(
                kind,
                len(crops),
                float(roc_auc_score(truth, np.concatenate([own.distances, found.distances]))),
                float(roc_auc_score(truth, np.concatenate([own.errors, found.errors]))),
                float((found.ranks >= UNUSUAL).mean()),
            )
        )
    error = float(np.sqrt(np.mean(own.errors.astype(np.float64) ** 2)))
    return AnomalyEvaluation(
        len(ordinary), error, float((own.ranks >= UNUSUAL).mean()), tuple(kinds)
    )
