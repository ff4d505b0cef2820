"""The stage around any network that finds regions, and the protocol it shares with YuNet's."""

import numpy as np
import pytest
import torch

from facecore.errors import ConfigError
from facecore.stages.align import align
from facecore.stages.detect import FaceDetector
from facecore.stages.detect_regions import RegionFaceDetector
from facecore.stages.detector import Detector
from facecore.stages.workers import Workers
from facecore.types import Detections
from facecore.zoo import registry
from facecore.zoo.region_detector import RegionDetector


class Planned(RegionDetector):
    """Finds what a test says, in parts of the image, and remembers what it was given."""

    def __init__(self, boxes, scores):
        super().__init__()
        self.boxes, self.scores = torch.tensor(boxes), torch.tensor(scores)
        self.seen = []

    def regions(self, images, pixels):
        self.seen += [tuple(image.shape) for image in images]
        found = []
        for image in images:
            height, width = image.shape[1:]
            found.append((self.boxes * torch.tensor([width, height] * 2), self.scores))
        return found

    def region_losses(self, images, pixels, boxes):
        raise NotImplementedError

    def __deepcopy__(self, memo):
        return self  # so that the test sees what the stage's copy was given


@pytest.fixture(scope="module")
def untrained():
    torch.manual_seed(0)
    return registry.create("ssdlite")


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    sizes = [(90, 120), (1, 1), (400, 200), (33, 700), (90, 120), (1500, 2000)]
    return [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in sizes]


def test_both_detectors_are_detectors(yunet, untrained):
    detectors: list[Detector] = [FaceDetector(yunet), RegionFaceDetector(untrained)]
    assert [detector.detect([]) for detector in detectors] == [[], []]


def test_coordinates_are_pixels_of_the_image(images):
    network = Planned([[0.25, 0.25, 0.75, 0.75]], [0.9])
    detector = RegionFaceDetector(network, longest_px=500)
    for image, found in zip(images, detector.detect(images), strict=True):
        height, width = image.shape[:2]
        if min(height, width) < 2:
            continue
        expected = np.array([[0.25 * width, 0.25 * height, 0.75 * width, 0.75 * height]])
        np.testing.assert_allclose(found.boxes, expected, rtol=1e-4)
        inside = found.landmarks[0] / [width, height]
        assert ((inside > 0.2) & (inside < 0.8)).all()
    assert max(max(shape[1:]) for shape in network.seen) == 500
    assert (3, 90, 120) in network.seen  # small images stay as they are


def test_threshold_and_suppression():
    boxes = [[0.1, 0.1, 0.5, 0.5], [0.12, 0.1, 0.52, 0.5], [0.6, 0.6, 0.9, 0.9], [0.1, 0.6, 0.3, 1]]
    network = Planned(boxes, [0.7, 0.95, 0.8, 0.2])
    image = np.zeros((100, 100, 3), np.uint8)
    (found,) = RegionFaceDetector(network, score_threshold=0.5).detect([image])
    np.testing.assert_allclose(found.boxes, [[12, 10, 52, 50], [60, 60, 90, 90]], rtol=1e-4)
    assert found.scores.tolist() == pytest.approx([0.95, 0.8])
    (everything,) = RegionFaceDetector(network, score_threshold=0.1, nms_iou=1.0).detect([image])
    assert len(everything) == 4


def test_no_face():
    network = Planned(np.zeros((0, 4), np.float32).tolist(), [])
    network.boxes = network.boxes.reshape(0, 4)
    (found,) = RegionFaceDetector(network).detect([np.zeros((50, 60, 3), np.uint8)])
    assert isinstance(found, Detections)
    assert len(found) == 0
    assert found.landmarks.shape == (0, 5, 2)


@pytest.mark.parametrize("name", ["rcnn", "faster-rcnn", "ssd", "ssdlite"])
def test_every_detector_gives_faces_that_can_be_aligned(name, images):
    small = {"ssd": {"width": 0.125}, "rcnn": {"width": 8}, "faster-rcnn": {"side": 128}}
    torch.manual_seed(0)
    network = registry.create(name, **small.get(name, {}))
    detector = RegionFaceDetector(network, score_threshold=0.05, longest_px=320)
    found = detector.detect(images)
    for detections, crops in zip(found, align(images, found), strict=True):
        assert detections.landmarks.shape == (len(detections), 5, 2)
        assert len(crops) == len(detections)
        assert (np.diff(detections.scores) <= 0).all()


def test_threads_and_order_change_nothing(untrained, images):
    alone = RegionFaceDetector(untrained, score_threshold=0.0, longest_px=320)
    threaded = RegionFaceDetector(
        untrained, score_threshold=0.0, longest_px=320, workers=Workers(threads=3)
    )
    together = threaded.detect(images)
    assert any(len(found) for found in together)
    for image, found in zip(images, together, strict=True):
        (expected,) = alone.detect([image])
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.05)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)


def test_the_given_network_is_not_touched(untrained):
    untrained.train()
    RegionFaceDetector(untrained).detect([np.zeros((64, 64, 3), np.uint8)])
    assert untrained.training
    assert all(p.requires_grad for p in untrained.parameters())
    untrained.eval()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"longest_px": 16}, "32 px"),
        ({"score_threshold": 1.5}, "0 to 1"),
        ({"nms_iou": -0.1}, "0 to 1"),
    ],
)
def test_values_that_cannot_work(untrained, options, said):
    with pytest.raises(ConfigError, match=said):
        RegionFaceDetector(untrained, **options)
