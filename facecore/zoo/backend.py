"""What computes a network: one method from a batch of pictures to the network's output.

The zoo's torch module is the only source of weights. A backend is made from it in memory when
it is loaded: torch itself (any network, any device), or OpenVINO on CPUs, which is faster
(docs/adr/0007-openvino-computes-on-cpus.md has the comparison) and refuses what it cannot
compute exactly. Which one computes is always said: in the log, and by `Backend.name`.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facecore.errors import ConfigError
from facecore.zoo.cuda_graphs import GraphedNetwork
from facecore.zoo.installed import cpu_engine
from facecore.zoo.placement import place

if TYPE_CHECKING:
    from facecore.zoo.graph_store import GraphStore
    from facecore.zoo.openvino_backend import OpenVinoBackend

_log = logging.getLogger(__name__)

BACKENDS = ("auto", "torch", "openvino")
# Cosine of each row of the output with that of plain float32, at least, by precision. Rounding
# alone costs less: a network for which it costs more must not be computed that way.
AGREEMENT = {torch.float32: 0.99999, torch.bfloat16: 0.999, torch.float16: 0.999}
_AGREEMENT_OF_TF32 = 0.9999  # what CUDA's convolutions make of float32
_CHECKED_PICTURES = 3  # not a power of two: batches are cut into those
_CHECKED_SIDE_PX = 96  # where the network takes any size


class Backend(Protocol):
    """A network ready for inference; any thread may call it, several at a time.

    Attributes:
        name: torch or openvino.
        dtype: what it computes in; the output is float32 all the same.
    """

    name: str
    dtype: torch.dtype

    def __call__(self, pictures: Tensor) -> Tensor:
        """uint8 RGB `[n, h, w, 3]`, contiguous → the network's output of `[n, 3, h, w]`."""
        ...


class TorchBackend:
    """The network itself, laid out for the device; see `placement.place`.

    Args:
        example: shape `[n, h, w, 3]` of a typical input.
    """

    name = "torch"

    def __init__(
        self, network: nn.Module, device: torch.device, dtype: torch.dtype, example: Sequence[int]
    ) -> None:
        self.dtype = dtype
        self._device = device
        count, height, width, channels = example
        self._network = place(network, device, dtype, (count, channels, height, width))
        self._run: Callable[[Tensor], Tensor] = self._network
        if device.type == "cuda":
            self._run = GraphedNetwork(self._network, device)

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> Tensor:
        on_device = pictures.to(self._device, non_blocking=True)
        return self._run(on_device.permute(0, 3, 1, 2)).float()


def make_backend(
    network: nn.Module,
    device: torch.device,
    dtype: torch.dtype,
    example: Sequence[int],
    *,
    wanted: str = "auto",
    any_size: bool = False,
    kept: GraphStore | None = None,
) -> Backend:
    """The backend for `network` on `device`: OpenVINO on a CPU that has it, else torch.

    Where a lower precision than float32 does not keep to `AGREEMENT`, float32 is used; where
    OpenVINO is absent or does not compute this network exactly, torch is. Both are logged.

    Args:
        example: shape `[n, h, w, 3]` of a typical input; `n` is the largest batch.
        wanted: one of `BACKENDS`.
        any_size: whether heights and widths vary.
        kept: where graphs of these weights that were checked before lie, which saves the check.

    Raises:
        ConfigError: `wanted` is unknown, or cannot be had for this network and device.
    """
    if wanted not in BACKENDS:
        raise ConfigError(f"backend {wanted!r} is not one of {', '.join(BACKENDS)}.")
    if wanted == "openvino" and device.type != "cpu":
        raise ConfigError(
            f"backend 'openvino' computes on a CPU, not on {device}.",
            remedy="Set backend to auto, or device to cpu.",
        )
    if wanted == "auto":
        wanted = getattr(network, "cpu_backend", "auto")  # what its author measured
    sides = (_CHECKED_SIDE_PX,) * 2 if any_size else example[1:3]
    check = _Check(network, (_CHECKED_PICTURES, *sides, example[3]))
    for candidate in (dtype, torch.float32) if dtype != torch.float32 else (dtype,):
        if wanted != "torch" and device.type == "cpu":
            made = _openvino(network, candidate, example, any_size, wanted, kept)
            if made is not None and (made.checked or check.agrees(made)):
                made.confirm()
                return made
        placed = TorchBackend(network, device, candidate, example)
        if check.agrees(placed, on_cuda=device.type == "cuda"):
            if wanted == "openvino":
                break
            return placed
    if wanted == "openvino":
        raise ConfigError(
            f"OpenVINO cannot compute {type(network).__name__}.", remedy="Set backend to auto."
        )
    # Not even torch in float32 repeats itself: a broken build, or weights that overflow.
    raise ConfigError(
        f"{type(network).__name__} gives other results on {device} than it should.",
        remedy="Check this build of torch, or set device to cpu.",
    )


@lru_cache(maxsize=1)
def _tell_absence() -> None:
    """Once per process."""
    _log.warning("torch computes: %s.", cpu_engine()[1])


def _openvino(
    network: nn.Module,
    dtype: torch.dtype,
    example: Sequence[int],
    any_size: bool,
    wanted: str,
    kept: GraphStore | None,
) -> OpenVinoBackend | None:
    if cpu_engine()[0] == "torch":
        if wanted == "openvino":
            raise ConfigError(
                "backend 'openvino' was asked for and is not installed.",
                remedy="pip install openvino, or set backend to auto.",
            )
        _tell_absence()
        return None
    from facecore.zoo.openvino_backend import NotExportable, OpenVinoBackend

    try:
        return OpenVinoBackend(network, dtype, example, any_size=any_size, kept=kept)
    except NotExportable as error:
        _log.warning("%s: torch computes. %s", type(network).__name__, error)
        return None


class _Check:
    """Holds backends against what the network itself, in float32, makes of three pictures."""

    def __init__(self, network: nn.Module, shape: Sequence[int]) -> None:
        self._network, self._shape = network, shape

    @cached_property
    def _pictures(self) -> Tensor:
        return _smooth_noise(self._shape)

    @cached_property
    def _expected(self) -> Tensor:
        plain = self._network
        if plain.training or any(
            t.device.type != "cpu" or t.dtype != torch.float32 for t in plain.parameters()
        ):
            plain = copy.deepcopy(plain).cpu().float().eval()
        with torch.inference_mode():
            output: Tensor = plain(self._pictures.permute(0, 3, 1, 2))
        return output.float().flatten(1)

    def agrees(self, backend: Backend, *, on_cuda: bool = False) -> bool:
        """Whether it computes what the network does; what it raises counts as no."""
        try:
            found = backend(self._pictures).cpu().flatten(1)
        except RuntimeError as error:
            _log.warning("%s in %s fails: %s", backend.name, backend.dtype, error)
            return False
        least = AGREEMENT[backend.dtype]
        if on_cuda:
            least = min(least, _AGREEMENT_OF_TF32)
        worst = float("nan")
        if found.shape == self._expected.shape:
            worst = float(F.cosine_similarity(found, self._expected, dim=1).min())
            if worst >= least:
                return True
        _log.warning(
            "%s in %s agrees with float32 to a cosine of %.5f only (%.5f is needed): not used.",
            *(backend.name, backend.dtype, worst, least),
        )
        return False


def _smooth_noise(shape: Sequence[int]) -> Tensor:
    """Pictures with detail at every scale, the same every time: uint8 `[n, h, w, 3]`."""
    count, height, width, channels = shape
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(count, channels, height, width)
    for side in (4, 16, 64):
        coarse = torch.rand(count, channels, side, side, generator=generator)
        total += F.interpolate(coarse, (height, width), mode="bilinear") / 3
    return (total * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
