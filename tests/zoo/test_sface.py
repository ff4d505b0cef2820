"""Parity with ONNX Runtime on the file exactly as published (quantised, BatchNorm and all)."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from facecore.errors import WeightsError
from facecore.zoo import registry, sface
from facecore.zoo.onnx_import import read_layers
from facecore.zoo.placement import place

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network(prepared):
    weights = prepared["sface"]
    return registry.load("sface", weights.path, weights.sha256)


@pytest.fixture(scope="module")
def reference(published, faces):
    model = onnx.load(str(published["sface"]))
    # Its initialisers are listed as inputs too, under names that do not exist any more.
    image = model.graph.input[0]
    del model.graph.input[:]
    model.graph.input.append(image)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    planes = faces.transpose(0, 3, 1, 2).astype(np.float32)
    vectors = np.concatenate([session.run(None, {"data": plane[None]})[0] for plane in planes])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def embed(network, faces):
    with torch.inference_mode():
        return network(torch.from_numpy(faces).permute(0, 3, 1, 2)).numpy()


def test_fp32_parity(network, faces, reference):
    vectors = embed(network, faces)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert (vectors * reference).sum(1).min() >= 0.9999


def test_placed_fp32_parity(network, faces, reference):
    vectors = embed(place(network, CPU, torch.float32, (2, 3, 112, 112)), faces)
    assert (vectors * reference).sum(1).min() >= 0.9999


def test_bf16_parity(network, faces, reference):
    vectors = embed(place(network, CPU, torch.bfloat16, (2, 3, 112, 112)), faces)
    assert vectors.dtype == np.float32
    assert (vectors * reference).sum(1).min() >= 0.999


def test_layers_of_another_network_are_refused(published):
    with pytest.raises(WeightsError):
        sface.from_layers(read_layers(published["yunet"]))
