import cv2
import numpy as np
import PIL.Image
import pytest

from facecore.errors import ShapeError
from facecore.stages.align import TEMPLATE, align, similarity
from facecore.stages.detect import FaceDetector
from facecore.stages.workers import Workers
from facecore.types import Detections


def detections(*landmarks):
    points = np.array(landmarks, np.float32).reshape(-1, 5, 2)
    count = len(points)
    return Detections(np.zeros((count, 4), np.float32), np.ones(count, np.float32), points)


def turned(scale, degrees, shift):
    angle = np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.concatenate([turn, np.array(shift, float)[:, None]], 1)


@pytest.mark.parametrize(("scale", "degrees"), [(1, 0), (0.3, 20), (7.5, -75), (2, 180)])
def test_the_transform_is_recovered_exactly(scale, degrees):
    truth = turned(scale, degrees, (300, -40))
    points = TEMPLATE @ truth[:, :2].T + truth[:, 2]
    np.testing.assert_allclose(similarity(points[None].astype(np.float32))[0], truth, atol=2e-3)


def test_least_squares_against_numpy():
    """The optimum over all similarities, also for a face that is none of the template's shape."""
    rng = np.random.default_rng(3)
    points = (TEMPLATE + rng.normal(0, 6, (5, 2))).astype(np.float32) * 1.7
    ours = similarity(points[None])[0]
    # crop = [a -b; b a] image + t, linear in (a, b, tx, ty)
    x, y = points.astype(float).T
    zero, one = np.zeros(5), np.ones(5)
    rows = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    a, b, tx, ty = np.linalg.lstsq(rows, TEMPLATE.T.reshape(-1).astype(float), rcond=None)[0]
    inverse = np.linalg.inv(np.array([[a, -b, tx], [b, a, ty], [0, 0, 1]]))[:2]
    np.testing.assert_allclose(ours, inverse, atol=1e-4)


def test_parity_with_opencv(yunet, plain_onnx, photos):
    recogniser = cv2.FaceRecognizerSF.create(plain_onnx["sface"], "")
    images = []
    for photo in photos:
        image = PIL.Image.fromarray(photo)
        image.thumbnail((300, 300))
        images += [np.array(image), np.array(image.rotate(25, expand=True))]
    found = FaceDetector(yunet).detect(images)
    compared = 0
    for image, detected, crops in zip(images, found, align(images, found), strict=True):
        for box, landmarks, crop in zip(
            detected.boxes, detected.landmarks, crops.pixels, strict=True
        ):
            row = np.concatenate([box[:2], box[2:] - box[:2], landmarks.reshape(-1), [1.0]])
            bgr = np.ascontiguousarray(image[:, :, ::-1])
            peer = recogniser.alignCrop(bgr, row.astype(np.float32))[:, :, ::-1]
            difference = np.abs(peer.astype(int) - crop)
            assert difference.mean() < 0.5
            assert np.percentile(difference, 99) <= 4
            compared += 1
    assert compared >= len(images)


def test_large_faces_are_reduced_without_aliasing():
    """One-pixel stripes are grey at a tenth of the size; plain bilinear sampling shows moiré."""
    image = np.zeros((1400, 1400, 3), np.uint8)
    image[:, ::2] = 255
    points = TEMPLATE * 10 + 100
    (crops,) = align([image], [detections(points)])
    assert np.abs(crops.pixels.astype(int) - 127).max() <= 3
    sampled = cv2.warpAffine(image, turned(0.1, 0, (-10, -10)), (112, 112))
    assert np.abs(sampled.astype(int) - 127).max() > 50


def test_reduced_faces_stay_in_place():
    """A smooth picture looks the same at any size: no shift comes with the reduction."""
    ramp = np.linspace(0, 255, 3000)
    image = np.stack(np.broadcast_arrays(ramp[None, :], ramp[:, None], 128.0), -1)
    image = np.ascontiguousarray(image.round().astype(np.uint8))
    for scale in (1.9, 2.0, 2.1, 5.3, 13.0):
        truth = turned(scale, 30, (900, 500))
        points = TEMPLATE @ truth[:, :2].T + truth[:, 2]
        (crops,) = align([image], [detections(points)])
        v, u = np.mgrid[0:112, 0:112]
        where = np.stack([u, v, np.ones_like(u)], -1) @ truth.T
        inside = ((where > 30) & (where < 2960)).all(-1)
        assert inside.sum() > 5000
        expected = where * (255 / 2999)
        error = np.abs(crops.pixels[0, :, :, :2] - expected)[inside]
        assert error.max() <= 1.0, scale


def test_what_lies_outside_is_black():
    image = np.full((100, 100, 3), 200, np.uint8)
    far, edge = TEMPLATE + 5000, TEMPLATE - [60, 0]
    (crops,) = align([image], [detections(far, edge)])
    assert crops.pixels[0].max() == 0
    assert crops.pixels[1, :99, :59].max() == 0
    assert crops.pixels[1, :99, 62:].min() == 200


def test_degenerate_landmarks_give_a_crop_all_the_same():
    image = np.full((50, 50, 3), 7, np.uint8)
    (crops,) = align([image], [detections(np.full((5, 2), 25.0))])
    assert crops.pixels.shape == (1, 112, 112, 3)


def test_order_survives_batching_and_threads():
    rng = np.random.default_rng(0)
    images = [np.broadcast_to(np.uint8(10 * i + 10), (60 + i, 90, 3)).copy() for i in range(20)]
    found = [detections(*[TEMPLATE * s / 3 for s in rng.uniform(0.1, 1, i % 4)]) for i in range(20)]
    crops = align(images, found, Workers(threads=3))
    assert [len(c) for c in crops] == [i % 4 for i in range(20)]
    for i, one in enumerate(crops):
        assert (one.pixels[:, 60, 60] == 10 * i + 10).all()


def test_a_crop_does_not_depend_on_its_company():
    rng = np.random.default_rng(3)
    images = [rng.integers(0, 256, (240 + 7 * i, 320 - 5 * i, 3), np.uint8) for i in range(12)]
    found = [
        detections(TEMPLATE * rng.uniform(0.5, 1.9) + rng.uniform(0, 60, (1, 2)).astype("f4"))
        for _ in images
    ]
    together = align(images, found)
    for image, one, crop in zip(images, found, together, strict=True):
        (alone,) = align([image], [one])
        assert (alone.pixels == crop.pixels).all()


def test_wrong_calls():
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ShapeError, match="one per image"):
        align([image], [])
    with pytest.raises(ShapeError, match="landmarks"):
        align([image], [Detections(np.zeros((1, 4), np.float32), np.ones(1, np.float32))])
    assert align([], []) == []
