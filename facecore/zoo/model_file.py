"""A trained network as one safetensors file that says what it holds.

The header's `__metadata__` carries the model's registered name and its options, so a file can
be loaded without knowing how the network was built. The same network always makes the same
bytes: safetensors writes metadata in random order, so the header is written anew, sorted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facecore.errors import WeightsError

_MODEL, _OPTIONS = "facecore.model", "facecore.options"
_LENGTH_BYTES = 8
# What safetensors itself accepts.
_LONGEST_HEADER = 100_000_000


def encode(state: Mapping[str, Tensor], model: str, options: Mapping[str, Any]) -> bytes:
    """The content of a file: tensors, name and options.

    Raises:
        WeightsError: a tensor holds NaN or infinity.
    """
    from safetensors.torch import save

    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise WeightsError(
                f"{model}: tensor {name} holds NaN or infinity; it was not saved.",
                remedy="Train with a lower learning rate, warm-up or gradient clipping.",
            )
    # A copy in plain row-major order each: safetensors takes neither channels_last nor shared
    # memory.
    plain = {
        name: state[name].detach().to("cpu").clone(memory_format=torch.contiguous_format)
        for name in sorted(state)
    }
    content: bytes = save(plain)
    end = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    header = json.loads(content[_LENGTH_BYTES:end])
    header["__metadata__"] = {_MODEL: model, _OPTIONS: json.dumps(dict(options), sort_keys=True)}
    written = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    written += b" " * (-len(written) % _LENGTH_BYTES)  # tensors start at a multiple of 8 bytes
    return len(written).to_bytes(_LENGTH_BYTES, "little") + written + content[end:]


def read_description(path: Path) -> tuple[str | None, dict[str, Any]]:
    """Model name and options that a safetensors file states; (None, {}) where it states none.

    Only the header is read. It says what the file claims; `registry.load` checks the digest.

    Raises:
        WeightsError: the file cannot be read or is not safetensors.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            start = file.read(length) if length <= _LONGEST_HEADER else b""
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    return description(length.to_bytes(_LENGTH_BYTES, "little") + start, str(path))


def description(content: bytes, where: str) -> tuple[str | None, dict[str, Any]]:
    """As `read_description`, of a file's content (its header is enough).

    Args:
        where: what to call the file in an error.
    """
    end = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    refused = WeightsError(f"{where} is not a safetensors file, or is damaged.")
    if len(content) < min(end, _LONGEST_HEADER):
        raise refused
    try:
        stated = json.loads(content[_LENGTH_BYTES:end]).get("__metadata__", {})
        options = json.loads(stated.get(_OPTIONS, "{}"))
    except (ValueError, AttributeError, TypeError) as error:
        raise refused from error
    if not isinstance(options, dict):
        raise refused
    return stated.get(_MODEL), options
