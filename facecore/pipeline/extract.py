"""Images → faces, crops and embeddings: detect, align and embed as one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facecore.stages.align import align
from facecore.stages.detector import Detector
from facecore.stages.embed import FaceEmbedder
from facecore.stages.workers import Workers
from facecore.types import Contract, Detections, Embeddings, FaceCrops, Image


@dataclass(frozen=True, slots=True)
class ExtractedImage:
    """What was found in one image. Detections, crops and embeddings are in the same order.

    Attributes:
        width, height: of the upright image, px.
    """

    width: int
    height: int
    detections: Detections
    crops: FaceCrops
    embeddings: Embeddings

    def __len__(self) -> int:
        return len(self.detections)


class FaceExtractor:
    """Finds, aligns and embeds all faces of a batch of images of any size."""

    def __init__(
        self, detector: Detector, embedder: FaceEmbedder, workers: Workers | None = None
    ) -> None:
        self.detector = detector
        self.embedder = embedder
        self._workers = (workers or Workers()).on_cpu()

    @property
    def contract(self) -> Contract:
        """What the embeddings depend on."""
        return self.embedder.contract

    def extract(self, images: Sequence[Image]) -> list[ExtractedImage]:
        """One result per image, in order; an image without a face gives an empty one."""
        if not images:
            return []
        detections = self.detector.detect(images)
        crops = align(images, detections, self._workers)
        vectors = self.embedder.embed(FaceCrops(np.concatenate([c.pixels for c in crops]))).vectors
        per_image = np.split(vectors, np.cumsum([len(c) for c in crops])[:-1])
        return [
            ExtractedImage(
                width=image.shape[1],
                height=image.shape[0],
                detections=found,
                crops=cropped,
                embeddings=Embeddings(own, self.contract),
            )
            for image, found, cropped, own in zip(images, detections, crops, per_image, strict=True)
        ]
