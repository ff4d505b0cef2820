"""The quality gate over catalogued images: accepted, or quarantined with every reason.

The measurements were taken at ingestion; here they are judged. A batch that looks broken as a
whole stops the run: nothing is judged then, and every image stays where it is.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from mimetypes import guess_type
from pathlib import Path
from typing import Any

from facecore.jobs.images.quarantine import quarantine, remove_originals
from facecore.jobs.lineage import Run, RunContext, recorded
from facecore.jobs.stores import Stores
from facecore.quality.frame import gate_frame
from facecore.quality.gate import GateResult, run_gate
from facecore.stores.catalog.images import images
from facecore.stores.catalog.images.images import StoredImage
from facecore.types import ImageStatus

logger = logging.getLogger(__name__)


def validate_shards(
    context: RunContext,
    shard_ids: Sequence[int],
    *,
    batch_checks: bool = True,
    stores: Stores | None = None,
) -> dict[str, int]:
    """Judge the images of ingest shards; returns how many were accepted and quarantined.

    Images that were judged before keep their verdict.

    Raises:
        QualityGateFailed: the batch as a whole looks broken; carries the statistics.
    """
    stores = stores or Stores()
    params = {"shards": len(shard_ids), "batch_checks": batch_checks}
    with recorded(stores.catalog, context, "validate", params) as run:
        with stores.catalog.transaction() as tx:
            waiting = images.stored_images(tx, shard_ids)
            deliveries = images.sighting_counts(tx, [image.id for image in waiting])
        if not waiting:
            return {"accepted": 0, "quarantined": 0}
        frame = gate_frame(_row(image, deliveries.get(image.id, 1)) for image in waiting)
        with tempfile.TemporaryDirectory(prefix="facecore-gate-") as folder:
            result = run_gate(
                frame, stores.settings.gate, Path(folder), run_name=context.dag_run_id
            )
            published = _publish(stores, context, Path(folder), result)
        run.counts = {**result.statistics, "data_docs": published}
        if batch_checks:
            # The error names what outlives this task, not the temporary folder.
            replace(result, data_docs=Path(published)).require_healthy()
        _apply(stores, run, waiting, result)
        logger.info("validated %d images: %s", len(waiting), run.counts)
        return {"accepted": len(result.accepted), "quarantined": len(result.rejected)}


def validate_waiting(
    context: RunContext, *, batch_checks: bool = True, stores: Stores | None = None
) -> dict[str, int]:
    """Judge every image that waits for the gate, whichever run brought it."""
    stores = stores or Stores()
    with stores.catalog.transaction() as tx:
        shard_ids = images.shards_to_validate(tx)
    return validate_shards(context, shard_ids, batch_checks=batch_checks, stores=stores)


def _apply(stores: Stores, run: Run, waiting: Iterable[StoredImage], result: GateResult) -> None:
    keys = {image.id: image.object_key for image in waiting if image.id in result.rejected}
    reasons = {i: [r.as_dict() for r in found] for i, found in result.rejected.items()}
    with stores.catalog.transaction() as tx:
        images.set_gate_result(tx, result.accepted, {})
        # Meanwhile one may have been enrolled, or judged by another run and then released.
        moved = quarantine(stores, tx, keys, reasons, only=(ImageStatus.STORED,))
    remove_originals(stores, moved)
    run.counts |= {"accepted": len(result.accepted), "quarantined": len(result.rejected)}


def _row(image: StoredImage, deliveries: int) -> dict[str, Any]:
    """An image as the gate reads it."""
    fault = image.reasons[0] if image.reasons else {"code": None, "detail": None}
    return {
        **image.quality,
        "image_id": image.id,
        "source": image.source,
        "captured_at": image.captured_at,
        "captured_from": image.captured_from,
        "reject_code": fault["code"],
        "reject_detail": fault["detail"],
        "phash": image.phash,
        "sightings": deliveries,
    }


def _publish(stores: Stores, context: RunContext, folder: Path, result: GateResult) -> str:
    """Keep the Data Docs in the bucket `reports`; returns the key of their index page."""
    name = "".join(c if c.isalnum() or c in "-." else "_" for c in context.dag_run_id)
    base = f"data-docs/{name}"

    def put(path: Path) -> None:
        stores.objects.put(
            "reports",
            f"{base}/{path.relative_to(folder).as_posix()}",
            path.read_bytes(),
            content_type=guess_type(path.name)[0] or "application/octet-stream",
        )

    with ThreadPoolExecutor(4, "data-docs") as pool:
        list(pool.map(put, (path for path in sorted(folder.rglob("*")) if path.is_file())))
    index = "" if result.data_docs is None else result.data_docs.relative_to(folder).as_posix()
    return f"{base}/{index}"
