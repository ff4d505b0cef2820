"""Do two pictures show one person? By the embedder in use, and by the matcher on top of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facecore.errors import ConfigError, ImageRejected, UsageError
from facecore.jobs.lineage import RunContext, recorded
from facecore.jobs.models.champions import champions, extractor
from facecore.jobs.stores import Stores
from facecore.jobs.training import matchers
from facecore.lifecycle.main_face import main_face
from facecore.lifecycle.thresholds import (
    VERIFICATION_FMR,
    Calibration,
    OperatingThreshold,
    threshold_at,
)
from facecore.stages.decode import Limits, decode
from facecore.types import Image


@dataclass(frozen=True, slots=True)
class ComparedFaces:
    """What two pictures' main faces have to do with each other.

    Attributes:
        similarity: cosine of their embeddings, -1..1.
        threshold: of one comparison, for the false-match rate that was asked for.
        probability: that they are one person, calibrated for pairs of which half are; None
            without a matcher for this embedder.
        models: task → "name/version".
    """

    similarity: float
    threshold: OperatingThreshold
    probability: float | None
    models: dict[str, str]

    @property
    def same(self) -> bool:
        """Whether the similarity reaches the threshold."""
        return self.similarity >= self.threshold.threshold


def compare(
    context: RunContext,
    first: Path,
    second: Path,
    *,
    fmr: float = VERIFICATION_FMR,
    stores: Stores | None = None,
) -> ComparedFaces:
    """Compare the main faces of two pictures (1:1); nothing of them is stored.

    Args:
        fmr: false-match rate that the threshold stands for.

    Raises:
        UsageError: a file cannot be read or used, or shows no face; a rate that the calibration
            does not support.
        ConfigError: the embedder in use is not calibrated.
    """
    stores = stores or Stores()
    with recorded(stores.catalog, context, "compare", {"fmr": fmr}) as run:
        limits = Limits(stores.settings.ingest.max_bytes, stores.settings.ingest.max_pixels)
        images = [_read(path, limits) for path in (first, second)]
        chosen = champions(stores)
        run.models = dict(chosen.names)
        document = chosen.embedder_row.calibration
        if not document:
            raise ConfigError(
                "the active embedder has no calibrated threshold.",
                remedy="Run `facecore evaluate calibrate`.",
            )
        threshold = threshold_at(Calibration.from_json(document), fmr)
        vectors = []
        for path, one in zip(
            (first, second), extractor(stores, chosen).extract(images), strict=True
        ):
            face = main_face(one.detections, one.width, one.height)
            if face is None:
                raise UsageError(f"no face was found in {path}.")
            vectors.append(one.embeddings.vectors[face : face + 1])
        matcher = matchers.of_embedder(stores, chosen)
        probability = None
        if matcher is not None:
            run.models["match"] = matcher.name
            probability = float(matcher.probability(*vectors)[0])
        similarity = float((vectors[0] * vectors[1]).sum())
    return ComparedFaces(similarity, threshold, probability, run.models)


def _read(path: Path, limits: Limits) -> Image:
    try:
        return decode(path.read_bytes(), limits)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    except ImageRejected as rejected:
        raise UsageError(f"{path} cannot be used: {rejected}.") from rejected
