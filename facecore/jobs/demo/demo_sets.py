"""What the demo can run on: the sample stream, a folder of the user's, a known dataset.

Each knows what to enrol, what to deliver, and how to judge the result.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from mimetypes import guess_type
from pathlib import Path
from typing import Any

import numpy as np

from facecore.config import Settings
from facecore.errors import UsageError
from facecore.jobs.images.upload import Delivery
from facecore.jobs.models.champions import threshold_for
from facecore.jobs.people.enroll import Picture
from facecore.jobs.stores import Stores
from facecore.lifecycle.main_face import main_face
from facecore.samples import comparison
from facecore.samples.folders import FolderSet, ProbeResult, accuracy, read_folder
from facecore.samples.lfw import lfw
from facecore.samples.report_truth import compare_report
from facecore.samples.stream import SampleSet, simulate
from facecore.stages.identify import identify
from facecore.stores.catalog.faces import faces
from facecore.stores.catalog.models import models
from facecore.stores.catalog.pages.findings import Finding
from facecore.stores.catalog.people import people
from facecore.types import Detections, Match

_FACES_PER_BLOCK = 5000


@dataclass(frozen=True, slots=True)
class Judged:
    """Expected versus found: `rows` for a table, `notes` for what a number cannot say."""

    ok: bool
    rows: list[dict[str, Any]]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class DemoSet:
    """A set of images to run the main job on.

    Attributes:
        prefix: of the landing keys.
        gallery: pictures to enrol; `central_face` says how to choose among several faces.
        deliveries: what to put into the landing bucket, lazily.
        days: first and last day of the stream, where they are known beforehand.
        known: whether it is known what must be found, so that the demo can fail.
        judge: holds what was found against what is known of the set.
    """

    name: str
    prefix: str
    size: int
    gallery: Sequence[Picture]
    central_face: bool
    deliveries: Callable[[], Iterator[Delivery]]
    days: tuple[date, date] | None
    known: bool
    judge: Callable[[Stores, Sequence[Finding]], Judged]


def sample_set(cache: Path) -> DemoSet:
    """The simulated stream of four cameras, made from public-domain portraits."""
    sample = simulate(cache)
    last = date.fromisoformat(sample.truth.last_day)
    first = last - timedelta(days=sample.truth.days - 1)

    def deliveries() -> Iterator[Delivery]:
        for item in sample.objects:
            yield Delivery(item.key, item.path, item.content_type, item.metadata)

    return DemoSet(
        name=f"sample stream, {sample.truth.days} days to {last}",
        prefix="",
        size=len(sample.objects),
        gallery=[Picture(photo.person, photo.path) for photo in sample.gallery],
        central_face=False,
        deliveries=deliveries,
        days=(first, last),
        known=True,
        judge=lambda stores, found: judge_sample(sample, found, _report(stores, first, last)),
    )


def dataset_set(name: str, settings: Settings) -> DemoSet:
    """A dataset by name.

    Raises:
        UsageError: the name is not known.
        DownloadFailed: it is not on disk and cannot be fetched.
    """
    if name != "lfw":
        raise UsageError(f"dataset {name!r} is not known.", remedy="Known is: lfw.")
    return folder_set(lfw(settings.cache, settings.data_dir), "lfw")


def folder_set(path: Path, name: str = "") -> DemoSet:
    """A folder of folders (`person/*.jpg`), or of images of nobody in particular."""
    folder = read_folder(path, name=name)
    gallery = [Picture(_label(image.person), image.path) for image in folder.gallery()]

    def deliveries() -> Iterator[Delivery]:
        for image in folder.probes():
            kind = guess_type(image.path.name)[0] or "application/octet-stream"
            yield Delivery(image.key, image.path, kind)

    return DemoSet(
        name=f"folder {folder.root}",
        prefix=f"{folder.name}/",
        size=sum(1 for _ in folder.probes()),
        gallery=gallery,
        central_face=True,
        deliveries=deliveries,
        days=None,
        known=False,
        judge=lambda stores, found: judge_folder(folder, stores, found),
    )


def _report(stores: Stores, first: date, last: date) -> dict[str, Any]:
    """The numbers of the activity report of these days."""
    found: dict[str, Any] = json.loads(
        stores.objects.get("reports", f"activity/{first}_{last}.json")
    )
    return found


def judge_sample(
    sample: SampleSet, found: Sequence[Finding], report: Mapping[str, Any] | None = None
) -> Judged:
    """The stream's ground truth against what the platform found, and what its report says."""
    result = comparison.compare(
        sample.truth,
        (
            comparison.FoundImage(
                key=finding.key,
                status=finding.status,
                image=finding.image_id,
                reasons=finding.reasons,
                faces=tuple(
                    comparison.FoundFace(face.box, face.outcome, face.label, face.person)
                    for face in finding.faces
                ),
                captured_at=finding.captured_at,
            )
            for finding in found
        ),
    )
    of_report = () if report is None else compare_report(sample.truth, report)
    return Judged(
        result.ok and all(row.ok for row in of_report),
        [asdict(row) for row in (*result.rows, *of_report)],
        [*result.wrong, *sample.truth.notes],
    )


def judge_folder(folder: FolderSet, stores: Stores, found: Sequence[Finding]) -> Judged:
    """Identification accuracy against the folder names, from each image's main face."""
    by_key = {finding.key: finding for finding in found}
    best = _best_matches(stores, found)
    results = []
    for image in folder.probes():
        finding = by_key.get(image.key)
        match = None if finding is None else best.get(finding.image_id)
        results.append(
            ProbeResult(
                person=None if image.person is None else _label(image.person),
                enrolled=image.enrolled,
                images_of_person=image.images_of_person,
                label=None if match is None else match.label,
                outcome="none" if match is None else str(match.outcome),
            )
        )
    measured = accuracy(results)
    rows = [
        {"name": name.replace("_", " "), "found": value}
        for name, value in asdict(measured).items()
        if value is not None
    ]
    reasons: dict[str, int] = {}
    for finding in found:
        for code in finding.reasons:
            reasons[code] = reasons.get(code, 0) + 1
    rows += [{"name": f"quarantined: {c}", "found": n} for c, n in sorted(reasons.items())]
    complete = len(found) == measured.probes and all(
        f.status in ("extracted", "quarantined") for f in found
    )
    notes = [] if complete else [f"{measured.probes - len(found):,} images are not through yet"]
    return Judged(complete, rows, notes)


def _best_matches(stores: Stores, found: Sequence[Finding]) -> dict[int, Match]:
    """Image id → the gallery's best person for its main face, whatever the score."""
    main: dict[int, int] = {}
    for finding in found:
        boxes = np.array([face.box for face in finding.faces], np.float32).reshape(-1, 4)
        detections = Detections(boxes, np.ones(len(boxes), np.float32))
        index = main_face(detections, finding.width or 1, finding.height or 1)
        if index is not None:
            main[finding.faces[index].face_id] = finding.image_id
    matches: dict[int, Match] = {}
    wanted = stores.settings.identify
    with stores.catalog.transaction() as tx:
        model = models.active(tx, "embed")
        gallery = people.gallery(tx, model.id)
        threshold = threshold_for(model.calibration, wanted.target_fpir, len(gallery)).threshold
        ids = sorted(main)
        for start in range(0, len(ids), _FACES_PER_BLOCK):
            block = ",".join(str(int(face_id)) for face_id in ids[start : start + _FACES_PER_BLOCK])
            face_ids, vectors = faces.read_vectors(tx, model.id, f"face.id IN ({block})")
            answers = identify(
                vectors,
                gallery.vectors,
                gallery.person_ids.tolist(),
                gallery.labels,
                threshold=threshold,
                review_margin=wanted.review_margin,
            )
            for face_id, match in zip(face_ids.tolist(), answers, strict=True):
                matches[main[face_id]] = match
    return matches


def _label(folder_name: str | None) -> str:
    """`Aaron_Peirsol` → `Aaron Peirsol`: folder names of datasets avoid spaces."""
    return (folder_name or "").replace("_", " ").strip()
