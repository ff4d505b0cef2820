"""Every cell's prediction against OpenCV's DNN engine on the published network (plain float32)."""

import cv2
import numpy as np
import pytest
import torch

from facecore.errors import WeightsError
from facecore.zoo import registry, yunet
from facecore.zoo.onnx_export import write_dequantised
from facecore.zoo.onnx_import import read_layers
from facecore.zoo.placement import place


@pytest.fixture(scope="module")
def network(prepared):
    weights = prepared["yunet"]
    return registry.load("yunet", weights.path, weights.sha256)


@pytest.fixture(scope="module")
def picture(photos):
    return np.ascontiguousarray(photos[0][:320, :256])


@pytest.fixture(scope="module")
def reference(published, picture, tmp_path_factory):
    """[cells, 16] logits as our network orders them; class and objectness after the sigmoid."""
    path = tmp_path_factory.mktemp("plain") / "yunet.onnx"
    net = cv2.dnn.readNetFromONNX(str(write_dequantised(published["yunet"], path)))
    net.setInput(cv2.dnn.blobFromImage(picture[:, :, ::-1]))  # BGR
    names = [f"{kind}_{s}" for s in yunet.STRIDES for kind in ("cls", "obj", "bbox", "kps")]
    outputs = [o.reshape(-1, o.shape[-1]) for o in net.forward(names)]
    return np.concatenate([np.concatenate(outputs[i : i + 4], 1) for i in (0, 4, 8)])


def test_every_cell_agrees(network, picture, reference):
    planes = torch.from_numpy(picture).permute(2, 0, 1)[None]
    with torch.inference_mode():
        raw = network(planes)[0]
        placed = place(network, torch.device("cpu"), torch.float32, (1, 3, 256, 256))(planes)[0]
    assert raw.shape == reference.shape
    np.testing.assert_allclose(raw[:, :2].sigmoid(), reference[:, :2], atol=1e-4)
    np.testing.assert_allclose(raw[:, 2:], reference[:, 2:], atol=2e-3)
    np.testing.assert_allclose(placed, raw, atol=2e-3)


def test_scores_are_the_geometric_mean(reference):
    raw = torch.from_numpy(reference).double()
    raw[:, :2] = torch.logit(raw[:, :2].clamp(1e-12, 1 - 1e-12))
    expected = np.sqrt(reference[:, 0] * reference[:, 1])
    np.testing.assert_allclose(yunet.scores(raw), expected, atol=1e-4)


def test_decoding_one_cell_by_hand():
    raw = torch.zeros(2, 16)
    raw[:, 2:4] = torch.tensor([0.5, 0.25])  # centre offset
    raw[:, 4:6] = torch.log(torch.tensor([2.0, 4.0]))  # size in cells
    raw[:, 6:8] = torch.tensor([1.0, -1.0])  # first landmark
    # An input of 64×32 has 8×4 cells of stride 8, then 4×2 of stride 16, then 2×1 of stride 32.
    boxes, landmarks = yunet.decode(raw, torch.tensor([9, 32 + 5]), 32, 64)
    assert boxes[0].tolist() == pytest.approx([1.5 * 8 - 8, 1.25 * 8 - 16, 12 + 8, 10 + 16])
    assert landmarks[0, 0].tolist() == [(1 + 1) * 8, (1 - 1) * 8]
    assert landmarks[1, 0].tolist() == [(1 + 1) * 16, (1 - 1) * 16]
    assert boxes[1].tolist() == pytest.approx([24 - 16, 20 - 32, 24 + 16, 20 + 32])


def test_layers_of_another_network_are_refused(published):
    with pytest.raises(WeightsError):
        yunet.from_layers(read_layers(published["sface"]))
