import pytest
import torch

from facecore.errors import ConfigError, DeviceUnavailable, DigestMismatch, NotFound
from facecore.pipeline.load import load_extractor


def arguments(pack):
    detector, embedder = pack
    return detector.path, detector.sha256, embedder.path, embedder.sha256


def test_the_contract_names_both_files(extractor, pack):
    detector, embedder = pack
    assert extractor.contract.embedder == "sface"
    assert extractor.contract.dimension == 128
    assert extractor.contract.weights_sha256 == embedder.sha256
    assert extractor.contract.detector_sha256 == detector.sha256


def test_wrong_calls(pack):
    detector, detector_sha256, embedder, embedder_sha256 = arguments(pack)
    with pytest.raises(DigestMismatch):
        load_extractor(detector, detector_sha256, embedder, detector_sha256)
    with pytest.raises(NotFound):
        load_extractor(*arguments(pack), embedder="nobody")
    with pytest.raises(ConfigError, match="not an embedder"):
        load_extractor(detector, detector_sha256, detector, detector_sha256, embedder="yunet")
    with pytest.raises(ConfigError, match="sides"):
        load_extractor(*arguments(pack), sides_px=())
    with pytest.raises(DeviceUnavailable):
        load_extractor(*arguments(pack), device=f"cuda:{torch.cuda.device_count()}")
    assert embedder.is_file()
    assert embedder_sha256
