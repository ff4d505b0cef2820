"""What a run was made with: packages, machine, device."""

from __future__ import annotations

import platform
from importlib.metadata import version

import torch

_PACKAGES = (
    "facecore",
    "torch",
    "torchvision",
    "lightning",
    "torchmetrics",
    "pytorch-metric-learning",
    "numpy",
)


def environment(device: torch.device) -> dict[str, str]:
    """Name → value, for the record of a run."""
    found = {name: version(name) for name in _PACKAGES}
    found["python"] = platform.python_version()
    found["platform"] = platform.platform()
    found["device"] = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    ) or device.type
    found["threads"] = str(torch.get_num_threads())
    return found
