from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facecore.errors import ShapeError
from facecore.stages.face_quality import assess, pose
from facecore.types import Detections, FaceCrops

# an independent head: its own proportions in mm, x right, y down, z away from the camera
HEAD = np.array([(-32, -35, 0), (32, -35, 0), (0, 0, -28), (-26, 29, -2), (26, 29, -2)], float)


def turned(yaw: float, pitch: float, roll: float, scale: float = 1.0) -> np.ndarray:
    """Landmarks `[5, 2]` of the head whose nose points right by yaw, up by pitch, leant by roll."""
    y, p, r = np.radians([-yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    points = HEAD @ (about_z @ about_y @ about_x.T).T
    return (points[:, :2] * scale + 200).astype(np.float32)


def crop(seed: int = 0, low: int = 60, high: int = 200) -> np.ndarray:
    blocks = np.random.default_rng(seed).integers(low, high + 1, (56, 56, 1), dtype=np.uint8)
    return blocks.repeat(2, 0).repeat(2, 1).repeat(3, 2)


def faces(landmarks: list[np.ndarray], crops: list[np.ndarray] | None = None, score: float = 0.9):
    points = np.stack(landmarks)
    boxes = np.concatenate([points.min(1) - 20, points.max(1) + 20], axis=1)
    pixels = np.stack(crops or [crop()] * len(points))
    scores = np.full(len(points), score, np.float32)
    return assess(FaceCrops(pixels), Detections(boxes, scores, points))


def test_signs_by_eye():
    right = HEAD[:, :2] + [(0, 0), (0, 0), (12, 0), (0, 0), (0, 0)]  # nose to the right
    up = HEAD[:, :2] + [(0, 0), (0, 0), (0, -12), (0, 0), (0, 0)]
    leant = HEAD[:, :2] + [(0, -8), (0, 8), (0, 0), (0, 0), (0, 0)]  # right side of picture lower
    yaw, pitch, roll = pose(np.stack([right, up, leant]).astype(np.float32))
    assert yaw[0] > 10
    assert pitch[1] > 10
    assert roll[2] > 3
    assert abs(yaw[1]) < 1
    assert abs(roll[0]) < 1


@given(st.floats(-45, 45), st.floats(-30, 30), st.floats(-170, 170), st.floats(0.1, 20))
def test_pose_of_a_known_head(yaw, pitch, roll, scale):
    found = np.array(pose(turned(yaw, pitch, roll, scale)[None]))[:, 0]
    assert abs(found[0] - yaw) < 10
    assert abs(found[1] - pitch) < 10
    assert abs((found[2] - roll + 180) % 360 - 180) < 12


def test_a_mirrored_face_has_mirrored_angles():
    points = turned(25, 10, 15)
    mirrored = points * (-1, 1) + (500, 0)
    mirrored = mirrored[[1, 0, 2, 4, 3]].astype(np.float32)
    yaw, pitch, roll = pose(np.stack([points, mirrored]))
    assert yaw[1] == pytest.approx(-yaw[0], abs=0.01)
    assert pitch[1] == pytest.approx(pitch[0], abs=0.01)
    assert roll[1] == pytest.approx(-roll[0], abs=0.01)


def test_rolling_the_picture_adds_to_the_roll_alone():
    yaw, pitch, roll = pose(np.stack([turned(20, -10, 0), turned(20, -10, 50)]))
    assert roll[1] - roll[0] == pytest.approx(50, abs=0.01)
    assert (yaw[1], pitch[1]) == pytest.approx((yaw[0], pitch[0]), abs=0.01)


def test_coinciding_landmarks_give_zeros():
    found = faces([np.full((5, 2), 7, np.float32)])
    assert (found.yaw[0], found.pitch[0], found.roll[0]) == (0, 0, 0)
    assert np.isfinite(found.score[0])


def test_sizes_are_in_original_pixels():
    found = faces([turned(0, 0, 0, 2.0)])
    assert found.inter_eye_px[0] == pytest.approx(128)
    width, height = np.ptp(turned(0, 0, 0, 2.0), axis=0) + 40
    assert found.size_px[0] == pytest.approx(np.sqrt(width * height), rel=1e-5)


def test_every_flaw_lowers_the_score():
    good = turned(0, 0, 0)
    flat, sharp = np.full((112, 112, 3), 128, np.uint8), crop()
    best = faces([good], [sharp]).score[0]
    assert best > 0.8
    worse = {
        "small": faces([turned(0, 0, 0, 0.15)], [sharp]),
        "turned": faces([turned(60, 0, 0)], [sharp]),
        "dark": faces([good], [crop(0, 2, 12)]),
        "bright": faces([good], [crop(0, 240, 255)]),
        "flat": faces([good], [flat]),
        "unsure": faces([good], [sharp], score=0.35),
    }
    for flaw, found in worse.items():
        assert 0 < found.score[0] < 0.9 * best, flaw


def test_many_faces_at_once_equal_each_alone():
    points = [
        turned(y, p, r, s) for y, p, r, s in [(0, 0, 0, 1), (30, 10, 5, 0.3), (-20, 5, 90, 4)]
    ]
    crops = [crop(0), crop(1, 0, 60), crop(2, 200, 255)]
    together = faces(points, crops).records()
    alone = [faces([p], [c]).records()[0] for p, c in zip(points, crops, strict=True)]
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=0.002)
    json.dumps(together)


def test_no_faces():
    found = assess(FaceCrops(np.zeros((0, 112, 112, 3), np.uint8)), Detections.empty())
    assert len(found) == 0
    assert found.records() == []


def test_mismatches_are_refused():
    one = FaceCrops(crop()[None])
    with pytest.raises(ShapeError):
        assess(one, Detections.empty())
    boxes, scores = np.ones((1, 4), np.float32), np.ones(1, np.float32)
    with pytest.raises(ShapeError):
        assess(one, Detections(boxes, scores))
