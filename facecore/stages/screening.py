"""Vectors rounded to fewer bits, and how far a product of rounded vectors can be off.

A product of 8-bit integers takes a fraction of the time of one in float32. With the rounding of
each vector known, it bounds the product it stands for (Cauchy-Schwarz):

    |q·r - q̂·r̂| = |(q - q̂)·r + q̂·(r - r̂)| ≤ ‖q - q̂‖ ‖r‖ + ‖q̂‖ ‖r - r̂‖

so pairs that cannot be near enough are dropped for certain, and the few that are left are
computed in float32. Nothing is estimated: the answer is the one of float32.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from facecore.errors import ConfigError

_log = logging.getLogger(__name__)

# References that share a scale and a bound, and are looked at together.
GROUP = 64

_DTYPES = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "int8": torch.int8,
}
PRECISIONS = ("auto", *_DTYPES)

# Products of 16-bit floats come out rounded, and may be rounded on the way (split sums).
_ROUNDINGS = 4
# Of a float32 sum over some hundred terms of unit vectors, generously.
_FLOAT32_ERROR = 1e-5

# Beyond every product of 8-bit vectors.
_ANY_PRODUCT = 1 << 30
# Numbers that are rounded at once: they stay in a core's cache.
_CACHED_VALUES = 1 << 18

# Rounding the references costs as much as this many queries gain by it.
_FEWEST_QUERIES = 512
# 8-bit products on CUDA want more rows than 16.
_FEWEST_OF_INT8 = 17
# 8-bit products must be faster by this much to be worth it.
_WORTHWHILE = 1.5


@dataclass(frozen=True, slots=True)
class Rounded:
    """Vectors rounded to fewer bits, group by group.

    Attributes:
        values: `[n, d]`, of the precision; a vector is about `values * scale`.
        scale: float32 `[groups]`.
        error: float32 `[groups]`: longest difference of a vector of the group from its rounding.
        length: float32 `[groups]`: longest rounded vector of the group.
    """

    values: Tensor
    scale: Tensor
    error: Tensor
    length: Tensor


def resolve_precision(
    precision: str, device: torch.device, queries: int, *, selective: bool = True
) -> torch.dtype:
    """dtype in which products are screened; float32: they are not.

    `auto` is what is fastest: fp16 on CUDA; on a CPU int8 where it pays, which is timed once per
    process; fp32 for few queries.

    Args:
        selective: whether few pairs pass the screen; of many, computing them again costs more
            than the screen saves.

    Raises:
        ConfigError: not a precision this module knows.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}.")
    if precision == "int8" and queries < _FEWEST_OF_INT8:
        return torch.float32
    if precision != "auto":
        return _DTYPES[precision]
    if queries < _FEWEST_QUERIES or not selective:
        return torch.float32
    if device.type == "cuda":
        return torch.float16
    return torch.int8 if _int8_pays_on_cpu() else torch.float32


def rounded(vectors: Tensor, dtype: torch.dtype, group: int) -> Rounded:
    """Round vectors, float32 `[n, d]`, in groups of consecutive ones; `group` divides `n`."""
    missing = -vectors.shape[1] % 8 if dtype is torch.int8 else 0  # what CUDA's products need
    values = vectors.new_zeros((len(vectors), vectors.shape[1] + missing), dtype=dtype)
    scale = vectors.new_ones(len(vectors) // group)
    error, length = torch.empty_like(scale), torch.empty_like(scale)
    step = max(1, _CACHED_VALUES // (group * vectors.shape[1]))
    if vectors.is_cuda:
        step = max(1, len(scale))  # in one go: there every operation has to be launched
    for start in range(0, len(scale), step):
        part = slice(start, start + step)
        rows = slice(start * group, (start + step) * group)
        exact = vectors[rows]
        if dtype is torch.int8:
            by_group = exact.view(-1, group * vectors.shape[1])
            largest = torch.maximum(by_group.amax(1), -by_group.amin(1))
            scale[part] = largest.clamp_min(torch.finfo(torch.float32).tiny) / 127
            near = (by_group / scale[part, None]).round_().view(exact.shape)
            values[rows, : vectors.shape[1]] = near
            back = (near.view(by_group.shape).mul_(scale[part, None])).view(exact.shape)
        else:
            values[rows] = exact
            back = values[rows].float()
        length[part] = _longest(back, group)
        error[part] = _longest(back.sub_(exact), group)
    return Rounded(values, scale, error, length)


def product_type(dtype: torch.dtype) -> torch.dtype:
    """dtype of the products of values of a dtype."""
    return torch.int32 if dtype is torch.int8 else dtype


def products(queries: Tensor, references: Tensor, out: Tensor) -> Tensor:
    """Products `[q, r]` of rounded values.

    Args:
        out: where they go: int32 of int8, else of the values' dtype; `q * r` values or more. To
            use the same memory again is half the time.
    """
    shape = len(queries), len(references)
    into = out[: shape[0] * shape[1]].view(shape)
    if queries.dtype is torch.int8:
        return torch._int_mm(queries, references.T, out=into)
    return torch.mm(queries, references.T, out=into)


def limits(bars: Tensor, queries: Rounded, references: Rounded) -> Tensor:
    """What a product of rounded values must exceed for the true one to exceed a bar.

    Args:
        bars: float32 `[q]`; `queries` are in groups of one.

    Returns:
        float32, or int32 of int8, `[q, groups of references]`.
    """
    dtype = queries.values.dtype
    longest = (references.length + references.error).max()
    off = 0.0 if dtype is torch.int8 else _ROUNDINGS * torch.finfo(dtype).eps
    slack = queries.error * longest + queries.length * longest * (off + _FLOAT32_ERROR)
    # (bar - slack - length of q * error of the group) / (scale of q * scale of the group)
    left = torch.stack([bars - slack, -queries.length], 1) / queries.scale[:, None]
    right = torch.stack([torch.ones_like(references.error), references.error]) / references.scale
    limit = left @ right
    if dtype is torch.int8:  # whole numbers, compared as such
        limit = limit.floor_().clamp_(-_ANY_PRODUCT, _ANY_PRODUCT).int()
    return limit


def _longest(vectors: Tensor, group: int) -> Tensor:
    """Length of the longest vector of each group."""
    squares = (vectors * vectors).sum(1)  # three times as fast as torch's norm on a CPU
    return squares.view(-1, group).amax(1).sqrt_()


@lru_cache(maxsize=1)
def _int8_pays_on_cpu() -> bool:
    seconds = {dtype: _time_products(dtype) for dtype in (torch.float32, torch.int8)}
    gain = seconds[torch.float32] / seconds[torch.int8]
    _log.debug("8-bit products are %.2f times as fast as float32 on this CPU", gain)
    return gain >= _WORTHWHILE


def _time_products(dtype: torch.dtype) -> float:
    """CPU time (s) of a block of products; best of several runs, one thread, its own clock."""
    queries, references = torch.ones(256, 128).to(dtype), torch.ones(2048, 128).to(dtype)
    out = torch.empty(256 * 2048, dtype=product_type(dtype))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    best = float("inf")
    try:
        with torch.inference_mode():
            for _ in range(5):
                start = time.thread_time()
                products(queries, references, out)
                best = min(best, time.thread_time() - start)
    finally:
        torch.set_num_threads(threads)
    return best
