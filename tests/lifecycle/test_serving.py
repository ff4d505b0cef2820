import json
from dataclasses import asdict

import numpy as np
import pytest

from facecore.errors import DigestMismatch
from facecore.lifecycle.serving import FaceService, signature
from facecore.stages.decode import Limits, decode


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
