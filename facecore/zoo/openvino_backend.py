"""A torch network computed by OpenVINO on the CPU, compiled in memory.

The network is traced, read by OpenVINO's PyTorch frontend and compiled; or, where it was traced
and checked before, its graph is read from a `GraphStore`. `openvino.convert_model` is not used,
and the package that it sends usage statistics with (openvino_telemetry) is kept from being
imported.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from facecore.zoo.graph_store import GraphStore

_HINTS = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}


class NotExportable(Exception):
    """OpenVINO cannot take this network."""


class _ChannelsLast(nn.Module):
    """Takes pictures as they are decoded: uint8 `[n, h, w, 3]`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Tensor:
        output: Tensor = self.network(pictures.permute(0, 3, 1, 2))
        return output


class OpenVinoBackend:
    """See `backend.Backend`. Each call computes in the calling thread, on one core.

    The network is compiled twice: for batches of exactly the example's form, which is the
    fastest (5 to 8 %), and for smaller batches and other sizes. Those are cut into powers of
    two: OpenVINO keeps its own layout of the weights for every shape it has seen, so there must
    be few. And it is compiled once for each thread that calls at the same time: one that serves
    several hands every batch to a thread of its own, which waits for a core while another core
    idles (docs/performance.md: a fifth of the throughput). That costs the laid out weights once
    more.

    Args:
        example: shape `[n, h, w, 3]`; `n` (a power of two) is the largest batch at once.
        any_size: whether heights and widths vary.
        kept: where the graph may lie, and goes once it was checked.

    Attributes:
        checked: whether the graph was kept, that is, found to agree with the network before.

    Raises:
        NotExportable: with the reason.
    """

    name = "openvino"

    def __init__(
        self,
        network: nn.Module,
        dtype: torch.dtype,
        example: Sequence[int],
        *,
        any_size: bool = False,
        kept: GraphStore | None = None,
    ) -> None:
        if any(isinstance(module, nn.RNNBase) for module in network.modules()):
            raise NotExportable("recurrent networks are not traced.")
        self.dtype = dtype
        self._largest = 1 << (max(1, example[0]).bit_length() - 1)
        self._kept = kept
        self._form = {"example": list(example), "any_size": any_size, "dtype": str(dtype)}
        graph = None if kept is None else kept.read(_openvino(), self._form)
        self.checked = graph is not None
        if graph is None:
            graph = _export(network, example, any_size)
            if kept is not None:
                graph = kept.write(_openvino(), self._form, graph)
        self._any = graph
        self._fixed = None if any_size else self._any.clone()
        if self._fixed is not None:
            self._fixed.reshape([self._largest, *example[1:]])
        self._options = {
            "INFERENCE_PRECISION_HINT": _HINTS[dtype],
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": 1,
            # Pinning would put the threads of every process on the same cores.
            "ENABLE_CPU_PINNING": False,
            # What it keeps for each size it has seen (by default 5,000 entries, a few per layer
            # and size), so that memory does not grow with the variety of pictures.
            "CPU_RUNTIME_CACHE_CAPACITY": 500,
        }
        self._lock = threading.Lock()
        # Idle ones, by process and whether they are of the example's form; threads come and go.
        self._requests: dict[tuple[int, bool], list[Any]] = {}

    def confirm(self) -> None:
        """The output was checked: the graph may serve other processes."""
        if self._kept is not None and not self.checked:
            self._kept.confirm(_openvino(), self._form)
        self.checked = True

    def __call__(self, pictures: Tensor) -> Tensor:
        tensor_of, array = _openvino().Tensor, pictures.numpy()
        parts: list[Tensor] = []
        for part in _powers_of_two(len(array), self._largest):
            piece = array[part]
            fixed = self._fixed is not None and len(piece) == self._largest
            with self._request(fixed=fixed) as request:
                request.set_input_tensor(tensor_of(piece, shared_memory=True))
                request.infer()
                # A copy: the request writes its next output into the same memory.
                parts.append(torch.from_numpy(request.get_output_tensor(0).data.copy()))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @contextmanager
    def _request(self, *, fixed: bool) -> Iterator[Any]:
        """One that no other thread has."""
        # What OpenVINO compiled does not survive a fork, and cannot be freed after it: the
        # child compiles again and leaves its parent's alone.
        key = os.getpid(), fixed
        with self._lock:
            idle = self._requests.setdefault(key, [])
            request = idle.pop() if idle else None
        if request is None:
            graph = self._fixed if fixed else self._any
            compiled = _openvino().Core().compile_model(graph, "CPU", self._options)
            request = compiled.create_infer_request()
        try:
            yield request
        finally:
            idle.append(request)


def _openvino() -> Any:
    # None stands for a module that is not there: OpenVINO then takes its own stub instead.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def _powers_of_two(count: int, largest: int) -> Iterator[slice]:
    start = 0
    while start < count:
        size = min(largest, 1 << ((count - start).bit_length() - 1))
        yield slice(start, start + size)
        start += size


def _export(network: nn.Module, example: Sequence[int], any_size: bool) -> Any:
    openvino = _openvino()
    from openvino.frontend import FrontEndManager, GeneralFailure, OpConversionFailure
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    # Tracing computes the network; one picture is enough, and a small one where any will do.
    sides = (64, 64) if any_size else example[1:3]
    pictures = torch.zeros(1, *sides, example[3], dtype=torch.uint8)
    wrapped = _ChannelsLast(network).eval()
    try:
        # Shape checks become constants while tracing, of which torch warns each time.
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced = TorchScriptPythonDecoder(
                wrapped, example_input=(pictures,), trace_kwargs={"check_trace": False}
            )
        frontend = FrontEndManager().load_by_framework("pytorch")
        graph = frontend.convert(frontend.load(traced))
        sizes = [-1, -1] if any_size else list(example[1:3])
        (parameter,) = [one.get_node() for one in graph.inputs]
        parameter.set_partial_shape(openvino.PartialShape([-1, *sizes, example[3]]))
        parameter.set_element_type(openvino.Type.u8)
        graph.validate_nodes_and_infer_types()
    except (RuntimeError, ValueError, GeneralFailure, OpConversionFailure) as error:
        said = [line for line in str(error).splitlines() if line.strip()]
        raise NotExportable(said[-1] if said else type(error).__name__) from error
    return graph
