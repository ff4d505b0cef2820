import onnx

from facecore.zoo.onnx_export import write_dequantised


def test_nothing_quantised_is_left(published, tmp_path):
    graph = onnx.load(str(write_dequantised(published["sface"], tmp_path / "s.onnx"))).graph
    assert not [node for node in graph.node if node.op_type == "DequantizeLinear"]
    assert [value.name for value in graph.input] == ["data"]
    known = {"data"} | {t.name for t in graph.initializer}
    for node in graph.node:
        assert set(filter(None, node.input)) <= known
        known |= set(node.output)
