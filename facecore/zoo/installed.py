"""Which engine computes networks on this machine's CPU. Needs no torch, so that it is quick."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def cpu_engine() -> tuple[str, str]:
    """Name of the backend that is used where a network allows it, and why, in words."""
    try:
        return "openvino", f"OpenVINO {version('openvino')}"
    except PackageNotFoundError:
        return "torch", "OpenVINO is not installed; with it a CPU is faster (docs/performance.md)"
