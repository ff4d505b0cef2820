"""Probe faces → people of the enrolled gallery, or unknown."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from facecore.config import IdentifySettings
from facecore.errors import ContractMismatch
from facecore.jobs.champions import threshold_for
from facecore.jobs.lineage import RunContext, recorded
from facecore.jobs.stores import Stores
from facecore.stages.identify import identify
from facecore.stores.catalog import active, constraints, faces, models, people, shards
from facecore.stores.catalog.connection import Transaction
from facecore.types import Floats, Match

logger = logging.getLogger(__name__)


def identify_shard(
    context: RunContext, shard_id: int, stores: Stores | None = None
) -> dict[str, int]:
    """Compare the faces of an extraction shard with the gallery; returns counts per outcome.

    The threshold is the model's, for the size of the gallery as it is now. Repeating it after
    an enrolment gives the new answer; what a human said of a face stands.

    Raises:
        NotFound: no embedder is active.
        ConfigError: the active embedder was never calibrated.
        ContractMismatch: the gallery was embedded by another model.
    """
    stores = stores or Stores()
    with recorded(stores.catalog, context, "identify.shard", {"shard": shard_id}) as run:
        with stores.catalog.transaction() as tx:
            model = active.hold(tx).embedder
            run.models = {"embed": f"{model.name}/{model.version}"}
            run.counts = compare_with_gallery(
                stores, tx, run.id, model, f"face.shard_id = {int(shard_id)}"
            )
        logger.info("shard %d: %s", shard_id, run.counts)
    return dict(run.counts)


def compare_with_gallery(
    stores: Stores, tx: Transaction, run_id: str, model: models.ModelVersion, condition: str
) -> dict[str, int]:
    """Record what an embedder version says of the faces that meet `condition`; counts.

    Args:
        condition: on `face`: SQL made of constants only.
    """
    wanted = stores.settings.identify
    face_ids, vectors = faces.read_vectors(tx, model.id, condition)
    gallery = people.gallery(tx, model.id)
    if gallery.contract != model.contract:
        raise ContractMismatch(model.contract, gallery.contract)
    threshold = threshold_for(model.calibration, wanted.target_fpir, len(gallery))
    matches = identify(
        vectors,
        gallery.vectors,
        gallery.person_ids.tolist(),
        gallery.labels,
        threshold=threshold.threshold,
        review_margin=wanted.review_margin,
        top_k=wanted.top_k,
    )
    _honour(tx, face_ids.tolist(), matches, vectors, gallery, threshold.threshold, wanted)
    changed = people.write_assignments(
        tx,
        (
            people.AssignmentRow.from_match(
                int(face_id),
                match,
                model_version_id=model.id,
                gallery_size=len(gallery),
                run_id=run_id,
            )
            for face_id, match in zip(face_ids, matches, strict=True)
        ),
    )
    outcomes = Counter(str(match.outcome) for match in matches)
    return {"faces": len(face_ids), "changed": changed, **outcomes}


def _honour(
    tx: Transaction,
    face_ids: Sequence[int],
    matches: list[Match],
    vectors: Floats,
    gallery: people.Gallery,
    threshold: float,
    wanted: IdentifySettings,
) -> None:
    """Faces that a human said are not somebody are compared with everybody else."""
    for face_id, ruled_out in constraints.forbidden(tx, face_ids).items():
        at = face_ids.index(face_id)
        if matches[at].person_id not in ruled_out:
            continue
        others = ~np.isin(gallery.person_ids, list(ruled_out))
        (matches[at],) = identify(
            vectors[at : at + 1],
            gallery.vectors[others],
            gallery.person_ids[others].tolist(),
            [label for label, kept in zip(gallery.labels, others, strict=True) if kept],
            threshold=threshold,
            review_margin=wanted.review_margin,
            top_k=wanted.top_k,
        )


def identify_everything(context: RunContext, stores: Stores | None = None) -> dict[str, int]:
    """Compare all extracted faces with the gallery again, shard by shard."""
    stores = stores or Stores()
    totals: Counter[str] = Counter()
    with stores.catalog.transaction() as tx:
        shard_ids = shards.finished(tx, "extract")
    for number, shard_id in enumerate(shard_ids):
        part = replace(context, map_index=number)
        totals.update(identify_shard(part, shard_id, stores))
    return dict(totals)
