"""What registered versions of the models that analyse answer: crops judged, hours forecast.

`pyfunc_autoencoder.py` and `pyfunc_forecaster.py` wrap this for MLflow. Each needs only the
version's own files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facecore.errors import ImageRejected, WeightsError
from facecore.stages.decode import Limits, decode
from facecore.types import CROP_SIZE
from facecore.zoo import registry
from facecore.zoo.autoencoder import FaceAutoencoder
from facecore.zoo.lstm import CONTEXT, WEEK, ActivityLstm, history_before

_EXAMPLE_HOURS = 4 * WEEK
_NUMBERS = {"type": "array", "items": {"type": "double"}}


def signature(task: str) -> dict[str, str]:
    """Inputs and outputs of a version for task "reconstruct" or "forecast", in MLflow's JSON form.

    reconstruct: in, `crop`, the bytes of a picture of 112×112 pixels with an aligned face; out,
    its `code`, the `error` of its reconstruction in grey levels, its `distance` from ordinary
    crops and the `rank` 0..1 among them; or `problem`, why that could not be said.

    forecast: in, `counts`, per hour, up to 1,344 of them (NaN: unknown), and `hour_of_week` of
    the first hour to forecast (0..167, Monday 0:00 is 0); out, `quantiles` of each hour ahead;
    or `problem`.
    """
    problem = {"name": "problem", "type": "string", "required": False}
    if task == "reconstruct":
        inputs: list[dict[str, Any]] = [{"name": "crop", "type": "binary", "required": True}]
        outputs = [
            {"name": "code", **_NUMBERS, "required": False},
            *({"name": n, "type": "double", "required": False} for n in _JUDGED),
            problem,
        ]
    else:
        inputs = [
            {"name": "counts", **_NUMBERS, "required": True},
            {"name": "hour_of_week", "type": "long", "required": True},
        ]
        hours = {"type": "array", "items": _NUMBERS}
        outputs = [{"name": "quantiles", **hours, "required": False}, problem]
    return {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs)}


_JUDGED = ("error", "distance", "rank")


def example(task: str, image: bytes) -> dict[str, Any]:
    """One row of input: a picture that shows nobody, or four weeks in which little happened."""
    if task == "reconstruct":
        return {"crop": image}
    hour = np.arange(_EXAMPLE_HOURS)
    counts = np.where((hour % 24 >= 8) & (hour % 24 < 18) & (hour % WEEK < 120), 5.0, 0.0)
    return {"counts": counts.tolist(), "hour_of_week": 0}


class CropService:
    """An autoencoder made of the files of one registered version.

    Args:
        artifacts: `weights.safetensors` and `contract.json` → local path.

    Raises:
        DigestMismatch: the weights are not those that the contract names.
        WeightsError: they are not of an autoencoder.
    """

    def __init__(self, artifacts: Mapping[str, str | Path]) -> None:
        network = _network(artifacts)
        if not isinstance(network, FaceAutoencoder):
            raise WeightsError(f"{type(network).__name__} does not reconstruct crops.")
        self._network, self._limits = network, Limits()

    @torch.inference_mode()
    def judge(self, files: Sequence[bytes]) -> list[dict[str, Any]]:
        """One answer per file, in order; see `signature`."""
        return [self._judge(data) for data in files]

    def _judge(self, data: bytes) -> dict[str, Any]:
        nothing: dict[str, Any] = dict.fromkeys(("code", *_JUDGED))
        try:
            pixels = decode(data, self._limits)
        except ImageRejected as rejected:
            return {**nothing, "problem": f"{rejected.reason}: {rejected}"}
        if pixels.shape != (CROP_SIZE, CROP_SIZE, 3):
            size = f"{pixels.shape[1]}×{pixels.shape[0]}"
            return {**nothing, "problem": f"the picture has {size} pixels, not 112×112."}
        crop = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
        features, error = self._network.features(crop)
        distance = self._network.distance(features)
        return {
            "code": features[0, : self._network.code].tolist(),
            "error": float(error),
            "distance": float(distance),
            "rank": float(self._network.rank(distance)),
            "problem": None,
        }


class HourService:
    """A forecaster made of the files of one registered version. Raises as `CropService` does."""

    def __init__(self, artifacts: Mapping[str, str | Path]) -> None:
        network = _network(artifacts)
        if not isinstance(network, ActivityLstm):
            raise WeightsError(f"{type(network).__name__} does not forecast activity.")
        self._network = network

    @torch.inference_mode()
    def forecast(self, rows: Sequence[tuple[Sequence[float], int]]) -> list[dict[str, Any]]:
        """One answer per (counts, hour of the week), in order; see `signature`."""
        return [self._forecast(counts, hour) for counts, hour in rows]

    def _forecast(self, counts: Sequence[float], hour_of_week: int) -> dict[str, Any]:
        values = np.asarray(counts, np.float64)
        if values.ndim != 1 or not np.isfinite(values).any() or (values < 0).any():
            return {"quantiles": None, "problem": "counts are numbers ≥ 0, one known at least."}
        if not 0 <= int(hour_of_week) < WEEK:
            return {"quantiles": None, "problem": f"hour_of_week is {hour_of_week}, not 0..167."}
        history = torch.from_numpy(history_before(values[-CONTEXT:], min(len(values), CONTEXT)))
        found = self._network(history[None], torch.tensor([int(hour_of_week)]))
        return {"quantiles": found[0].tolist(), "problem": None}


def _network(artifacts: Mapping[str, str | Path]) -> torch.nn.Module:
    contract = json.loads(Path(artifacts["contract.json"]).read_text(encoding="utf-8"))
    return registry.load(
        contract["model"], Path(artifacts["weights.safetensors"]), contract["weights_sha256"]
    )
