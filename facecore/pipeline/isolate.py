"""One poisoned image costs one image: a batch that fails is halved until the culprit is alone."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from facecore.errors import ImageRejected
from facecore.pipeline.extract import ExtractedImage, FaceExtractor, Picture
from facecore.stages import reasons
from facecore.stages.workers import is_out_of_memory

_log = logging.getLogger(__name__)


def extract_each(
    extractor: FaceExtractor, pictures: Sequence[Picture]
) -> list[ExtractedImage | ImageRejected]:
    """As `FaceExtractor.extract`, but an image with which it fails is rejected by itself.

    What is raised with one image alone is that image's fault only if a picture in which nothing
    can be wrong is extracted without an error. Otherwise it is raised: a broken GPU or network
    must not send every image into the quarantine.

    Raises:
        Exception: as `extract` raised it, when nothing can be extracted at all.
    """
    try:
        return list(extractor.extract(pictures))
    except ImageRejected as rejected:
        if len(pictures) == 1:
            return [rejected]
    except Exception as error:
        if len(pictures) == 1:
            return [_judged(extractor, error)]
        what = "memory is full" if is_out_of_memory(error) else f"{type(error).__name__}: {error}"
        _log.warning("%s: trying %d images in halves", what, len(pictures))
    middle = len(pictures) // 2
    return [
        *extract_each(extractor, pictures[:middle]),
        *extract_each(extractor, pictures[middle:]),
    ]


def _judged(extractor: FaceExtractor, error: Exception) -> ImageRejected:
    try:
        extractor.probe()
    except Exception:
        raise error from None  # the first one says what happened
    _log.warning("an image cannot be extracted: %s: %s", type(error).__name__, error)
    lines = str(error).strip().splitlines()
    return ImageRejected(
        reasons.EXTRACTION_FAILED,
        f"{type(error).__name__}: {lines[0][:200] if lines else 'no message'}",
        error=type(error).__name__,
    )
