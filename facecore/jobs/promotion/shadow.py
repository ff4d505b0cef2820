"""The shadow comparison: what the staged pair says beside the pair in use, as a report."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from facecore.analytics.metrics import SCORE_EDGES
from facecore.analytics.shadow import Agreement, Example, ShadowComparison
from facecore.analytics.shadow_report import render
from facecore.errors import ChangeRefused, ObjectMissing
from facecore.jobs.faces.crops import read_crops
from facecore.jobs.lineage import RunContext, code_version, recorded
from facecore.jobs.models.promotion_log import name_of
from facecore.jobs.stores import Stores
from facecore.lifecycle.intervals import proportion
from facecore.stages.identify import identify
from facecore.stores.catalog import audit
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.faces import faces
from facecore.stores.catalog.models import models, promotions, shadow
from facecore.stores.catalog.models.promotions import Promotion
from facecore.stores.catalog.people import people
from facecore.stores.catalog.reports import reports
from facecore.stores.catalog.search import index_checks
from facecore.types import Image

logger = logging.getLogger(__name__)

KIND = "promotion"
EXAMPLES = 24
SAMPLED_FACES = 5000


def compare(context: RunContext, promotion_id: int, stores: Stores | None = None) -> dict[str, Any]:
    """Count what would change, publish it, and allow the switch; returns counts and keys.

    Done already, it is returned as it was. After a rollback there is nothing to compare.

    Raises:
        ChangeRefused: the promotion's index is not built yet.
    """
    stores = stores or Stores()
    params = {"promotion": promotion_id}
    with recorded(stores.catalog, context, "promotion.compare", params) as run:
        with stores.catalog.transaction() as tx:
            promotion = promotions.get(tx, promotion_id)
            if promotion.state in ("compared", "active", "rolled_back"):
                return dict(promotion.comparison)
            if promotion.state != "indexed":
                raise ChangeRefused(
                    f"promotion {promotion_id} is {promotion.state}; it is compared when its "
                    "index is built.",
                    rule="promotion_indexed",
                )
            comparison = _count(tx, promotion)
            where = _places(tx, comparison)
        keys = _publish(stores, comparison, _thumbnails(stores, where))
        said: dict[str, Any] = {
            **comparison.kinds,
            "changed": comparison.changed,
            "faces": comparison.faces,
        }
        if comparison.agreement is not None:
            said["top1_agreement"] = comparison.agreement.share
        with stores.catalog.transaction() as tx:
            period = (promotion.created_at, datetime.now(UTC))
            reports.record(tx, reports.ReportRow(KIND, *period, keys["html"], keys["json"], run.id))
            promotions.advance(tx, promotion_id, "compared", comparison={**said, **keys})
        run.counts = dict(said)
        logger.info("promotion %d: %s", promotion_id, said)
    return {**said, **keys}


def _count(tx: Transaction, promotion: Promotion) -> ShadowComparison:
    shadow.prepare(tx, promotion)
    old, new = (
        {
            "detect": name_of(models.get(tx, detector)),
            "embed": name_of(models.get(tx, embedder)),
        }
        for detector, embedder in (promotion.source, promotion.target)
    )
    before, after = shadow.scores(tx, SCORE_EDGES)
    return ShadowComparison(
        promotion=promotion.id,
        before=old,
        after=new,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        code_version=code_version(),
        gallery_faces=people.gallery_size(tx, promotion.to_embedder_id),
        kinds=shadow.kinds(tx),
        agreement=_agreement(tx, promotion),
        edges=tuple(float(edge) for edge in SCORE_EDGES),
        old_scores=tuple(before),
        new_scores=tuple(after),
        thresholds=shadow.thresholds(tx),
        index_recall=_recall(tx, promotion),
        examples=tuple(
            Example(c.kind, c.face_id, _said(*c.before), _said(*c.after))
            for c in shadow.examples(tx, EXAMPLES)
        ),
        audit_head=next((entry.hash for entry in audit.newest(tx, limit=1)), None),
    )


def _said(outcome: str | None, label: str | None, score: float | None) -> str:
    if outcome is None:
        return "nothing"
    return f"{outcome} {label or ''}".strip() + (f" ({score:.3f})" if score is not None else "")


def _agreement(tx: Transaction, promotion: Promotion) -> Agreement | None:
    """Whom each pair puts first, whatever the score, on the same sample of faces."""
    pairs = shadow.sample(tx, SAMPLED_FACES)
    first = _first_people(tx, promotion.from_embedder_id, [old for old, _ in pairs])
    second = _first_people(tx, promotion.to_embedder_id, [new for _, new in pairs])
    both = [
        (first[old], second[new])
        for old, new in pairs
        if first.get(old) is not None and second.get(new) is not None
    ]
    if not both:
        return None
    found = proportion(sum(a == b for a, b in both), len(both))
    return Agreement(found.trials, found.count, found.value, found.low, found.high)


def _first_people(
    tx: Transaction, embedder_id: int, face_ids: Sequence[int]
) -> dict[int, int | None]:
    if not face_ids:
        return {}
    ids, vectors = faces.read_vectors(tx, embedder_id, _among(face_ids))
    gallery = people.gallery(tx, embedder_id)
    matches = identify(
        vectors, gallery.vectors, gallery.person_ids.tolist(), gallery.labels, threshold=1.0
    )
    return {int(i): match.person_id for i, match in zip(ids, matches, strict=True)}


def _recall(tx: Transaction, promotion: Promotion) -> float | None:
    checks = index_checks.newest(tx, promotion.to_embedder_id)
    return checks[0].recall if checks else None


def _among(face_ids: Sequence[int]) -> str:
    return f"face.id IN ({','.join(str(int(face_id)) for face_id in face_ids)})"


def _places(tx: Transaction, comparison: ShadowComparison) -> dict[int, tuple[str, int]]:
    found = (faces.get(tx, example.face_id) for example in comparison.examples)
    return {face.id: (face.crop_key, face.crop_index) for face in found}


def _thumbnails(stores: Stores, where: dict[int, tuple[str, int]]) -> dict[int, Image]:
    try:
        return read_crops(stores.objects, where)
    except ObjectMissing as missing:
        # Crops can be erased while their counts remain.
        logger.warning("comparison without thumbnails: %s", missing)
        return {}


def _publish(
    stores: Stores, comparison: ShadowComparison, crops: dict[int, Image]
) -> dict[str, str]:
    keys = {form: f"{KIND}/{comparison.promotion}.{form}" for form in ("html", "json")}
    stores.objects.put(
        "reports",
        keys["html"],
        render(comparison, crops).encode(),
        content_type="text/html; charset=utf-8",
    )
    stores.objects.put(
        "reports", keys["json"], comparison.as_text().encode(), content_type="application/json"
    )
    return keys
