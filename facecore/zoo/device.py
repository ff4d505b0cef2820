"""Where and in which precision networks run on this machine."""

from __future__ import annotations

import logging
import os
import time
from functools import lru_cache
from pathlib import Path

import torch

from facecore.errors import ConfigError, DeviceUnavailable

_log = logging.getLogger(__name__)

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# bf16 must be faster by this much to be worth its rounding.
_WORTHWHILE = 1.25


def resolve_device(device: str = "auto") -> torch.device:
    """`auto` takes CUDA when there is one, else the CPU; anything else is taken at its word.

    Raises:
        DeviceUnavailable: CUDA was asked for and is absent (there is no silent fallback).
        ConfigError: not a device this library knows.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device {device!r} is not one of auto, cpu, cuda, cuda:N.") from error
    if chosen.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {device!r} is not one of auto, cpu, cuda, cuda:N.")
    present = torch.cuda.device_count() if chosen.type == "cuda" else 1
    if chosen.type == "cuda" and (chosen.index or 0) >= present:
        raise DeviceUnavailable(
            device,
            f"device {device!r} was asked for, but torch {torch.__version__} sees"
            f" {present} CUDA devices.",
            remedy="Check the driver and CUDA_VISIBLE_DEVICES, or set device to auto or cpu.",
        )
    return chosen


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """dtype the embedder computes in.

    `auto` is bf16 where the hardware gains from it: on CUDA always; on a CPU it is timed once
    per process (a few milliseconds), because the instruction flags do not tell: AVX512-BF16 is
    twice as fast as fp32 on some cores and half as fast on others.

    Raises:
        ConfigError: not a precision this library knows, or not one this device can use.
    """
    if precision == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return torch.bfloat16 if _bf16_pays_on_cpu() else torch.float32
    if precision not in _DTYPES:
        raise ConfigError(f"precision {precision!r} is not one of auto, {', '.join(_DTYPES)}.")
    if precision == "fp16" and device.type == "cpu":
        raise ConfigError("precision 'fp16' needs CUDA; on a CPU use fp32, bf16 or auto.")
    return _DTYPES[precision]


@lru_cache(maxsize=1)
def _bf16_pays_on_cpu() -> bool:
    seconds = {dtype: _time_convolution(dtype) for dtype in (torch.float32, torch.bfloat16)}
    gain = seconds[torch.float32] / seconds[torch.bfloat16]
    _log.debug("bf16 is %.2f times as fast as fp32 on this CPU", gain)
    return gain >= _WORTHWHILE


def _time_convolution(dtype: torch.dtype) -> float:
    """CPU time (s) of the layer that dominates the embedder, in `dtype`; best of several runs.

    One thread and its own CPU clock, so that a busy machine does not decide.
    """
    weight = torch.ones(512, 512, 1, 1, dtype=dtype).to(memory_format=torch.channels_last)
    pixels = torch.ones(2, 512, 14, 14, dtype=dtype).to(memory_format=torch.channels_last)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    best = float("inf")
    try:
        with torch.inference_mode():
            for _ in range(6):
                start = time.thread_time()
                torch.conv2d(pixels, weight)
                best = min(best, time.thread_time() - start)
    finally:
        torch.set_num_threads(threads)
    return best


def usable_cores() -> int:
    """Cores this process may use: its affinity, bounded by the container's CPU quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(cores or 1, _quota(Path("/sys/fs/cgroup"))))


def _quota(cgroup: Path) -> int:
    """Whole cores the control group (version 2 or 1) grants; a huge number when unlimited."""
    unlimited = 1 << 16
    for quota_file, period_file in (
        ("cpu.max", None),
        ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"),
    ):
        try:
            fields = (cgroup / quota_file).read_text().split()
            if period_file is not None:
                fields += (cgroup / period_file).read_text().split()
        except OSError:
            continue  # that version of control groups is not mounted here
        if len(fields) == 2 and fields[0] not in ("max", "-1"):
            return max(1, int(fields[0]) // int(fields[1]))
    return unlimited


def use_threads(threads: int = 0) -> int:
    """Let torch compute with `threads` threads in this process (0: all usable cores)."""
    chosen = threads or usable_cores()
    torch.set_num_threads(chosen)
    return chosen
