"""Training state on disk without pickle: one safetensors file, everything else JSON in its header.

Lightning's own checkpoints are pickles, which run code when they are loaded. This plugin writes
the same state (weights, optimiser, schedules, progress of the loops) as tensors and plain
values, so that loading can do nothing but read.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from torch import Tensor

from facecore.errors import WeightsError
from facecore.zoo.weights import write_atomically

_STATE = "facecore.state"
# Python values JSON does not have, written as {_KIND: kind, "is": value}.
_KIND = "\u0000"


class SafetensorsCheckpoint(CheckpointIO):
    """Lightning's checkpoint files as safetensors."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write the state in one step: the file is there wholly or not at all."""
        from safetensors.torch import save

        tensors: dict[str, Tensor] = {}
        plain = json.dumps(_encode(checkpoint, tensors))
        write_atomically(Path(path), save(tensors, metadata={_STATE: plain}))

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read what `save_checkpoint` wrote; nothing in the file is executed.

        Raises:
            WeightsError: the file is missing, damaged or not a checkpoint.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="pt") as file:
                state = json.loads((file.metadata() or {})[_STATE])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise WeightsError(
                f"{path} is not a training checkpoint, or is damaged: {error}.",
                remedy="Start a new run.",
            ) from error
        decoded: dict[str, Any] = _decode(state, tensors)
        return decoded

    def remove_checkpoint(self, path: Any) -> None:
        """Delete the file."""
        Path(path).unlink(missing_ok=True)


def _encode(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        # A plain copy: safetensors takes neither shared memory nor channels_last.
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {_KIND: "tensor", "is": name}
    if isinstance(value, dict):
        return {
            _KIND: "dict",
            "is": [[_encode(k, tensors), _encode(v, tensors)] for k, v in value.items()],
        }
    if isinstance(value, list):
        return [_encode(item, tensors) for item in value]
    if isinstance(value, tuple):
        return {_KIND: "tuple", "is": [_encode(item, tensors) for item in value]}
    if isinstance(value, float) and not math.isfinite(value):
        return {_KIND: "float", "is": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint holds tensors and plain values, not {type(value).__name__}")


def _decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    content = value["is"]
    match value[_KIND]:
        case "tensor":
            return tensors[content]
        case "dict":
            return {_decode(k, tensors): _decode(v, tensors) for k, v in content}
        case "tuple":
            return tuple(_decode(item, tensors) for item in content)
        case "float":
            return float(content)
        case kind:
            raise ValueError(f"unknown kind {kind!r}")
