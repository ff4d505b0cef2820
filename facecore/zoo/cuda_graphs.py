"""A network's kernels launched in one go on a GPU.

A small network is some hundred kernels of a few microseconds each. Launched one by one from
Python, every one of them needs the interpreter, beside the threads that decode and fetch. A CUDA
graph (NVIDIA, "CUDA C++ Programming Guide", CUDA Graphs) is recorded once for a shape and then
launched as a whole. torch.compile could join the kernels besides, but needs a C compiler and up to
a minute in every process, on every machine.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_log = logging.getLogger(__name__)

_Shape = tuple[int, ...]
# A shape is recorded when it comes again: pictures of a thousand sizes are not worth it.
_SEEN_BEFORE = 1
_MOST_GRAPHS = 32
# Parts of a batch are of few sizes: powers of two. What is left is launched kernel by kernel.
_LEAST_ROWS = 64
_MOST_ROWS = 512


class GraphedNetwork:
    """Computes what `network` does; any thread may call it, on a stream of its own.

    Args:
        network: laid out for `device`; it must not wait for the device while it computes. One
            that does is computed kernel by kernel, which is logged.
        device: a CUDA device.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._network = network
        self._device = device
        self._lock = threading.Lock()
        self._seen: Counter[_Shape] = Counter()
        self._graphs: dict[_Shape, _Recorded | None] = {}
        self._pool = torch.cuda.graph_pool_handle()
        # All graphs compute in the same memory: one begins when the one before has ended.
        self._ended = torch.cuda.Event()  # type: ignore[no-untyped-call]

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> Tensor:
        """uint8 `[n, c, h, w]` on the device, channels_last → the network's output, `[n, …]`."""
        parts = torch.split(pictures, pieces(len(pictures)))
        outputs = [self._part(part) for part in parts]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _part(self, pictures: Tensor) -> Tensor:
        if len(pictures) >= _LEAST_ROWS:
            with self._lock:
                recorded = self._recorded(tuple(pictures.shape))
                if recorded is not None:
                    return self._replay(recorded, pictures)
        output: Tensor = self._network(pictures)
        return output

    def _recorded(self, shape: _Shape) -> _Recorded | None:
        if shape in self._graphs:
            return self._graphs[shape]
        self._seen[shape] += 1
        if self._seen[shape] <= _SEEN_BEFORE or len(self._graphs) >= _MOST_GRAPHS:
            return None
        try:
            self._graphs[shape] = self._record(shape)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            _log.warning(
                "%s cannot be recorded as a CUDA graph and is launched kernel by kernel: %s",
                *(type(self._network).__name__, error),
            )
            self._graphs[shape] = None
        return self._graphs[shape]

    def _record(self, shape: _Shape) -> _Recorded:
        pictures = torch.empty(
            shape, dtype=torch.uint8, device=self._device, memory_format=torch.channels_last
        ).zero_()
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            self._network(pictures)  # libraries make their plans and workspaces
        graph = torch.cuda.CUDAGraph()
        # Other threads go on meanwhile: what they ask of CUDA must not break the recording.
        with torch.cuda.graph(
            graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"
        ):
            output = self._network(pictures)
        return _Recorded(graph, pictures, output)

    def _replay(self, recorded: _Recorded, pictures: Tensor) -> Tensor:
        stream = torch.cuda.current_stream(self._device)
        stream.wait_event(self._ended)
        recorded.pictures.copy_(pictures, non_blocking=True)
        recorded.graph.replay()
        output = recorded.output.clone()
        self._ended.record(stream)
        return output


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A graph and the memory it reads and writes."""

    graph: torch.cuda.CUDAGraph
    pictures: Tensor
    output: Tensor


def pieces(rows: int) -> list[int]:
    """Sizes of the parts of a batch: full ones, then powers of two, then a small rest."""
    parts = [_MOST_ROWS] * (rows // _MOST_ROWS)
    rest = rows % _MOST_ROWS
    while rest >= _LEAST_ROWS:
        parts.append(1 << (rest.bit_length() - 1))
        rest -= parts[-1]
    return [*parts, rest] if rest or not parts else parts
