import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from facecore.errors import DigestMismatch, NotFound, WeightsError
from facecore.lifecycle.serving import FaceService, signature
from facecore.stages.decode import Limits, decode
from facecore.zoo import registry


@pytest.fixture(scope="module")
def embedder_files(pack, extractor, tmp_path_factory):
    detector, embedder = pack
    contract = tmp_path_factory.mktemp("served") / "contract.json"
    contract.write_text(
        json.dumps({"task": "embed", "model": "sface", "embedding": asdict(extractor.contract)})
    )
    return {
        "weights.safetensors": str(embedder.path),
        "detector.safetensors": str(detector.path),
        "contract.json": str(contract),
    }


def test_answers_what_the_pipeline_finds(embedder_files, extractor, portraits):
    service = FaceService(embedder_files)
    data = portraits[0].path.read_bytes()

    (answer,) = service.faces([data])

    (expected,) = extractor.extract([decode(data, Limits())])
    assert answer["error"] is None
    assert len(answer["faces"]) == len(expected) >= 1
    face = answer["faces"][0]
    np.testing.assert_allclose(face["box"], expected.detections.boxes[0], atol=0.01)
    np.testing.assert_allclose(face["landmarks"], expected.detections.landmarks[0], atol=0.01)
    # the service may compute in bf16 where that is faster
    assert float(np.dot(face["embedding"], expected.embeddings.vectors[0])) > 0.999
    json.dumps(answer)


def test_an_unusable_image_costs_only_itself(embedder_files, portraits):
    data = portraits[0].path.read_bytes()

    broken, empty, fine = FaceService(embedder_files).faces([b"no image", b"", data])

    assert (broken["faces"], empty["faces"]) == ([], [])
    assert broken["error"].startswith("not_an_image: ")
    assert empty["error"].startswith("empty: ")
    assert fine["faces"]


def test_a_detector_answers_without_embeddings(pack, portraits, tmp_path):
    detector, _ = pack
    contract = tmp_path / "contract.json"
    contract.write_text(
        json.dumps({"task": "detect", "model": "yunet", "weights_sha256": detector.sha256})
    )
    service = FaceService({"weights.safetensors": detector.path, "contract.json": contract})

    (answer,) = service.faces([portraits[0].path.read_bytes()])

    assert answer["faces"][0].keys() == {"box", "score", "landmarks"}


@pytest.fixture(scope="module")
def ssdlite(tmp_path_factory):
    """An untrained detector of another family: its weights file and SHA-256."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("ssdlite") / "weights.safetensors"
    return path, registry.save("ssdlite", registry.create("ssdlite"), path)


def write_contract(folder, **document):
    (folder / "contract.json").write_text(json.dumps(document))
    return folder / "contract.json"


def test_any_detector_answers(ssdlite, portraits, tmp_path):
    path, sha256 = ssdlite
    contract = write_contract(tmp_path, task="detect", model="ssdlite", weights_sha256=sha256)
    service = FaceService({"weights.safetensors": path, "contract.json": contract})

    (answer,) = service.faces([portraits[0].path.read_bytes()])

    assert answer["error"] is None
    for face in answer["faces"]:
        assert face.keys() == {"box", "score", "landmarks"}
        assert len(face["landmarks"]) == 5


def test_an_embedder_uses_the_detector_its_contract_names(
    embedder_files, ssdlite, pack, portraits, tmp_path
):
    path, sha256 = ssdlite
    embedding = {"embedder": "sface", "weights_sha256": pack[1].sha256, "detector_sha256": sha256}
    files = {**embedder_files, "detector.safetensors": path}
    named = {"task": "embed", "model": "sface", "embedding": embedding}
    files["contract.json"] = write_contract(tmp_path, **named, detector="ssdlite")
    (answer,) = FaceService(files).faces([portraits[0].path.read_bytes()])
    assert answer["error"] is None
    assert all(len(face["embedding"]) == 128 for face in answer["faces"])

    files["contract.json"] = write_contract(tmp_path, **named)  # then it is YuNet's
    with pytest.raises(WeightsError, match="ssdlite"):
        FaceService(files)


def test_a_contract_with_an_unknown_detector_is_refused(ssdlite, tmp_path):
    path, sha256 = ssdlite
    contract = write_contract(tmp_path, task="detect", model="sface", weights_sha256=sha256)
    with pytest.raises(NotFound, match="ssdlite"):
        FaceService({"weights.safetensors": path, "contract.json": contract})


def test_weights_other_than_the_contracts_are_refused(embedder_files, tmp_path):
    altered = tmp_path / "detector.safetensors"
    altered.write_bytes(b"poisoned")

    with pytest.raises(DigestMismatch):
        FaceService({**embedder_files, "detector.safetensors": altered})


def test_signature_is_one_that_mlflow_reads():
    from mlflow.models import ModelSignature

    read = ModelSignature.from_dict(signature("embed"))

    assert read.inputs.input_names() == ["image"]
    assert read.outputs.input_names() == ["faces", "error"]
    assert "embedding" in signature("embed")["outputs"]
    assert "embedding" not in signature("detect")["outputs"]
