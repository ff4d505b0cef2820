"""Models for people: what is in use and what challenges it, with evidence and thresholds."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from facecore.errors import NotFound, StoreError, UsageError
from facecore.jobs.models.champions import threshold_for
from facecore.jobs.models.model_list import Listed, listed
from facecore.jobs.stores import Stores
from facecore.lifecycle.thresholds import Calibration, OperatingThreshold, ThresholdPoint
from facecore.stores.catalog.models import promotions
from facecore.stores.catalog.models.promotions import Promotion
from facecore.stores.catalog.people import people
from facecore.stores.catalog.work import coverage, shards

logger = logging.getLogger(__name__)

_VERIFICATION_FMR = 1e-3
_PROMOTIONS = 20


@dataclass(frozen=True, slots=True)
class Review:
    """What a reviewer decided about a version, from its tags in the registry.

    Attributes:
        evidence: key of the evidence page in bucket `reports`.
    """

    decision: str
    reviewer: str
    reason: str
    at: str
    dataset: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Version:
    """One version.

    Attributes:
        review: None: nobody has reviewed it, or the registry could not be asked.
        operating: an embedder's threshold for the gallery of now; None: not calibrated.
        verification: an embedder's calibrated point for 1:1 at a false-match rate of 0.001.
        calibrated_on: data set, people and images of the calibration.
    """

    listed: Listed
    review: Review | None
    operating: OperatingThreshold | None
    verification: ThresholdPoint | None
    calibrated_on: tuple[str, int, int] | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far re-embedding for the promotion under way has come.

    Attributes:
        shards: state → number of the promotion's shards.
        percent: of shards done; None: nothing is planned yet.
    """

    promotion: Promotion
    shards: Mapping[str, int]
    percent: float | None


@dataclass(frozen=True, slots=True)
class Models:
    """What the page of models shows.

    Attributes:
        names: id of a version → "name/version".
        registry: whether the registry could be asked; without it, aliases and reviews are unknown.
    """

    versions: list[Version]
    promotions: list[Promotion]
    progress: Progress | None
    names: Mapping[int, str]
    gallery: int
    registry: bool


def models(stores: Stores | None = None) -> Models:
    """All versions, promotions and the re-embedding under way.

    Raises:
        CatalogUnavailable: the catalogue cannot be read.
    """
    stores = stores or Stores()
    found, opened = listed(stores)
    reviews = {
        name: _reviews(stores, name)
        for name in sorted({one.version.name for one in found})
        if all(one.aliases is not None for one in found if one.version.name == name)
    }
    with stores.catalog.transaction() as tx:
        used = next(
            (one.version for one in found if one.in_use and one.version.task == "embed"), None
        )
        gallery = 0 if used is None else people.gallery_size(tx, used.id)
        history = promotions.newest(tx, _PROMOTIONS)
        planned = [] if opened is None else shards.of_run(tx, "reembed", coverage.run_name(opened))
    versions = [
        _version(stores, one, reviews.get(one.version.name, {}).get(one.version.version), gallery)
        for one in found
    ]
    return Models(
        versions=sorted(versions, key=_order),
        promotions=history,
        progress=None if opened is None else _progress(opened, [s.state for s in planned]),
        names={o.version.id: f"{o.version.name}/{o.version.version}" for o in found},
        gallery=gallery,
        registry=all(one.aliases is not None for one in found),
    )


def _order(one: Version) -> tuple[str, bool, int]:
    """Per model what is in use first, then the newest."""
    row = one.listed.version
    return row.name, row.state != "active", -row.version


def _progress(opened: Promotion, states: list[str]) -> Progress:
    counted = {state: states.count(state) for state in sorted(set(states))}
    percent = 100.0 * counted.get("done", 0) / len(states) if states else None
    return Progress(opened, counted, percent)


def _version(stores: Stores, one: Listed, review: Review | None, gallery: int) -> Version:
    row, operating, verification, trained_on = one.version, None, None, None
    if row.calibration:
        try:
            calibration = Calibration.from_json(row.calibration)
            target = stores.settings.identify.target_fpir
            operating = threshold_for(row.calibration, target, max(gallery, 1))
        except UsageError as error:
            logger.warning("calibration of %s/%d: %s", row.name, row.version, error)
        else:
            points = [p for p in calibration.points if p.fmr <= _VERIFICATION_FMR]
            verification = points[0] if points else None
            trained_on = (calibration.dataset, calibration.people, calibration.images)
    return Version(one, review, operating, verification, trained_on)


def _reviews(stores: Stores, name: str) -> dict[int, Review]:
    try:
        versions = stores.registry.versions(name)
    except (NotFound, StoreError) as error:
        logger.warning("reviews of %s are unknown: %s", name, error)
        return {}
    return {v.version: review for v in versions if (review := _review(v.tags)) is not None}


def _review(tags: Mapping[str, Any]) -> Review | None:
    if "review.decision" not in tags:
        return None
    fields = ("decision", "reviewer", "reason", "at", "dataset", "evidence")
    return Review(*(str(tags.get(f"review.{field}", "")) for field in fields))
