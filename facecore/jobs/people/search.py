"""Who is on this picture? Looks a photograph up in the gallery, without storing it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from facecore.errors import ImageRejected, UsageError
from facecore.jobs.lineage import RunContext, recorded
from facecore.jobs.models.champions import (
    Champions,
    champions,
    extractor,
    threshold_for,
    while_models_change,
)
from facecore.jobs.stores import Stores
from facecore.pipeline.extract import ExtractedImage
from facecore.stages.decode import Limits, decode
from facecore.stages.identify import decide
from facecore.stores.catalog.models import active
from facecore.stores.catalog.search import face_filter, index_checks
from facecore.stores.catalog.search.face_filter import FaceFilter
from facecore.stores.catalog.search.neighbours import LookUp
from facecore.types import FaceCrops, Match

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FoundFace:
    """A face of the picture, and who it may be.

    Attributes:
        box: x1 y1 x2 y2, pixels.
        score: of the detection.
        compared: with how many faces it was compared; of many the number is not exact.
        note: why it was compared exactly, without the index, where somebody should know.
    """

    box: tuple[float, ...]
    score: float
    match: Match
    compared: int
    note: str


@dataclass(frozen=True, slots=True)
class SearchedPicture:
    """What was found on a picture: its faces, best detection first, and their crops."""

    faces: list[FoundFace]
    crops: FaceCrops


def search(
    context: RunContext,
    photo: Path,
    *,
    sources: Sequence[str] = (),
    since: str | None = None,
    until: str | None = None,
    top_k: int | None = None,
    stores: Stores | None = None,
) -> list[FoundFace]:
    """Every face of a photograph with its best matches, best detection first.

    Without a source or time it is compared with the enrolled faces, else with all faces that
    were seen there and then: the answer names people who were seen there, enrolled or not.

    Args:
        sources: where; several are alternatives.
        since, until: when: `YYYY-MM-DD`, both days included, or a time as of ISO 8601. Without a
            zone it is the one of `FACECORE_REPORT__TIMEZONE`.

    Raises:
        UsageError: the file is missing or is not a usable picture, a time is malformed, or no
            picture came from a source.
    """
    stores = stores or Stores()
    zone = ZoneInfo(stores.settings.report.timezone)
    among = FaceFilter(
        enrolled=not (sources or since or until),
        sources=tuple(sources),
        since=None if since is None else _moment(since, zone),
        until=None if until is None else _moment(until, zone, end=True),
    )
    try:
        data = photo.read_bytes()
    except OSError as error:
        raise UsageError(f"{photo} cannot be read: {error.strerror}.") from error
    name = str(photo)
    return search_picture(context, data, name=name, among=among, top_k=top_k, stores=stores).faces


def search_picture(
    context: RunContext,
    data: bytes,
    *,
    name: str = "the picture",
    among: FaceFilter,
    top_k: int | None = None,
    stores: Stores | None = None,
) -> SearchedPicture:
    """Every face of a picture in memory with its best matches; nothing of it is stored.

    Args:
        name: of the picture, for messages.
        among: which faces it is compared with. The threshold is the one for as many.

    Raises:
        UsageError: it is not a usable picture, or no picture came from a source.
    """
    stores = stores or Stores()
    _require_sources(stores, among)
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
            return SearchedPicture(_look_up(stores, chosen, found, top, among), found.crops)

        searched = while_models_change(once)
        run.counts = {"faces": len(searched.faces)}
    return searched


def _look_up(
    stores: Stores, chosen: Champions, found: ExtractedImage, top_k: int, among: FaceFilter
) -> list[FoundFace]:
    """Compare all faces of a picture with one state of the catalogue, under one embedder."""
    wanted, embedder = stores.settings.identify, chosen.embedder_row
    with stores.catalog.transaction() as tx:
        active.pin(tx, embedder.id)
        method = index_checks.method(tx, embedder.id, stores.settings.search)
        look_up = LookUp(tx, embedder.id, method, among)
        threshold = threshold_for(embedder.calibration, wanted.target_fpir, look_up.compared)
        answers = []
        for index in range(len(found)):
            vector = found.embeddings.vectors[index]
            # A second person too, so that there is a lead over them.
            near = look_up.nearest_people(vector, max(top_k, 2))
            match = decide(
                (
                    (n.person_id, n.label, n.score)
                    for n in near
                    if n.person_id is not None and n.label is not None
                ),
                threshold=threshold.threshold,
                review_margin=wanted.review_margin,
                top_k=top_k,
            )
            answers.append(
                FoundFace(
                    box=tuple(found.detections.boxes[index].tolist()),
                    score=float(found.detections.scores[index]),
                    match=match,
                    compared=look_up.compared,
                    note=look_up.note,
                )
            )
    if answers and look_up.note:
        logger.warning("%s", look_up.note)
    return answers


def _moment(text: str, zone: ZoneInfo, *, end: bool = False) -> datetime:
    """A day's begin, or its end, or a moment."""
    try:
        moment = datetime.fromisoformat(text)
        if end and len(text) <= len("2026-11-23"):
            moment += timedelta(days=1)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r} is no day like 2026-11-23 and no time like 2026-11-23T14:30."
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def _require_sources(stores: Stores, among: FaceFilter) -> None:
    if not among.sources:
        return
    with stores.catalog.transaction() as tx:
        known = face_filter.sources(tx)
    for source in among.sources:
        if source not in known:
            raise UsageError(
                f"no picture came from a source {source!r}.",
                remedy=f"There are: {', '.join(known[:20])}." if known else "",
            )
