"""What every stage that needs faces asks for: anything that finds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from facecore.types import Detections, Image


class Detector(Protocol):
    """Finds faces with five landmarks in images of any size.

    Attributes:
        searched_px: longest side at which images are searched; more pixels do not help it.
    """

    searched_px: int

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Faces of each image, best score first; coordinates in pixels of that image."""
        ...
