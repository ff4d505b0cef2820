import numpy as np
import pytest
import torch

from facecore.errors import ShapeError
from facecore.stages.align import align
from facecore.stages.detect import FaceDetector
from facecore.stages.embed import FaceEmbedder
from facecore.stages.workers import Workers
from facecore.types import Contract, FaceCrops


@pytest.fixture(scope="module")
def contract(prepared):
    return Contract("sface", prepared["sface"].sha256, 128, prepared["yunet"].sha256)


@pytest.fixture(scope="module")
def crops(yunet, photos):
    found = FaceDetector(yunet).detect(photos)
    return FaceCrops(np.concatenate([c.pixels for c in align(photos, found)]))


def test_the_same_person_is_alike_and_others_are_not(sface, contract, crops, portraits):
    vectors = FaceEmbedder(sface, contract).embed(crops).vectors
    people = np.array([portrait.person for portrait in portraits])
    same = people[:, None] == people[None]
    cosine = vectors @ vectors.T
    others = ~np.eye(len(people), dtype=bool)
    assert cosine[same & others].min() > cosine[~same].max()


def test_batches_and_threads_change_nothing(sface, contract, crops):
    one = FaceEmbedder(sface, contract, batch_crops=1).embed(crops)
    many = FaceEmbedder(sface, contract, workers=Workers(threads=3), batch_crops=64).embed(crops)
    assert one.contract == many.contract == contract
    np.testing.assert_allclose(one.vectors, many.vectors, atol=1e-4)


def test_bf16_parity(sface, contract, crops):
    exact = FaceEmbedder(sface, contract).embed(crops).vectors
    rounded = FaceEmbedder(sface, contract, dtype=torch.bfloat16).embed(crops).vectors
    assert (exact * rounded).sum(1).min() >= 0.999


def test_no_crops_no_vectors(sface, contract):
    empty = FaceCrops(np.zeros((0, 112, 112, 3), np.uint8))
    assert FaceEmbedder(sface, contract).embed(empty).vectors.shape == (0, 128)


def test_a_contract_of_another_dimension_is_noticed(sface, contract, crops):
    wrong = Contract("sface", contract.weights_sha256, 512, contract.detector_sha256)
    with pytest.raises(ShapeError, match="512"):
        FaceEmbedder(sface, wrong).embed(crops)
