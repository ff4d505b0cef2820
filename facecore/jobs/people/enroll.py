"""Pictures of a known person → the gallery.

Each picture must show one dominant face; it is stored like any image (source `enrolment`),
its face is confirmed as the person's and joins the gallery probes are compared with.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from facecore.errors import ImageRejected, UsageError
from facecore.jobs.faces.extract import Pack
from facecore.jobs.images.landing import content_key
from facecore.jobs.lineage import Run, RunContext, recorded
from facecore.jobs.models.champions import Champions, champions, extractor, while_models_change
from facecore.jobs.stores import Stores
from facecore.lifecycle.main_face import main_face
from facecore.stages.decode import Limits, decode, inspect
from facecore.stages.fingerprint import content_digest, perceptual_hash
from facecore.stages.measure import measure
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.faces import faces
from facecore.stores.catalog.images import images
from facecore.stores.catalog.models import active, counterparts
from facecore.stores.catalog.people import people
from facecore.stores.catalog.work import coverage
from facecore.types import Detections, Floats, ImageStatus

logger = logging.getLogger(__name__)

SOURCE = "enrolment"
PICTURES_PER_BATCH = 128
# A second face of at least this share of the first one's area makes a picture ambiguous.
RIVAL_AREA = 0.5
MIN_FACE_PX = 40

State = Literal["enrolled", "known", "refused"]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to enrol: the person's name and the file."""

    label: str
    path: Path


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What became of a picture; `detail` says why one was refused."""

    label: str
    path: str
    state: State
    face_id: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Read:
    picture: Picture
    data: bytes
    digest: str


def enroll(
    context: RunContext,
    pictures: Iterable[Picture],
    *,
    central_face: bool = False,
    stores: Stores | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> list[Enrolment]:
    """Enrol pictures, in batches; one result per picture, in order.

    A picture that is enrolled for this person already is left alone, so repeating is cheap.

    Args:
        central_face: where several faces are prominent, take the one nearest to the centre
            instead of refusing the picture (for datasets made that way, such as LFW).

    Raises:
        UsageError: a file cannot be read, or a name is empty.
    """
    stores = stores or Stores()
    results: list[Enrolment] = []
    with recorded(stores.catalog, context, "enroll") as run:
        for batch in _batches(pictures):
            results += while_models_change(partial(_enroll_batch, stores, run, batch, central_face))
            on_progress(len(results))
        run.counts = {
            state: sum(r.state == state for r in results)
            for state in ("enrolled", "known", "refused")
        }
    return results


def dominant_face(found: Detections, width: int, height: int, *, central: bool = False) -> int:
    """Index of the face a portrait is about.

    Raises:
        ImageRejected: no_face, face_too_small, or several_faces of similar size.
    """
    if not len(found):
        raise ImageRejected("no_face", "no face was found")
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    areas = sides[:, 0] * sides[:, 1]
    order = np.argsort(areas)[::-1]
    best = int(order[0])
    if central:
        best = main_face(found, width, height) or 0
    elif len(order) > 1 and areas[order[1]] >= RIVAL_AREA * areas[best]:
        raise ImageRejected(
            "several_faces",
            f"{len(found)} faces, and the two largest are of similar size; crop the picture "
            "to the person",
        )
    if float(sides[best].min()) < MIN_FACE_PX:
        raise ImageRejected(
            "face_too_small",
            f"the face is {sides[best].min():.0f} px wide, at least {MIN_FACE_PX} are needed",
        )
    return best


def _batches(pictures: Iterable[Picture]) -> Iterator[list[_Read]]:
    remaining = iter(pictures)
    while batch := list(islice(remaining, PICTURES_PER_BATCH)):
        yield [_read(picture) for picture in batch]


def _read(picture: Picture) -> _Read:
    try:
        data = picture.path.read_bytes()
    except OSError as error:
        raise UsageError(f"{picture.path} cannot be read: {error.strerror}.") from error
    return _Read(picture, data, content_digest(data))


def _enroll_batch(
    stores: Stores, run: Run, batch: Sequence[_Read], central: bool
) -> list[Enrolment]:
    chosen = champions(stores)
    run.models = chosen.names
    with stores.catalog.transaction() as tx:
        enrolled = people.enrolled_as(tx, [item.digest for item in batch])
        fresh: dict[str, int] = {}  # digest → where it is first; a batch may have it twice
        for index, item in enumerate(batch):
            if item.digest not in enrolled:
                fresh.setdefault(item.digest, index)
        wanted = [(index, batch[index]) for index in fresh.values()]
        results = dict(_enroll_fresh(stores, tx, chosen, run, wanted, central))
    for index, item in enumerate(batch):
        if index in results:
            continue
        if item.digest in enrolled:
            results[index] = _known(item, enrolled[item.digest])
        else:
            results[index] = _repeated(item, results[fresh[item.digest]])
    return [results[index] for index in range(len(batch))]


def _repeated(item: _Read, first: Enrolment) -> Enrolment:
    """What becomes of a picture that the same batch had before."""
    if first.state == "enrolled":
        return _known(item, people.normalised(first.label))
    return replace(first, label=item.picture.label, path=str(item.picture.path))


def _known(item: _Read, label: str) -> Enrolment:
    """What becomes of a picture that is enrolled already."""
    same = label == people.normalised(item.picture.label)
    return Enrolment(
        item.picture.label,
        str(item.picture.path),
        "known" if same else "refused",
        detail="" if same else f"this picture is enrolled as {label!r} already",
    )


def _enroll_fresh(
    stores: Stores,
    tx: Transaction,
    chosen: Champions,
    run: Run,
    fresh: Sequence[tuple[int, _Read]],
    central: bool,
) -> Iterator[tuple[int, Enrolment]]:
    limits = Limits(stores.settings.ingest.max_bytes, stores.settings.ingest.max_pixels)
    pixels = {}
    for index, item in fresh:
        try:
            pixels[index] = decode(item.data, limits)
        except ImageRejected as rejected:
            yield index, _refused(item, rejected)
    extracted = extractor(stores, chosen).extract(list(pixels.values()))
    found = dict(zip(pixels, extracted, strict=True))
    active.require(tx, *chosen.ids)
    pack = Pack(f"enrolment-{run.id}-{fresh[0][1].digest[:16]}.safetensors" if fresh else "")
    detector_id, embedder_id = chosen.ids
    portraits: list[tuple[int, _Read, int, Floats]] = []
    for index, item in fresh:
        if index not in found:
            continue
        seen = found[index]
        try:
            face = dominant_face(seen.detections, seen.width, seen.height, central=central)
            image_id = _record_image(stores, tx, run, item, pixels[index], limits)
        except ImageRejected as rejected:
            yield index, _refused(item, rejected)
            continue
        portraits.append((index, item, image_id, seen.detections.boxes[face]))
        # A picture that was extracted before keeps the faces it has.
        if not faces.found_by(tx, image_id, detector_id):
            pack.add(image_id, seen, detector_id, None)
    pack.write(stores, tx, embedder_id)
    added = sorted({row.image_id for row in pack.rows})
    images.mark_extracted(tx, added)
    coverage.cover(tx, chosen.ids, added)
    for index, item, image_id, box in portraits:
        yield index, _confirm(tx, run, item, faces.found_by(tx, image_id, detector_id), box)


def _confirm(
    tx: Transaction, run: Run, item: _Read, stored: Sequence[faces.Face], box: Floats
) -> Enrolment:
    """Say that the stored face at a place is the picture's person."""
    try:
        face_id = _stored_face(stored, box)
    except ImageRejected as rejected:
        return _refused(item, rejected)
    person_id = people.enrol(tx, item.picture.label)
    people.confirm(tx, person_id, [face_id], gallery=True, run_id=run.id)
    return Enrolment(item.picture.label, str(item.picture.path), "enrolled", face_id)


def _stored_face(stored: Sequence[faces.Face], box: Floats) -> int:
    """Id of the catalogue's face at a place, x1 y1 x2 y2.

    By place, not by rank: extraction searches large pictures reduced, and scores that differ a
    little put the faces in another order.

    Raises:
        ImageRejected: another_face.
    """
    overlaps = counterparts.intersection_over_union(
        np.array([face.box for face in stored]), np.array([box])
    )[:, 0]
    best = int(overlaps.argmax())
    if overlaps[best] < counterparts.SAME_FACE_IOU:
        raise ImageRejected(
            "another_face",
            "the picture was extracted before, and its dominant face was not found then; crop "
            "the picture to the person",
        )
    return stored[best].id


def _record_image(
    stores: Stores, tx: Transaction, run: Run, item: _Read, pixels: np.ndarray, limits: Limits
) -> int:
    header = inspect(item.data, limits)
    row = images.ImageRow(
        sha256=item.digest,
        bucket="images",
        object_key=content_key(item.digest),
        source=SOURCE,
        bytes=len(item.data),
        width=header.width,
        height=header.height,
        format=header.format,
        quality=measure(pixels, len(item.data)).as_dict(),
        phash=perceptual_hash(pixels),
        run_id=run.id,
    )
    known = images.record_images(tx, [row])[item.digest]
    if known.status in (ImageStatus.QUARANTINED, ImageStatus.ERASED):
        raise ImageRejected(
            str(known.status), f"this picture is {known.status} in the catalogue (image {known.id})"
        )
    # After the row, for bytes that were discarded must not come back; before it commits.
    stores.objects.put("images", content_key(item.digest), item.data)
    # A person chose this picture, which is the judgement the gate would make.
    images.set_gate_result(tx, [known.id], {})
    return known.id


def _refused(item: _Read, rejected: ImageRejected) -> Enrolment:
    detail = f"{rejected.reason}: {rejected}"
    return Enrolment(item.picture.label, str(item.picture.path), "refused", detail=detail)
