"""Published ONNX file → the affine layers it holds, dequantised, BatchNorm folded.

OpenCV Zoo publishes block-quantised files: each weight is int8 with one scale and zero point
per block of 64 values along its second axis (`DequantizeLinear`, ONNX opset 21). That costs
time at every call and nothing but disk is gained, so it is undone once, here. All arithmetic
is float64 and rounded to float32 at the end, so every machine makes the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from facecore.errors import WeightsError

Array = npt.NDArray[Any]


_WITHOUT_WEIGHTS = frozenset(
    {"Relu", "MaxPool", "Resize", "Add", "Sub", "Mul", "Transpose", "Reshape", "Sigmoid"}
    | {"Constant", "Dropout", "Flatten"}
)


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer with weights, in graph order.

    Attributes:
        op: "conv", "linear", "prelu" or "scale" (a BatchNorm that follows no affine layer:
            `weight` is its factor and `bias` its shift, per channel).
        input, output: names of the tensors in the graph that go in and come out.
        weight: float64; conv `[out, in/groups, k, k]`, linear `[out, in]`, prelu `[channels]`.
        bias: float64 `[out]`; zeros where the file has none.
    """

    op: str
    input: str
    output: str
    weight: Array
    bias: Array


def dequantise(quantised: Array, scale: Array, zero_point: Array, axis: int, block: int) -> Array:
    """`(q - zero_point) * scale`, where each scale covers `block` values along `axis`."""
    if block == 0:  # per tensor or per axis
        shape = [1] * quantised.ndim
        if scale.ndim == 1:
            shape[axis] = -1
        scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
    else:
        take = np.arange(quantised.shape[axis]) // block
        scale, zero_point = scale.take(take, axis), zero_point.take(take, axis)
    return (quantised.astype(np.float64) - zero_point.astype(np.float64)) * scale.astype(np.float64)


def read_layers(path: Path) -> list[Layer]:
    """All layers with weights of an ONNX file, in graph order.

    Raises:
        WeightsError: the file is not ONNX, or holds an operator with weights that is not
            understood (nothing is ever skipped silently).
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        graph = onnx.load(str(path)).graph
    except (DecodeError, OSError) as error:
        raise WeightsError(f"{path} cannot be read as ONNX: {error}.") from error
    reader = _Reader(path.name, {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer})
    for node in graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        reader.read(node.op_type, list(node.input), node.output[0], attributes)
    return reader.layers


class _Reader:
    """Walks the nodes of a graph: constants are computed, layers with weights collected."""

    def __init__(self, file: str, constants: dict[str, Array]) -> None:
        self.layers: list[Layer] = []
        self._file = file
        self._constants = constants
        self._made_by: dict[str, int] = {}  # tensor → index of the layer it comes from

    def read(self, op: str, inputs: list[str], output: str, attributes: dict[str, Any]) -> None:
        match op:
            case "DequantizeLinear":
                quantised, scale = self._constant(inputs[0]), self._constant(inputs[1])
                zero = self._constant(inputs[2]) if len(inputs) > 2 else np.zeros_like(scale)
                self._constants[output] = dequantise(
                    quantised,
                    scale,
                    zero,
                    attributes.get("axis", 1),
                    attributes.get("block_size", 0),
                )
            case "Reshape" if inputs[0] in self._constants:
                shape = self._constant(inputs[1])
                self._constants[output] = self._constant(inputs[0]).reshape(shape)
            case "Conv":
                self._add("conv", inputs, output)
            case "Gemm" if attributes.get("transB") == 1:
                self._add("linear", inputs, output)
            case "PRelu":
                slope = self._constant(inputs[1]).reshape(-1)
                self._append("prelu", inputs[0], output, slope, np.zeros(slope.size))
            case "BatchNormalization":
                self._batch_norm(inputs, output, float(attributes["epsilon"]))
            case _ if op not in _WITHOUT_WEIGHTS:
                raise WeightsError(f"{self._file}: operator {op} ({output}) is not understood.")

    def _constant(self, name: str) -> Array:
        if name not in self._constants:
            raise WeightsError(f"{self._file}: {name} is computed, not a constant.")
        return self._constants[name]

    def _add(self, op: str, inputs: list[str], output: str) -> None:
        weight = self._constant(inputs[1])
        bias = self._constant(inputs[2]) if len(inputs) > 2 else np.zeros(len(weight))
        self._append(op, inputs[0], output, weight, bias)

    def _append(self, op: str, source: str, output: str, weight: Array, bias: Array) -> None:
        self._made_by[output] = len(self.layers)
        double = (weight.astype(np.float64), bias.astype(np.float64))
        self.layers.append(Layer(op, source, output, *double))

    def _batch_norm(self, inputs: list[str], output: str, epsilon: float) -> None:
        gamma, beta, mean, variance = (
            self._constant(name).astype(np.float64) for name in inputs[1:]
        )
        factor = gamma / np.sqrt(variance + epsilon)
        shift = beta - mean * factor
        before = self._made_by.get(inputs[0])
        if before is None or self.layers[before].op not in ("conv", "linear"):
            self._append("scale", inputs[0], output, factor, shift)
            return
        layer = self.layers[before]
        per_output = factor.reshape(-1, *[1] * (layer.weight.ndim - 1))
        self.layers[before] = replace(
            layer,
            output=output,
            weight=layer.weight * per_output,
            bias=layer.bias * factor + shift,
        )
        self._made_by[output] = before
