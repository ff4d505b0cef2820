"""Images → faces, crops and embeddings: detect, align and embed as one step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from facecore.pipeline.on_device import extract_on_device
from facecore.stages.align import align, pixels_per_crop_pixel
from facecore.stages.detect import FaceDetector
from facecore.stages.detector import Detector
from facecore.stages.embed import FaceEmbedder
from facecore.stages.workers import Workers
from facecore.types import CROP_SIZE, Contract, Detections, Embeddings, FaceCrops, Image

# A crop is cut from a reduced picture only where that still has this many pixels for each of
# the crop's, across: alignment averages over as many, so no detail is missed that a crop can
# show. Otherwise the picture is decoded again, in full.
_ENOUGH_PIXELS = 2.0


@dataclass(frozen=True, slots=True)
class Picture:
    """An image decoded for searching, which may be smaller than it is.

    Attributes:
        pixels: uint8 RGB `[h, w, 3]`; a tensor where a GPU decoded it.
        width, height: of the whole image, px.
        whole: decodes it in full size; None where `pixels` is in full size.
    """

    pixels: Image | Tensor
    width: int
    height: int
    whole: Callable[[], Image] | None = None

    @classmethod
    def of(cls, image: Image | Tensor) -> Picture:
        """An image in full size."""
        return cls(image, image.shape[1], image.shape[0])


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
    """Finds, aligns and embeds all faces of a batch of images of any size.

    Several threads may extract at the same time.
    """

    def __init__(
        self, detector: Detector, embedder: FaceEmbedder, workers: Workers | None = None
    ) -> None:
        self.detector = detector
        self.embedder = embedder
        self.workers = workers or Workers()
        # The detector, where everything between pixels and embeddings stays on one GPU.
        self.on_device: FaceDetector | None = None
        if self.workers.device.type == "cuda" and isinstance(detector, FaceDetector):
            self.on_device = detector

    @property
    def contract(self) -> Contract:
        """What the embeddings depend on."""
        return self.embedder.contract

    @property
    def searched_px(self) -> int:
        """Longest side at which images are searched for faces."""
        return self.detector.searched_px

    def describe(self) -> dict[str, str]:
        """What computes, in words: for logs and records."""
        backend = getattr(self.detector, "backend", None)
        return {
            "device": str(self.workers.device),
            "threads": str(self.workers.threads),
            "detector": "torch" if backend is None else str(backend.name),
            "embedder": f"{self.embedder.backend.name} {self.embedder.precision}",
        }

    def probe(self) -> None:
        """Extract a picture in which nothing can be wrong; raises what is wrong with us."""
        self.detector.detect([np.full((64, 64, 3), 127, np.uint8)])
        self.embedder.embed(FaceCrops(np.full((1, CROP_SIZE, CROP_SIZE, 3), 127, np.uint8)))

    def extract(self, images: Sequence[Image | Picture]) -> list[ExtractedImage]:
        """One result per image, in order; an image without a face gives an empty one.

        Raises:
            ImageRejected: a reduced picture had to be decoded in full, and could not be.
        """
        if not images:
            return []
        pictures = [i if isinstance(i, Picture) else Picture.of(i) for i in images]
        if self.on_device is not None:
            return self._extract_on_device(self.on_device, pictures)
        detections = self.detector.detect([_on_host(picture.pixels) for picture in pictures])
        crops = align(*_with_enough_pixels(pictures, detections), self.workers)
        vectors = self.embedder.embed(FaceCrops(np.concatenate([c.pixels for c in crops])))
        per_image = vectors.split([len(c) for c in crops])
        return [
            ExtractedImage(
                width=picture.width,
                height=picture.height,
                detections=_scaled(found, picture.pixels.shape, (picture.height, picture.width)),
                crops=cropped,
                embeddings=own,
            )
            for picture, found, cropped, own in zip(
                pictures, detections, crops, per_image, strict=True
            )
        ]

    def _extract_on_device(
        self, detector: FaceDetector, pictures: Sequence[Picture]
    ) -> list[ExtractedImage]:
        sources = [p.pixels if p.whole is None else p.whole() for p in pictures]
        found = extract_on_device(detector, self.embedder, sources)
        scores = found.scores.clip(0.0, 1.0)
        detections = Detections(found.boxes, scores, found.landmarks)
        vectors = Embeddings(found.vectors, self.contract)
        return [
            ExtractedImage(picture.width, picture.height, own, crops, embeddings)
            for picture, own, crops, embeddings in zip(
                pictures,
                detections.split(found.counts),
                FaceCrops(found.crops).split(found.counts),
                vectors.split(found.counts),
                strict=True,
            )
        ]


def _on_host(pixels: Image | Tensor) -> Image:
    return pixels.cpu().numpy() if isinstance(pixels, Tensor) else pixels


def _with_enough_pixels(
    pictures: Sequence[Picture], detections: Sequence[Detections]
) -> tuple[list[Image], list[Detections]]:
    """The pixels to cut crops from, and the detections in their coordinates."""
    pixels, moved = [], []
    for picture, found in zip(pictures, detections, strict=True):
        source, own = _on_host(picture.pixels), found
        if picture.whole is not None and _enough(found):
            own = _centred(found, picture.height / source.shape[0])
        elif picture.whole is not None:
            source = picture.whole()
            own = _scaled(found, picture.pixels.shape, source.shape)
        pixels.append(source)
        moved.append(own)
    return pixels, moved


def _centred(found: Detections, factor: float) -> Detections:
    """Pixels of a picture reduced by `factor` lie between those of the whole one. Where nothing
    was reduced, that half a pixel is not made up for (coordinates are only multiplied), so a
    crop of the same face must not make up for it here.
    """
    if found.landmarks is None:
        return found
    shift = np.float32(0.5 / factor - 0.5)
    return Detections(found.boxes, found.scores, found.landmarks + shift)


def _enough(found: Detections) -> bool:
    if found.landmarks is None or not len(found):
        return True
    return float(pixels_per_crop_pixel(found.landmarks).min()) >= _ENOUGH_PIXELS


def _scaled(found: Detections, own: Sequence[int], wanted: Sequence[int]) -> Detections:
    """Detections in an image of shape `own` (height, width …) as they lie in one of `wanted`."""
    if tuple(own[:2]) == tuple(wanted[:2]) or not len(found):
        return found
    factor = np.array([wanted[1] / own[1], wanted[0] / own[0]], np.float32)
    landmarks = None if found.landmarks is None else found.landmarks * factor
    return Detections(found.boxes * np.tile(factor, 2), found.scores, landmarks)
