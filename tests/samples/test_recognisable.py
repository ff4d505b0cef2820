"""The product's own pipeline finds and names on the sample frames what their truth says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facecore.config import settings
from facecore.pipeline.extract import FaceExtractor
from facecore.pipeline.load import load_extractor
from facecore.samples.comparison import FoundFace, FoundImage, compare
from facecore.samples.stream import SampleSet
from facecore.stages.decode import Limits, decode
from facecore.stages.identify import identify
from facecore.types import Image
from facecore.zoo.registry import prepare

LIMITS = Limits(64 * 2**20, 64_000_000)
THRESHOLD = 0.363  # cosine that OpenCV publishes for SFace


@pytest.fixture(scope="module")
def extractor(downloads: Path) -> FaceExtractor:
    detector, embedder = (
        prepare(name, downloads, settings().model_dir) for name in ("yunet", "sface")
    )
    return load_extractor(detector.path, detector.sha256, embedder.path, embedder.sha256)


# Nothing is clustered here.
OF_CLUSTERING = {"unknown people found by clustering", "faces of unknown people in their group"}


def picture(path: Path) -> Image:
    return decode(path.read_bytes(), LIMITS)


def test_frames_compare_well_with_their_truth(one_day: SampleSet, extractor: FaceExtractor) -> None:
    gallery = extractor.extract([picture(photo.path) for photo in one_day.gallery])
    assert [len(image) for image in gallery] == [1] * len(gallery)
    vectors = np.concatenate([image.embeddings.vectors for image in gallery])
    labels = [photo.person for photo in one_day.gallery]

    truth = {image.key: image for image in one_day.truth.images}
    good = [o for o in one_day.objects if truth[o.key].status == "extracted"]
    found = [
        FoundImage(image.key, "quarantined", image.sha256, image.reasons)
        for image in truth.values()
        if image.status == "quarantined"
    ]
    for start in range(0, len(good), 16):
        batch = good[start : start + 16]
        results = extractor.extract([picture(item.path) for item in batch])
        for item, result in zip(batch, results, strict=True):
            matches = identify(
                result.embeddings.vectors,
                vectors,
                list(range(len(labels))),
                labels,
                threshold=THRESHOLD,
                review_margin=0.05,
                top_k=3,
            )
            faces = tuple(
                FoundFace(tuple(box.tolist()), match.outcome.value, match.label)
                for box, match in zip(result.detections.boxes, matches, strict=True)
            )
            found.append(FoundImage(item.key, "extracted", truth[item.key].sha256, (), faces))
    result = compare(one_day.truth, found)
    missed = {row.name for row in result.rows if not row.ok}
    assert missed <= OF_CLUSTERING, (result.rows, result.wrong)
    assert result.recall >= 0.95
    assert result.precision == 1.0
