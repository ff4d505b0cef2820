"""How usable each face is: size, sharpness, exposure and pose, and one score from them.

Everything is computed for all faces at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from facecore.errors import ShapeError
from facecore.stages.measure import sharpness
from facecore.types import Detections, FaceCrops, Floats

# The five landmarks of a mean face; x to the right, y down, z away from the camera. x and y are
# the medians of YuNet's landmarks over 299 aligned LFW pictures, made symmetric (the 112 px
# ArcFace template has a higher nose: with it, ordinary faces would seem to look down by 11°).
# Depth: the nose tip is 27 mm in front of the eyes where the pupils are 63 mm apart, mouth
# corners 2 mm (proportions of the six-point model in OpenCV's head-pose examples).
_MEAN_FACE = np.array(
    [
        (-18.90, -21.24, 0.0),
        (18.90, -21.24, 0.0),
        (0.0, 0.0, -16.2),
        (-16.15, 16.37, -1.2),
        (16.15, 16.37, -1.2),
    ],
    np.float64,
)
_FIT = np.linalg.pinv(_MEAN_FACE - _MEAN_FACE.mean(axis=0))  # [3, 5]
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_FACE_ROWS, _FACE_COLUMNS = slice(24, 104), slice(20, 92)  # of a crop: without hair and background
_FLOOR = 0.01

# component → (worthless at, fully good at); linear in between
RAMPS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "inter_eye_px": (5.0, 60.0),
        "sharpness": (0.1, 1.0),
        "darkness": (15.0, 80.0),
        "brightness": (250.0, 170.0),
        "contrast": (3.0, 30.0),
        "off_axis_degrees": (80.0, 5.0),
        "detection": (0.3, 0.95),
    }
)


@dataclass(frozen=True, slots=True)
class FaceQuality:
    """One float32 value `[n]` per face and attribute.

    Attributes:
        size_px: side of the square with the box's area, in pixels of the original picture.
        inter_eye_px: distance of the eyes there.
        sharpness: `measure.sharpness` of the aligned crop; enlarged small faces score low.
        brightness: mean luma of the crop's inner part, 0..255.
        contrast: standard deviation of it.
        yaw: degrees; positive when the nose points to the right of the picture.
        pitch: degrees; positive when the nose points up.
        roll: degrees; positive when the head leans clockwise in the picture.
        score: 0..1, see `assess`.
    """

    size_px: Floats
    inter_eye_px: Floats
    sharpness: Floats
    brightness: Floats
    contrast: Floats
    yaw: Floats
    pitch: Floats
    roll: Floats
    score: Floats

    def __len__(self) -> int:
        return len(self.score)

    def records(self) -> list[dict[str, float]]:
        """One JSON-able mapping per face, rounded to three decimals."""
        names = [f.name for f in fields(self)]
        table = np.stack([getattr(self, name) for name in names], axis=1).astype(float).round(3)
        return [dict(zip(names, row, strict=True)) for row in table.tolist()]


def assess(crops: FaceCrops, detections: Detections) -> FaceQuality:
    """Judge faces.

    The score is the geometric mean of seven components, each 0..1 by a linear ramp of `RAMPS`
    (never below 0.01, so that scores of bad faces can still be ordered): distance of the eyes,
    sharpness, not too dark, not too bright, contrast, angle between nose and camera, and the
    detector's score. A geometric mean, because one fatal flaw is not made good by the rest.
    Roll does not count: alignment undoes it.

    Args:
        crops: aligned faces.
        detections: the same faces in the same order; from one picture or joined from several.

    Raises:
        ShapeError: other than one crop per face, or faces without landmarks.
    """
    if len(crops) != len(detections):
        raise ShapeError("crops", f"{len(detections)} faces", f"{len(crops)}")
    if detections.landmarks is None:
        raise ShapeError("landmarks", f"float32 [{len(detections)}, 5, 2]", "none")
    boxes, landmarks = detections.boxes, detections.landmarks
    if not len(crops):
        nothing = np.zeros(0, np.float32)
        return FaceQuality(*[nothing] * 9)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    eyes = np.linalg.norm(landmarks[:, 1] - landmarks[:, 0], axis=1)
    luma = crops.pixels[:, _FACE_ROWS, _FACE_COLUMNS] @ _LUMA
    detail = sharpness(luma)
    brightness, contrast = luma.mean(axis=(1, 2)), luma.std(axis=(1, 2))
    yaw, pitch, roll = pose(landmarks)
    off_axis = np.degrees(np.arccos(np.clip(np.cos(np.radians(yaw)) * _cos(pitch), -1, 1)))
    components = np.stack(
        [
            _ramp("inter_eye_px", eyes),
            _ramp("sharpness", detail),
            _ramp("darkness", brightness),
            _ramp("brightness", brightness),
            _ramp("contrast", contrast),
            _ramp("off_axis_degrees", off_axis),
            _ramp("detection", detections.scores),
        ]
    )
    score = np.exp(np.log(components).mean(axis=0))
    size = np.sqrt(sides.prod(axis=1))
    columns = (size, eyes, detail, brightness, contrast, yaw, pitch, roll, score)
    return FaceQuality(*(column.astype(np.float32) for column in columns))


def pose(landmarks: Floats) -> tuple[Floats, Floats, Floats]:
    """Estimate head pose from five landmarks.

    Fits the mean face to the landmarks under scaled orthographic projection (the first step of
    POSIT; DeMenthon and Davis, 1995) and reads the direction of the nose off the nearest
    rotation. It takes every face for the mean one, and only the nose tip has depth, so expect
    errors around 10°, more in profile and for unusual noses; good for sorting, not for gaze.

    Args:
        landmarks: float32 `[n, 5, 2]`, in the order of `LANDMARK_NAMES`.

    Returns:
        Yaw, pitch, roll: float32 `[n]`, degrees, signs as in `FaceQuality`. Landmarks that all
        coincide give zeros.
    """
    centred = landmarks - landmarks.mean(axis=1, keepdims=True)
    projection = np.einsum("km,nmc->nck", _FIT, centred.astype(np.float64))  # [n, 2, 3]
    left, _, right = np.linalg.svd(projection, full_matrices=False)
    axes = left @ right  # the nearest pair of orthonormal rows: image x and y in face space
    roll = np.arctan2(axes[:, 1, 0], axes[:, 0, 0])
    nose = -np.stack([axes[:, 0, 2], axes[:, 1, 2], np.cross(axes[:, 0], axes[:, 1])[:, 2]], axis=1)
    sideways = nose[:, 0] * np.cos(roll) + nose[:, 1] * np.sin(roll)
    down = nose[:, 1] * np.cos(roll) - nose[:, 0] * np.sin(roll)
    yaw = np.arctan2(sideways, -nose[:, 2])
    pitch = np.arcsin(np.clip(-down, -1, 1))
    known = np.linalg.norm(projection, axis=(1, 2)) > 1e-6
    angles = np.degrees(np.stack([yaw, pitch, roll])) * known
    degrees = angles.astype(np.float32)
    return degrees[0], degrees[1], degrees[2]


def _cos(degrees: Floats) -> npt.NDArray[np.floating]:
    cosine: npt.NDArray[np.floating] = np.cos(np.radians(degrees))
    return cosine


def _ramp(name: str, values: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    worthless, good = RAMPS[name]
    ramp: npt.NDArray[np.floating] = np.clip((values - worthless) / (good - worthless), _FLOOR, 1)
    return ramp
