"""The published network as plain float32 ONNX, for other engines: parity tests and benchmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facecore.zoo.onnx_import import dequantise

# Nothing in these graphs needs a newer operator set once the quantised weights are gone.
_OPSET, _IR_VERSION = 13, 8


def write_dequantised(published: Path, target: Path) -> Path:
    """Copy an ONNX file with block-quantised weights as one with float32 weights.

    The graph is otherwise untouched (BatchNorm and all), so an engine that reads `target`
    computes what the publisher meant.

    Returns:
        `target`.
    """
    import onnx

    graph = onnx.load(str(published)).graph
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    computed: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = {}
    nodes = []
    for node in graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "DequantizeLinear":
            quantised, scale, zero_point = (constants[name] for name in node.input)
            axis, block = attributes.get("axis", 1), attributes.get("block_size", 0)
            values = dequantise(quantised, scale, zero_point, axis, block)
            computed[node.output[0]] = values.astype(np.float32)
        elif node.op_type == "Reshape" and node.input[0] in computed:
            shape = constants[node.input[1]]
            computed[node.output[0]] = computed[node.input[0]].reshape(shape)
        else:
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    weights = [t for t in graph.initializer if t.name in used] + [
        onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)
        for name, value in computed.items()
        if name in used
    ]
    inputs = [value for value in graph.input if value.name not in constants]
    inputs = [value for value in inputs if value.name in used and value.name not in computed]
    plain = onnx.helper.make_graph(nodes, graph.name, inputs, list(graph.output), weights)
    opsets = [onnx.helper.make_opsetid("", _OPSET)]
    model = onnx.helper.make_model(plain, opset_imports=opsets, ir_version=_IR_VERSION)
    onnx.save(model, str(target))
    return target
