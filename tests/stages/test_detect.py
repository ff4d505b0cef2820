import cv2
import numpy as np
import PIL.Image
import pytest

from facecore.errors import ConfigError
from facecore.stages.detect import FaceDetector
from facecore.stages.workers import Workers


@pytest.fixture(scope="module")
def detector(yunet):
    return FaceDetector(yunet)


def resized(photo, longest):
    image = PIL.Image.fromarray(photo)
    scale = longest / max(image.size)
    size = tuple(round(s * scale) for s in image.size)
    return np.array(image.resize(size, PIL.Image.Resampling.LANCZOS))


def opencv(plain_onnx, image):
    """Boxes x1 y1 x2 y2, landmarks, scores; best first."""
    height, width = image.shape[:2]
    peer = cv2.FaceDetectorYN.create(plain_onnx["yunet"], "", (width, height), 0.6, 0.3)
    _, found = peer.detect(np.ascontiguousarray(image[:, :, ::-1]))
    found = found[np.argsort(-found[:, 14], kind="stable")]
    boxes = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:4]], 1)
    return boxes, found[:, 4:14].reshape(-1, 5, 2), found[:, 14]


def iou(box, other):
    return float(
        np.prod(np.clip(np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]), 0, None))
        / np.prod(np.maximum(box[2:], other[2:]) - np.minimum(box[:2], other[:2]))
    )


@pytest.mark.parametrize("longest", [250, 320, 477])
def test_parity_with_opencv(yunet, plain_onnx, photos, longest):
    """One size, the same weights: box and landmarks within half a pixel (in fact far less)."""
    images = [resized(photo, longest) for photo in photos]
    for image, found in zip(
        images, FaceDetector(yunet, sides_px=[longest]).detect(images), strict=True
    ):
        boxes, landmarks, scores = opencv(plain_onnx, image)
        assert len(found) == len(boxes) >= 1
        np.testing.assert_allclose(found.boxes, boxes, atol=0.05)
        np.testing.assert_allclose(found.landmarks, landmarks, atol=0.05)
        np.testing.assert_allclose(found.scores, scores, atol=1e-3)


def test_portraits_are_found_where_they_are(detector, photos, portraits):
    for portrait, found in zip(portraits, detector.detect(photos), strict=True):
        assert len(found) == 1, portrait.name
        x1, y1, x2, y2 = portrait.face
        centre = (found.boxes[0, :2] + found.boxes[0, 2:]) / 2
        assert x1 < centre[0] < x2
        assert y1 < centre[1] < y2
        right_eye, left_eye = found.landmarks[0, :2]
        assert right_eye[0] < left_eye[0]  # the person's right is on the left of the picture


def test_a_face_filling_4000_pixels_and_a_small_one_in_1280(detector, photos, portraits):
    x1, y1, x2, y2 = (int(v) for v in portraits[0].face)
    margin = (x2 - x1) // 6
    close_up = photos[0][max(0, y1 - margin) : y2 + margin, max(0, x1 - margin) : x2 + margin]
    close_up = resized(close_up, 4000)
    small = resized(photos[0], 80)
    crowd = np.full((960, 1280, 3), 120, np.uint8)
    crowd[700 : 700 + small.shape[0], 1100 : 1100 + small.shape[1]] = small
    large, tiny = detector.detect([close_up, crowd])
    assert len(large) == 1
    assert (large.boxes[0, 2:] - large.boxes[0, :2]).max() > 2000
    assert len(tiny) == 1
    assert 1100 < tiny.boxes[0, 0] < tiny.boxes[0, 2] < 1100 + small.shape[1]
    assert (tiny.boxes[0, 2:] - tiny.boxes[0, :2]).max() < 80


def test_sizes_agree_on_one_face(yunet, photos):
    """Found at several sizes, a face is still one face, at the same place."""
    photo = resized(photos[0], 1000)
    both = FaceDetector(yunet, sides_px=[320, 1280]).detect([photo])[0]
    low = FaceDetector(yunet, sides_px=[320]).detect([photo])[0]
    assert len(both) == len(low) == 1
    assert iou(both.boxes[0], low.boxes[0]) > 0.8


def test_mixed_sizes_and_threads_change_nothing(yunet, detector, photos):
    images = [resized(p, n) for p in photos[:2] for n in (90, 250, 321, 640)]
    images.insert(2, np.zeros((1, 1, 3), np.uint8))
    images.insert(4, np.full((33, 2000, 3), 200, np.uint8))
    threaded = FaceDetector(yunet, workers=Workers(threads=3), batch_images=2)
    for alone, together in zip(images, threaded.detect(images), strict=True):
        (expected,) = detector.detect([alone])
        np.testing.assert_allclose(together.boxes, expected.boxes, atol=0.02)
        np.testing.assert_allclose(together.landmarks, expected.landmarks, atol=0.02)


def test_several_faces_come_best_first(detector, photos):
    small = [resized(photo, 200) for photo in photos[:3]]
    sheet = np.zeros((220, 660, 3), np.uint8)
    for i, photo in enumerate(small):
        sheet[: photo.shape[0], 220 * i : 220 * i + photo.shape[1]] = photo
    (found,) = detector.detect([sheet])
    assert len(found) == 3
    assert (np.diff(found.scores) <= 0).all()
    assert {int(x // 220) for x in found.boxes[:, 0]} == {0, 1, 2}


def test_no_face_no_detection(detector):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (300, 200, 3), dtype=np.uint8)
    for found in detector.detect([np.zeros((64, 64, 3), np.uint8), noise]):
        assert len(found) == 0
        assert found.landmarks.shape == (0, 5, 2)
    assert detector.detect([]) == []


def test_the_threshold_applies(yunet, photos):
    (found,) = FaceDetector(yunet, score_threshold=0.999).detect(photos[:1])
    assert len(found) == 0


@pytest.mark.parametrize("sides", [(), (16,), (320, 8)])
def test_sides_that_cannot_work(yunet, sides):
    with pytest.raises(ConfigError, match="32 px"):
        FaceDetector(yunet, sides_px=sides)
