"""Sections that other parts of the platform add to the activity report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from facecore.analytics import drawing
from facecore.analytics.drawing import Bars, Chart, Table
from facecore.analytics.period import Period
from facecore.analytics.section import Picture, Section
from facecore.analytics.wording import count, number
from facecore.errors import ObjectMissing
from facecore.jobs.faces.crops import read_crops
from facecore.jobs.reports.report_forecast import due
from facecore.jobs.stores import Stores
from facecore.stores.catalog.reports import forecasts, report_extras
from facecore.types import Image

logger = logging.getLogger(__name__)

# Each gives its sections of a period, or none where it has nothing to say of it. What it gives of
# a period that is over must be the same every time.
Contributor = Callable[[Stores, Period], Sequence[Section]]

_FLAGS = {
    "camera_off": "source silent",
    "crowd_surge": "far more faces than due",
    "clock_error": "clock wrong",
}


def collect(stores: Stores, period: Period) -> tuple[Section, ...]:
    """All sections of all contributors, in their order."""
    return tuple(section for one in CONTRIBUTORS for section in one(stores, period))


def proposed_people(stores: Stores, period: Period) -> Sequence[Section]:
    """People whom clustering found, who were seen in the period."""
    with stores.catalog.transaction() as tx:
        found = report_extras.groups(tx, period.start, period.end)
    if not found.people and not found.review:
        return ()
    names = [one.label for one in found.largest]
    faces = [one.faces for one in found.largest]
    chart = Chart(
        "proposed-people",
        "Proposed people",
        "Nobody enrolled them: clustering put their faces together. On the page People they can "
        "be named, merged and split.",
        f"Horizontal bars, the {len(names)} with the most faces.",
        Table(
            ("Person", "Named", "Faces", "Pictures"),
            tuple(
                (one.label, "yes" if one.named else "no", one.faces, one.images)
                for one in found.largest
            ),
        ),
        lambda palette: drawing.rows(
            names, [Bars("faces", faces, lambda p: p.series[3])], palette, x_title="faces"
        ),
    )
    said = (
        f"{count(found.faces, 'face')} of {count(found.people, 'person', 'people')} whom "
        f"clustering found; {count(found.review, 'face')} may be one of them and "
        f"{'waits' if found.review == 1 else 'wait'} for a human's look."
    )
    numbers = {"people": found.people, "faces": found.faces, "review": found.review}
    return (
        Section(
            "proposed-people-section", "People that clustering found", "",
            (chart,) if names else (), (said,), numbers=numbers,
        ),
    )  # fmt: skip


def not_as_due(stores: Stores, period: Period) -> Sequence[Section]:
    """Hours of sources that were not as forecast."""
    with stores.catalog.transaction() as tx:
        flags = [
            flag
            for flag in forecasts.flags_between(tx, period.local_start, period.local_end)
            if flag.timezone == period.timezone
        ]
    if not flags:
        return ()
    table = Table(
        ("From", "Until", "Source", "What", "Faces", "Due", "Why"),
        tuple(
            (
                f"{flag.starts_at:%Y-%m-%d %H:%M}", f"{flag.ends_at:%Y-%m-%d %H:%M}",
                flag.source, _FLAGS.get(flag.kind, flag.kind), number(flag.observed),
                number(flag.expected), flag.evidence,
            )
            for flag in flags
        ),
    )  # fmt: skip
    sources = len({flag.source for flag in flags})
    said = (
        f"{count(len(flags), 'stretch', 'stretches')} of hours at {count(sources, 'source')} "
        "did not come as the days before let expect."
    )
    numbers = {
        "flags": [
            {"source": f.source, "kind": f.kind, "starts_at": f.starts_at.isoformat(),
             "ends_at": f.ends_at.isoformat(), "observed": f.observed, "expected": f.expected}
            for f in flags
        ]
    }  # fmt: skip
    return (
        Section("not-as-due", "Not as due", "", (), (said,), (("Hours not as due", table),),
                numbers=numbers),
    )  # fmt: skip


def unusual(stores: Stores, period: Period) -> Sequence[Section]:
    """Faces that the autoencoder in use finds unusual."""
    limit = stores.settings.analysis.unusual_rank
    with stores.catalog.transaction() as tx:
        found = report_extras.unusual_faces(tx, period.start, period.end, least_rank=limit)
    if not found.scored:
        return ()
    crops = _crops(stores, found)
    chart = Chart(
        "unusual-per-source",
        "Unusual faces per source",
        f"Farther from ordinary crops than {100 * limit:g} % of those are: occluded, damaged, or "
        "no face at all. A source with many of them wants a look.",
        "Horizontal bars per source. " + "; ".join(f"{s}: {n:,}" for s, _, n in found.per_source)
        + ".",
        Table(("Source", "Scored", "Unusual"), found.per_source),
        lambda palette: drawing.rows(
            [source for source, _, _ in found.per_source],
            [Bars("unusual", [n for _, _, n in found.per_source], lambda p: p.series[5])],
            palette,
            x_title="faces",
        ),
    )  # fmt: skip
    pictures = [
        Picture(crops[one.face_id], f"Unusual face of source {one.source}",
                f"{one.source}, rank {one.rank:.3f}")
        for one in found.farthest
        if one.face_id in crops
    ]  # fmt: skip
    said = f"{found.unusual:,} of {count(found.scored, 'scored face')} are unusual."
    return (
        Section("unusual", "Unusual faces", "", (chart,), (said,), (), pictures,
                {"scored": found.scored, "unusual": found.unusual}),
    )  # fmt: skip


def _crops(stores: Stores, found: report_extras.UnusualFaces) -> dict[int, Image]:
    where = {one.face_id: (one.crop_key, one.crop_index) for one in found.farthest}
    try:
        return read_crops(stores.objects, where)
    except ObjectMissing as missing:
        # Crops can be erased while their scores remain.
        logger.warning("report without crops of unusual faces: %s", missing)
        return {}


CONTRIBUTORS: tuple[Contributor, ...] = (proposed_people, due, not_as_due, unusual)
