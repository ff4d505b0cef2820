"""The index of vectors: built when look-ups need one, and how much of an exact search it finds.

So few faces as are compared exactly have no index: keeping one up to date takes ten times as long
as writing a face. The first one is built when there are more. It is measured when it was built,
when it has grown, and once a day. Look-ups use it with the smallest `ef_search` that meets the
objective; where none does, they are exact and say so.
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from facecore.errors import NotFound
from facecore.jobs.faces.index_recall import measured
from facecore.jobs.lineage import RunContext, recorded
from facecore.jobs.models.promotion_log import name_of
from facecore.jobs.stores import Stores
from facecore.stores.catalog import estimates
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.faces import vector_index
from facecore.stores.catalog.models import active, models
from facecore.stores.catalog.models.models import ModelVersion
from facecore.stores.catalog.reports import alerts
from facecore.stores.catalog.search import index_checks
from facecore.stores.catalog.search.index_checks import IndexCheckRow

logger = logging.getLogger(__name__)

KIND = "search_recall"
# Grown by this since it was measured, an index is measured again.
_GREW = 1.5
_COUNTED = ("vectors", "recall", "ef_search", "met")
_AGE = timedelta(hours=20)  # less than a day, so that a daily schedule is not missed by minutes


def check(
    context: RunContext,
    *,
    model_version_id: int | None = None,
    only_if_due: bool = False,
    stores: Stores | None = None,
) -> dict[str, Any]:
    """Measure an index beside an exact search, record it, and raise an alert below the objective.

    Where there is none and look-ups need one, it is built first; writers go on meanwhile.

    Args:
        model_version_id: whose vectors; those of the embedder in use by default.
        only_if_due: nothing is done for an index that look-ups do not need yet, and for one that
            was measured within a day and has not grown much since.

    Returns:
        What was measured, with `met`: whether look-ups use the index; empty where nothing was.

    Raises:
        NotFound: no embedder is in use.
        CatalogBusy: it is being built already.
    """
    stores = stores or Stores()
    with recorded(stores.catalog, context, "search.check", {"due": only_if_due}) as run:
        with stores.catalog.transaction() as tx:
            version = _version(tx, model_version_id)
            run.models = {"embed": name_of(version)}
            vectors = estimates.vectors(tx, version.id).value
            needed = vectors > stores.settings.search.exact_up_to
            if only_if_due and not (needed and _due(tx, version, vectors)):
                return {}
            missing = vector_index.find(tx, version.id) is None
        if needed and missing:
            _build(stores, version)
        said = measure(stores, version, run.id)
        run.counts = {key: said[key] for key in _COUNTED if key in said}
    return said


def rebuild(context: RunContext, stores: Stores | None = None) -> dict[str, Any]:
    """Build the index of the embedder in use anew and measure it; look-ups go on meanwhile.

    Raises:
        NotFound: no embedder is in use, or it has no vectors.
        CatalogBusy: it is being rebuilt already.
    """
    stores = stores or Stores()
    with stores.catalog.transaction() as tx:
        version = _version(tx, None)
    with recorded(stores.catalog, context, "search.rebuild") as run:
        run.models = {"embed": name_of(version)}
        _build(stores, version)
        said = measure(stores, version, run.id)
        run.counts = {key: said[key] for key in _COUNTED if key in said}
    return said


def measure(stores: Stores, version: ModelVersion, run_id: str) -> dict[str, Any]:
    """Do what `check` does, as part of another run."""
    with stores.catalog.transaction() as tx:
        # One moment, so that both searches see the same vectors.
        tx.set_session(isolation_level="REPEATABLE READ")
        index = vector_index.find(tx, version.id)
        row = measured(tx, stores, version, index, run_id) if index is not None else None
    met = row is not None and row.recall >= stores.settings.search.min_recall
    with stores.catalog.transaction() as tx:
        if row is not None:
            index_checks.record(tx, row)
        if row is not None and not met:
            _raise_alert(tx, stores, version, row, run_id)
    if row is None:
        return {}
    said = asdict(row) | {"met": met}
    logger.info("index of %s: %s", name_of(version), {key: said[key] for key in _COUNTED})
    return said


def _version(tx: Transaction, model_version_id: int | None) -> ModelVersion:
    if model_version_id is None:
        return active.current(tx).embedder
    return models.get(tx, model_version_id)


def _build(stores: Stores, version: ModelVersion) -> None:
    if version.dimension is None:
        raise NotFound("vectors of", name_of(version))
    began = time.monotonic()
    vector_index.rebuild(stores.catalog, version.id, version.dimension)
    logger.info("index of %s built in %.0f s", name_of(version), time.monotonic() - began)


def _due(tx: Transaction, version: ModelVersion, vectors: int) -> bool:
    index = vector_index.find(tx, version.id)
    before = index_checks.newest(tx, version.id)
    return (
        not before
        or index is None
        or index.oid != before[0].index_oid
        or vectors >= _GREW * before[0].vectors
        or datetime.now(UTC) - before[0].measured_at > _AGE
    )


def _raise_alert(
    tx: Transaction, stores: Stores, version: ModelVersion, row: IndexCheckRow, run_id: str
) -> None:
    name = name_of(version)
    sentence = (
        f"The index of {name} finds {row.recall:.1%} ({row.recall_low:.1%} to "
        f"{row.recall_high:.1%}) of the {row.k} nearest of {row.vectors:,} faces, "
        f"{row.objective:.1%} are wanted; look-ups are exact until it finds them."
    )
    logger.warning("%s", sentence)
    evidence: dict[str, Any] = {
        "objective": stores.settings.search.min_recall,
        "recall": row.recall,
        "ef_search": row.ef_search,
        "vectors": row.vectors,
        "in_words": [sentence, "`facecore index rebuild` builds it anew."],
    }
    alerts.raise_alert(tx, KIND, name, "warning", evidence, run_id)
