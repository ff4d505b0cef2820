"""What the report draws histograms of, and the fixed edges of their bins.

Fixed edges make two reports comparable bin by bin, and let the database count in one pass.
Measurements that span decades (sizes, compression) get edges that grow by a constant factor.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from facecore.config import GateSettings

# Cosine similarity: below -0.2 and above 1 nothing of interest happens.
SCORE_EDGES: tuple[float, ...] = tuple(round(-0.2 + 0.04 * i, 2) for i in range(31))
FACES_PER_IMAGE_CAP = 10
DETECTION_SCORE = "detection_score"

# stages.measure.sharpness: about 0.2 when far too blurred, 1 for a photograph.
_SHARPNESS: tuple[float, ...] = tuple(round(0.1 * i, 1) for i in range(31))


@dataclass(frozen=True, slots=True)
class Limit:
    """A line drawn across a histogram: where a decision changes."""

    value: float
    label: str


@dataclass(frozen=True, slots=True)
class Metric:
    """One measurement: its key in the quality JSON, its name for people, its bins.

    Attributes:
        edges: strictly rising; n edges make n - 1 bins, one below and one above.
        hint: one sentence for someone who never saw the measurement.
    """

    key: str
    title: str
    unit: str
    edges: tuple[float, ...]
    hint: str
    limits: tuple[Limit, ...] = field(default=())


def image_metrics(gate: GateSettings) -> tuple[Metric, ...]:
    """Measurements of whole images, with the limits of the quality gate."""
    return (
        Metric(
            "sharpness", "Sharpness", "ratio; about 1 for a sharp photograph", _SHARPNESS,
            "Blurred pictures are on the left.",
            (Limit(gate.min_sharpness, "quarantined below"),),
        ),
        Metric(
            "brightness", "Brightness", "mean grey value, 0–255", _steps(0, 256, 16),
            "Night is on the left, glare on the right.",
            (
                Limit(gate.min_brightness, "quarantined below"),
                Limit(gate.max_brightness, "quarantined above"),
            ),
        ),
        Metric(
            "contrast", "Contrast", "standard deviation of grey values", _steps(0, 128, 8),
            "Fog, dirt or a covered lens are on the left.",
            (Limit(gate.min_contrast, "quarantined below"),),
        ),
        Metric(
            "dynamic_range", "Dynamic range", "grey values between dark and light",
            _steps(0, 256, 16), "How much of the range from black to white a picture uses.",
            (Limit(gate.min_dynamic_range, "quarantined below"),),
        ),
        Metric(
            "bits_per_pixel", "Compression", "bits per pixel", _decades(-2, 2, 5),
            "Strongly compressed pictures are on the left.",
            (Limit(gate.min_bits_per_pixel, "quarantined below"),),
        ),
        Metric(
            "pixels", "Resolution", "pixels", _decades(3, 8, 5),
            "Width times height.",
        ),
    )  # fmt: skip


def face_metrics(detection_threshold: float) -> tuple[Metric, ...]:
    """Measurements of single faces; the detector's own score among them."""
    return (
        Metric(
            DETECTION_SCORE, "Detection score", "0–1", _steps(0, 1, 0.05),
            "How sure the detector is that this is a face.",
            (Limit(detection_threshold, "kept from"),),
        ),
        Metric(
            "size_px", "Face size", "pixels, square root of the area", _decades(0, 4, 10),
            "Below about 40 pixels identification gets unreliable.",
        ),
        Metric(
            "inter_eye_px", "Distance between the eyes", "pixels", _decades(0, 4, 10),
            "The usual measure of how much detail a face has.",
        ),
        Metric(
            "sharpness", "Face sharpness", "ratio; about 1 for a sharp photograph", _SHARPNESS,
            "Motion blur and poor focus are on the left.",
        ),
        Metric(
            "yaw", "Turned left or right", "degrees", _steps(-90, 90, 10),
            "0 looks into the camera.",
        ),
        Metric(
            "score", "Overall face quality", "0–1", _steps(0, 1, 0.05),
            "Size, sharpness, exposure and pose in one number.",
        ),
    )  # fmt: skip


def _steps(low: float, high: float, step: float) -> tuple[float, ...]:
    count = round((high - low) / step)
    return tuple(round(low + step * i, 6) for i in range(count + 1))


def _decades(first: int, last: int, per_decade: int) -> tuple[float, ...]:
    """Preferred numbers (Renard series R5 or R10) from 10^first to 10^last."""
    series = {
        5: ("1", "1.6", "2.5", "4", "6.3"),
        10: ("1", "1.25", "1.6", "2", "2.5", "3.15", "4", "5", "6.3", "8"),
    }[per_decade]
    edges = [float(f"{m}e{exponent}") for exponent in range(first, last) for m in series]
    return (*edges, float(f"1e{last}"))
