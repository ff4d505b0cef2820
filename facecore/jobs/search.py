"""Who is on this picture? Looks a photograph up in the gallery, without storing it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facecore.errors import ImageRejected, UsageError
from facecore.jobs.champions import (
    Champions,
    champions,
    extractor,
    threshold_for,
    while_models_change,
)
from facecore.jobs.lineage import RunContext, recorded
from facecore.jobs.stores import Stores
from facecore.pipeline.extract import ExtractedImage
from facecore.stages.decode import Limits, decode
from facecore.stages.identify import decide
from facecore.stores.catalog import active, neighbours, people
from facecore.types import Match

# Several gallery faces of one person may come first; look at enough to fill the list of people.
_FACES_PER_PERSON = 10


@dataclass(frozen=True, slots=True)
class FoundFace:
    """A face of the picture: box x1 y1 x2 y2 in pixels, detection score, and who it may be."""

    box: tuple[float, ...]
    score: float
    match: Match


def search(
    context: RunContext, photo: Path, *, top_k: int | None = None, stores: Stores | None = None
) -> list[FoundFace]:
    """Every face of a photograph with its best matches, best detection first.

    Raises:
        UsageError: the file is missing or is not a usable picture.
    """
    stores = stores or Stores()
    wanted = stores.settings.identify
    with recorded(stores.catalog, context, "search") as run:
        limits = Limits(stores.settings.ingest.max_bytes, stores.settings.ingest.max_pixels)
        try:
            pixels = decode(photo.read_bytes(), limits)
        except OSError as error:
            raise UsageError(f"{photo} cannot be read: {error.strerror}.") from error
        except ImageRejected as rejected:
            raise UsageError(f"{photo} cannot be used: {rejected}.") from rejected

        def once() -> list[FoundFace]:
            chosen = champions(stores)
            run.models = chosen.names
            (found,) = extractor(stores, chosen).extract([pixels])
            return _look_up(stores, chosen, found, top_k or wanted.top_k)

        answers = while_models_change(once)
        run.counts = {"faces": len(answers)}
    return answers


def _look_up(
    stores: Stores, chosen: Champions, found: ExtractedImage, top_k: int
) -> list[FoundFace]:
    """Compare all faces of a picture with one state of the gallery, under one embedder."""
    wanted = stores.settings.identify
    with stores.catalog.transaction() as tx:
        active.pin(tx, chosen.embedder_row.id)
        size = people.gallery_size(tx, chosen.embedder_row.id)
        threshold = threshold_for(chosen.embedder_row.calibration, wanted.target_fpir, size)
        answers = []
        for index in range(len(found)):
            near = neighbours.nearest(
                tx,
                chosen.embedder_row.id,
                found.embeddings.vectors[index],
                k=_FACES_PER_PERSON * top_k,
            )
            answers.append(
                FoundFace(
                    box=tuple(found.detections.boxes[index].tolist()),
                    score=float(found.detections.scores[index]),
                    match=decide(
                        (
                            (n.person_id, n.label, n.score)
                            for n in near
                            if n.person_id is not None and n.label is not None
                        ),
                        threshold=threshold.threshold,
                        review_margin=wanted.review_margin,
                        top_k=top_k,
                    ),
                )
            )
    return answers
