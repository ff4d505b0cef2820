"""The softmax of a classifier, as people's names."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from facecore.errors import WeightsError
from facecore.lifecycle.closed_set import ClosedSet
from facecore.lifecycle.packaging import Weights, embedding_contract
from facecore.lifecycle.serving import FaceService
from facecore.stages.decode import Limits, decode
from facecore.types import FaceCrops
from facecore.zoo import registry

NAMES = ("Ada", "Grace", "Mary")
OPTIONS = {"identities": 3, "dimension": 16, "width": 0.25}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    torch.manual_seed(4)
    path = tmp_path_factory.mktemp("closed") / "weights.safetensors"
    network = registry.create("deepface", **OPTIONS)
    return path, registry.save("deepface", network, path, **OPTIONS)


@pytest.fixture(scope="module")
def crops() -> FaceCrops:
    return FaceCrops(np.random.default_rng(2).integers(0, 256, (5, 112, 112, 3), np.uint8))


def test_names_come_with_the_softmax_of_the_logits(
    saved: tuple[Path, str], crops: FaceCrops
) -> None:
    network = registry.load("deepface", *saved)
    known = ClosedSet(network, NAMES)
    with torch.no_grad():
        pixels = torch.from_numpy(crops.pixels).permute(0, 3, 1, 2)
        logits = network.classify(pixels).double().numpy()  # type: ignore[operator]
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(known.probabilities(crops), expected, atol=1e-5)
    for named, row in zip(known.identify(crops, top=2), expected, strict=True):
        assert [name for name, _ in named] == [NAMES[i] for i in np.argsort(-row)[:2]]
    assert known.identify(FaceCrops(crops.pixels[:0])) == []


def test_names_that_are_not_of_this_network_are_refused(saved: tuple[Path, str]) -> None:
    network = registry.load("deepface", *saved)
    with pytest.raises(WeightsError, match="tells 3 people apart, 2 are named"):
        ClosedSet(network, NAMES[:2])
    with pytest.raises(WeightsError, match="tells nobody apart"):
        ClosedSet(registry.create("cnn"), NAMES)


def test_a_served_version_names_the_likeliest_people(
    saved: tuple[Path, str], pack, portraits, tmp_path: Path
) -> None:
    detector, _ = pack
    path, sha256 = saved
    contract = embedding_contract(Weights("deepface", path, sha256), 16, detector.sha256)
    (tmp_path / "contract.json").write_text(
        json.dumps({"task": "embed", "model": "deepface", "embedding": asdict(contract)})
    )
    (tmp_path / "identities.json").write_text(json.dumps({"names": NAMES}))
    service = FaceService(
        {
            "weights.safetensors": path,
            "detector.safetensors": detector.path,
            "contract.json": tmp_path / "contract.json",
            "identities.json": tmp_path / "identities.json",
        }
    )
    data = portraits[0].path.read_bytes()
    (answer,) = service.faces([data])
    named = answer["faces"][0]["identities"]
    assert {one["name"] for one in named} == set(NAMES)
    assert sum(one["probability"] for one in named) == pytest.approx(1.0, abs=1e-5)
    (found,) = service._extractor.extract([decode(data, Limits())])  # type: ignore[union-attr]
    expected = ClosedSet(registry.load("deepface", path, sha256), NAMES).identify(found.crops)[0]
    assert [(one["name"], one["probability"]) for one in named] == expected
