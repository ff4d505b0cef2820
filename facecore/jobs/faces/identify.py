"""Probe faces → people of the enrolled gallery, or unknown."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from facecore.jobs.lineage import RunContext, recorded
from facecore.jobs.models.champions import threshold_for
from facecore.jobs.stores import Stores
from facecore.stages.identify import best_people, matches
from facecore.stages.neighbours import Ints
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.faces import faces
from facecore.stores.catalog.models import active, models
from facecore.stores.catalog.people import constraints, gallery, people
from facecore.stores.catalog.work import shards
from facecore.types import Floats

logger = logging.getLogger(__name__)

# The gallery is read once for so many; thousands of faces together make good use of the reading.
_SHARDS_AT_ONCE = 8


def identify_shard(
    context: RunContext, shard_id: int, stores: Stores | None = None
) -> dict[str, int]:
    """Compare the faces of an extraction shard with the gallery; returns counts per outcome.

    The threshold is the model's, for the size of the gallery as it is now. Repeating it after
    an enrolment gives the new answer; what a human said of a face stands.

    Raises:
        NotFound: no embedder is active.
        ConfigError: the active embedder was never calibrated.
    """
    return _identify(context, [shard_id], {"shard": shard_id}, stores or Stores())


def _identify(
    context: RunContext, shard_ids: Sequence[int], params: dict[str, Any], stores: Stores
) -> dict[str, int]:
    among = ",".join(str(int(shard_id)) for shard_id in shard_ids)
    with recorded(stores.catalog, context, "identify.shard", params) as run:
        with stores.catalog.transaction() as tx:
            model = active.hold(tx).embedder
            run.models = {"embed": f"{model.name}/{model.version}"}
            run.counts = compare_with_gallery(
                stores, tx, run.id, model, f"face.shard_id IN ({among})"
            )
        logger.info("shards %s: %s", among, run.counts)
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
    ruled_out = _ruled_out(tx, face_ids.tolist())
    size = 0

    def enrolled() -> Iterator[tuple[Ints, Floats]]:
        nonlocal size
        for person_ids, block in gallery.blocks(tx, model.id):
            size += len(person_ids)
            yield person_ids, block

    # Beside the people who are ruled out there are to be as many as for other faces.
    most = max(wanted.top_k, 2) + max(map(len, ruled_out.values()), default=0)
    precision = stores.settings.search.precision
    found = best_people(vectors, enrolled(), most, precision=precision)
    said = matches(
        found,
        len(face_ids),
        gallery.labels(tx, np.unique(found.columns).tolist()),
        threshold=threshold_for(model.calibration, wanted.target_fpir, size).threshold,
        review_margin=wanted.review_margin,
        top_k=wanted.top_k,
        ruled_out=ruled_out,
    )
    changed = people.write_assignments(
        tx,
        (
            people.AssignmentRow.from_match(
                int(face_id),
                match,
                model_version_id=model.id,
                gallery_size=size,
                run_id=run_id,
            )
            for face_id, match in zip(face_ids, said, strict=True)
        ),
    )
    outcomes = Counter(str(match.outcome) for match in said)
    return {"faces": len(face_ids), "changed": changed, **outcomes}


def _ruled_out(tx: Transaction, face_ids: list[int]) -> dict[int, set[int]]:
    """Row of a face → people a human said it is not."""
    row = {face_id: at for at, face_id in enumerate(face_ids)}
    return {row[face_id]: out for face_id, out in constraints.forbidden(tx, face_ids).items()}


def identify_everything(context: RunContext, stores: Stores | None = None) -> dict[str, int]:
    """Compare all extracted faces with the gallery again, some shards at a time."""
    stores = stores or Stores()
    totals: Counter[str] = Counter()
    with stores.catalog.transaction() as tx:
        shard_ids = shards.finished(tx, "extract")
    for number, start in enumerate(range(0, len(shard_ids), _SHARDS_AT_ONCE)):
        some = shard_ids[start : start + _SHARDS_AT_ONCE]
        part = replace(context, map_index=number)
        totals.update(_identify(part, some, {"shards": some}, stores))
    return dict(totals)
