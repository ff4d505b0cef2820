import json

import numpy as np
import pytest

from facecore.errors import UsageError
from facecore.lifecycle.evaluation import evaluate_detector
from facecore.types import Detections


def test_the_document_says_what_was_counted_by_hand(scenes):
    made, detector = scenes(scenes=50)

    found = evaluate_detector(detector, made, model="face-detector/1", score_threshold=0.6)

    faces = sum(map(len, made.truth))
    assert (found.images, found.faces) == (50, faces)
    assert found.recall.trials == faces
    assert found.precision.trials == sum((d.scores >= 0.6).sum() for d in detector.found)
    assert found.precision.count == found.recall.count
    assert found.false_per_image * 50 == found.precision.trials - found.precision.count
    assert sum(b.recall.count for b in found.recall_by_size if b.recall) == found.recall.count
    assert sum(b.recall.trials for b in found.recall_by_size if b.recall) == faces
    assert found.ap_50.low <= found.ap_50.value <= found.ap_50.high
    assert found.ap.value < found.ap_50.value
    assert len(detector.batches) > 1  # not all images at once


def test_landmarks_are_judged_by_the_distance_of_the_eyes(scenes):
    made, detector = scenes()

    found = evaluate_detector(detector, made).landmarks

    # every point is off by (0.02, 0.02) of the side, the eyes are 0.4 of it apart
    off = np.hypot(0.02, 0.02) / 0.4
    assert found.mean.value == pytest.approx(off, rel=1e-3)
    assert found.median == pytest.approx(off, rel=1e-3)
    assert found.failures.count == 0
    assert list(found.each) == [
        "right eye", "left eye", "nose tip", "right mouth corner", "left mouth corner",
    ]  # fmt: skip


def test_unknown_landmarks_and_detectors_without_any_are_left_out(scenes):
    made, detector = scenes()
    for points in made.landmarks[::2]:
        points[:] = np.nan
    some = evaluate_detector(detector, made).landmarks
    assert 0 < some.faces < sum(map(len, made.truth))

    detector.found = [Detections(d.boxes, d.scores) for d in detector.found]
    assert evaluate_detector(detector, made).landmarks is None


def test_slices_count_the_faces_that_are_missed(scenes):
    made, detector = scenes(scenes=80)

    (report,) = evaluate_detector(detector, made, slices=["source"]).slices

    assert [one.value for one in report.slices] == ["gate", "hall"]
    assert sum(one.images for one in report.slices) == 80
    assert sum(one.missed.trials for one in report.slices) == sum(map(len, made.truth))
    with pytest.raises(UsageError, match="no column 'weather'"):
        evaluate_detector(detector, made, slices=["weather"])


def test_examples_are_the_largest_misses_and_the_surest_mistakes(scenes):
    made, detector = scenes(scenes=80, miss=0.4)

    found = evaluate_detector(detector, made)

    sides = [example.weight for example in found.missed]
    assert sides == sorted(sides, reverse=True)
    assert len(sides) == 12
    assert sides[0] == pytest.approx(90)
    scores = [example.weight for example in found.mistaken]
    assert scores == sorted(scores, reverse=True)
    assert all(example.picture.shape == (112, 112, 3) for example in found.missed)
    left, _, right, _ = found.missed[0].inner
    assert (right - left) == pytest.approx(56)
    assert (left + right) / 2 == pytest.approx(56)


def test_the_document_is_plain_json(scenes):
    made, detector = scenes()
    found = evaluate_detector(detector, made, model="face-detector/1")

    document = json.loads(json.dumps(found.to_json()))

    assert document["kind"] == "detector"
    assert document["ap_50"]["value"] == found.ap_50.value
    assert len(document["curve"]) == 101
    assert "picture" not in json.dumps(document)
    assert found.metrics()["landmark_error"] == found.landmarks.mean.value


def test_scenes_without_a_face_are_refused_and_blind_detectors_are_not(scenes):
    made, detector = scenes(scenes=6)
    blind = type(detector)([Detections.empty()] * 6)
    found = evaluate_detector(blind, made)
    assert (found.ap_50.value, found.recall.count, found.precision) == (0, 0, None)

    made.truth = [boxes[:0] for boxes in made.truth]
    made.landmarks = [points[:0] for points in made.landmarks]
    with pytest.raises(UsageError, match="no faces in split 'test'"):
        evaluate_detector(detector, made)
