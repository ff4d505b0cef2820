import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from facecore.errors import WeightsError
from facecore.zoo.onnx_import import dequantise, read_layers


def model(path, nodes, constants):
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    onnx.save(helper.make_model(made), str(path))
    return path


def test_each_block_has_its_own_scale_and_zero_point():
    quantised = np.array([[1, 2, 3, 4, 5]], np.int8)
    scale, zero = np.array([[0.5, 2.0, 10.0]]), np.array([[0, 1, 5]], np.int8)
    values = dequantise(quantised, scale, zero, axis=1, block=2)
    assert values.tolist() == [[0.5, 1.0, 4.0, 6.0, 0.0]]


def test_per_tensor_and_per_axis_scales():
    quantised = np.array([[-128, 127], [0, 4]], np.int8)
    whole = dequantise(quantised, np.array(2.0), np.array(0, np.int8), axis=1, block=0)
    assert whole.tolist() == [[-256.0, 254.0], [0.0, 8.0]]
    rows = dequantise(quantised, np.array([1.0, 3.0]), np.array([0, 1], np.int8), axis=0, block=0)
    assert rows.tolist() == [[-128.0, 127.0], [-3.0, 9.0]]


def test_batch_norm_is_folded_into_the_layer_before_it(tmp_path):
    path = model(
        tmp_path / "m.onnx",
        [
            helper.make_node("Conv", ["x", "w"], ["a"]),
            helper.make_node("BatchNormalization", ["a", "g", "b", "m", "v"], ["y"], epsilon=0.0),
        ],
        {
            "w": np.full((1, 1, 1, 1), 3.0, np.float32),
            "g": np.array([2.0], np.float32),
            "b": np.array([1.0], np.float32),
            "m": np.array([5.0], np.float32),
            "v": np.array([4.0], np.float32),
        },
    )
    (layer,) = read_layers(path)
    # y = (3x - 5) / sqrt(4) * 2 + 1
    assert layer.weight.item() == 3.0
    assert layer.bias.item() == -4.0


def test_batch_norm_after_an_activation_stays(tmp_path):
    ones = np.ones(1, np.float32)
    path = model(
        tmp_path / "m.onnx",
        [
            helper.make_node("PRelu", ["x", "s"], ["a"]),
            helper.make_node("BatchNormalization", ["a", "s", "s", "s", "s"], ["y"], epsilon=0.0),
        ],
        {"s": ones},
    )
    assert [layer.op for layer in read_layers(path)] == ["prelu", "scale"]


def test_nothing_is_skipped_silently(tmp_path):
    path = model(
        tmp_path / "m.onnx",
        [helper.make_node("ConvTranspose", ["x", "w"], ["y"])],
        {"w": np.ones((1, 1, 1, 1), np.float32)},
    )
    with pytest.raises(WeightsError, match="ConvTranspose"):
        read_layers(path)


def test_weights_that_are_computed_are_refused(tmp_path):
    path = model(tmp_path / "m.onnx", [helper.make_node("Conv", ["x", "x"], ["y"])], {})
    with pytest.raises(WeightsError, match="not a constant"):
        read_layers(path)


def test_a_file_that_is_not_onnx(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"\xff" * 100)
    with pytest.raises(WeightsError, match="cannot be read as ONNX"):
        read_layers(tmp_path / "m.onnx")


def test_the_published_files_have_the_expected_layers(published):
    sface = read_layers(published["sface"])
    assert [layer.op for layer in sface[-2:]] == ["scale", "linear"]
    assert sface[-1].weight.shape == (128, 50176)
    assert len(read_layers(published["yunet"])) == 53
