import pytest
import torch

from facecore.errors import ConfigError, DeviceUnavailable, DigestMismatch, NotFound, WeightsError
from facecore.pipeline.load import load_detector, load_extractor
from facecore.stages.detect import FaceDetector
from facecore.stages.detect_regions import RegionFaceDetector


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


def test_a_detector_by_name(pack, untrained_ssdlite):
    detector, detector_sha256, *_ = arguments(pack)
    assert isinstance(load_detector("yunet", detector, detector_sha256), FaceDetector)
    assert isinstance(load_detector("ssdlite", *untrained_ssdlite), RegionFaceDetector)


def test_names_that_are_no_detector_list_those_that_are(pack, untrained_ssdlite):
    for name in ("nobody", "sface"):
        with pytest.raises(NotFound, match=r"faster-rcnn, rcnn, ssd, ssdlite, yunet") as caught:
            load_detector(name, *untrained_ssdlite)
        assert caught.value.name == name
    with pytest.raises(NotFound, match="detector 'nobody'"):
        load_extractor(*arguments(pack), detector="nobody")


def test_weights_of_another_detector_are_refused(pack, untrained_ssdlite):
    with pytest.raises(WeightsError, match="ssdlite"):
        load_detector("ssd", *untrained_ssdlite)
    with pytest.raises(WeightsError, match="yunet"):
        load_detector("yunet", *untrained_ssdlite)
    with pytest.raises(ConfigError, match="sides"):
        load_detector("ssdlite", *untrained_ssdlite, sides_px=())
