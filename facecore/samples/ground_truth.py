"""What is true of a sample set. Written beside the pictures when they are made.

`facecore.samples.comparison` holds it against what the platform found.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from facecore.errors import UsageError

Box = tuple[float, float, float, float]
CapturedFrom = Literal["exif", "metadata", "key", "modified"]


@dataclass(frozen=True, slots=True)
class ExpectedFace:
    """One person in a frame.

    Attributes:
        person: who it is.
        box: x1 y1 x2 y2 in pixels of the upright image, forehead to chin.
        enrolled: whether this person is in the gallery; others must stay unknown.
        identifiable: large and clear enough to be recognised. Of the rest nothing is expected
            except that it is not given somebody else's name.
    """

    person: str
    box: Box
    enrolled: bool
    identifiable: bool


@dataclass(frozen=True, slots=True)
class ExpectedImage:
    """One object in the landing bucket.

    Attributes:
        key: object key.
        sha256: digest of its bytes; equal for exact duplicates.
        source: camera.
        captured_at: UTC; None when nothing is expected (files that are not images).
        captured_from: where that time can be read.
        status: extracted or quarantined.
        reasons: codes that must be among the reasons of the quarantine.
        faces: everybody who is visible.
        duplicate_of: key of the object with the same bytes.
    """

    key: str
    sha256: str
    source: str
    captured_at: datetime | None
    captured_from: CapturedFrom
    status: Literal["extracted", "quarantined"] = "extracted"
    reasons: tuple[str, ...] = ()
    faces: tuple[ExpectedFace, ...] = ()
    duplicate_of: str = ""


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """All of it, with notes on what the figures can and cannot show."""

    name: str
    seed: int
    days: int
    last_day: str
    enrolled: tuple[str, ...]
    unknown: tuple[str, ...]
    notes: tuple[str, ...]
    images: tuple[ExpectedImage, ...]

    @property
    def distinct(self) -> list[ExpectedImage]:
        """One of each content: keys that deliver the same bytes again are left out."""
        return [image for image in self.images if not image.duplicate_of]

    def totals(self) -> dict[str, Any]:
        """Counts by kind; a face counts once per distinct image."""
        distinct = self.distinct
        faces = [face for image in distinct for face in image.faces]
        rejected = [image for image in distinct if image.status == "quarantined"]
        return {
            "objects": len(self.images),
            "images": len(distinct),
            "sightings": len(self.images),
            "quarantined": len(rejected),
            "quarantined_by_reason": dict(
                sorted(Counter(code for image in rejected for code in image.reasons).items())
            ),
            "faces": len(faces),
            "faces_identifiable": sum(face.identifiable for face in faces),
            "faces_of_unknown_people": sum(not face.enrolled for face in faces),
            "frames_without_people": sum(
                not image.faces for image in distinct if image.status == "extracted"
            ),
            "faces_by_person": dict(sorted(Counter(face.person for face in faces).items())),
            "objects_by_source": dict(sorted(Counter(i.source for i in self.images).items())),
        }

    def save(self, path: Path) -> None:
        """Write as JSON, totals included."""
        document = {**asdict(self), "totals": self.totals()}
        text = json.dumps(document, default=_plain, ensure_ascii=False)
        path.write_text(text + "\n", "utf-8")

    @classmethod
    def load(cls, path: Path) -> GroundTruth:
        """Read what `save` wrote.

        Raises:
            UsageError: there is no such file, or it is not ground truth.
        """
        try:
            document = json.loads(path.read_text("utf-8"))
            document.pop("totals", None)
            images = tuple(_image(entry) for entry in document.pop("images"))
            fields: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in document.items()
            }
            return cls(images=images, **fields)
        except FileNotFoundError:
            raise UsageError(f"{path} does not exist.") from None
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} is not ground truth: {error}.") from error


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _image(entry: Mapping[str, Any]) -> ExpectedImage:
    taken = entry["captured_at"]
    return ExpectedImage(
        **{
            **entry,
            "captured_at": datetime.fromisoformat(taken) if taken else None,
            "reasons": tuple(entry["reasons"]),
            "faces": tuple(
                ExpectedFace(**{**face, "box": tuple(face["box"])}) for face in entry["faces"]
            ),
        }
    )
