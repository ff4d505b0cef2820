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
from facecore.stores.catalog import active, estimates, neighbours, people
from facecore.types import FaceCrops, Match

# Several gallery faces of one person may come first; look at enough to fill the list of people.
_FACES_PER_PERSON = 10


@dataclass(frozen=True, slots=True)
class FoundFace:
    """A face of the picture: box x1 y1 x2 y2 in pixels, detection score, and who it may be."""

    box: tuple[float, ...]
    score: float
    match: Match


@dataclass(frozen=True, slots=True)
class SearchedPicture:
    """What was found on a picture: its faces, best detection first, and their crops."""

    faces: list[FoundFace]
    crops: FaceCrops


def search(
    context: RunContext, photo: Path, *, top_k: int | None = None, stores: Stores | None = None
) -> list[FoundFace]:
    """Every face of a photograph with its best matches, best detection first.

    Raises:
        UsageError: the file is missing or is not a usable picture.
    """
    try:
        data = photo.read_bytes()
    except OSError as error:
        raise UsageError(f"{photo} cannot be read: {error.strerror}.") from error
    return search_picture(context, data, name=str(photo), top_k=top_k, stores=stores).faces


def search_picture(
    context: RunContext,
    data: bytes,
    *,
    name: str = "the picture",
    everybody: bool = False,
    top_k: int | None = None,
    stores: Stores | None = None,
) -> SearchedPicture:
    """Every face of a picture in memory with its best matches; nothing of it is stored.

    Args:
        name: of the picture, for messages.
        everybody: look at all faces that are somebody's, not only at enrolled ones. The
            threshold is then the one for as many faces as there are.

    Raises:
        UsageError: it is not a usable picture.
    """
    stores = stores or Stores()
    with recorded(stores.catalog, context, "search") as run:
        limits = Limits(stores.settings.ingest.max_bytes, stores.settings.ingest.max_pixels)
        try:
            pixels = decode(data, limits)
        except ImageRejected as rejected:
            raise UsageError(f"{name} cannot be used: {rejected}.") from rejected

        def once() -> SearchedPicture:
            chosen = champions(stores)
            run.models = chosen.names
            (found,) = extractor(stores, chosen).extract([pixels])
            top = top_k or stores.settings.identify.top_k
            return SearchedPicture(
                _look_up(stores, chosen, found, top, everybody=everybody), found.crops
            )

        searched = while_models_change(once)
        run.counts = {"faces": len(searched.faces)}
    return searched


def _look_up(
    stores: Stores, chosen: Champions, found: ExtractedImage, top_k: int, *, everybody: bool
) -> list[FoundFace]:
    """Compare all faces of a picture with one state of the catalogue, under one embedder."""
    wanted = stores.settings.identify
    with stores.catalog.transaction() as tx:
        active.pin(tx, chosen.embedder_row.id)
        if everybody:
            size = estimates.vectors(tx, chosen.embedder_row.id).value
        else:
            size = people.gallery_size(tx, chosen.embedder_row.id)
        threshold = threshold_for(chosen.embedder_row.calibration, wanted.target_fpir, size)
        answers = []
        for index in range(len(found)):
            near = neighbours.nearest(
                tx,
                chosen.embedder_row.id,
                found.embeddings.vectors[index],
                k=_FACES_PER_PERSON * top_k,
                enrolled_only=not everybody,
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
