"""How unusual every face is, by the autoencoder in use: scored shard by shard, then published.

A shard is a few packs of crops. Scores and completion are one transaction; what is scored by
this version is never scored again.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facecore.errors import NotFound, ObjectMissing
from facecore.jobs.faces import crops
from facecore.jobs.lineage import RunContext, attempt, recorded
from facecore.jobs.models import analysis_models
from facecore.jobs.stores import Stores
from facecore.stores.catalog.faces import anomalies
from facecore.stores.catalog.models import models
from facecore.stores.catalog.reports import reports
from facecore.stores.catalog.work import shards
from facecore.types import CROP_SIZE

if TYPE_CHECKING:
    from facecore.stores.catalog.connection import Transaction
    from facecore.zoo.autoencoder import FaceAutoencoder

logger = logging.getLogger(__name__)

KIND = "anomalies"
PACKS_PER_SHARD = 4
MOST_SHARDS = 500
_MAPPED = 1500
_SHOWN = 24


def plan(context: RunContext, stores: Stores | None = None) -> list[int]:
    """Shards of what the version in use has not scored; none where there is no such version."""
    stores = stores or Stores()
    with recorded(stores.catalog, context, "anomalies.plan") as run:
        used = analysis_models.in_use(stores, "reconstruct")
        if used is None:
            logger.warning(
                "no %s is in use yet, so no face is scored: train one with `facecore train "
                "--model autoencoder --goal reconstruct` and promote it.",
                analysis_models.registered_name(stores, "reconstruct"),
            )
            return []
        with stores.catalog.transaction() as tx:
            packs = anomalies.packs_to_score(tx, used.id, PACKS_PER_SHARD * MOST_SHARDS)
            # A shard names its version: tried again after a promotion it does the same.
            members = [[used.id, pack] for pack in packs]
            parts = [
                members[start : start + PACKS_PER_SHARD]
                for start in range(0, len(members), PACKS_PER_SHARD)
            ]
            shard_ids = shards.plan(tx, "score", context.dag_run_id, parts)
        run.counts = {"shards": len(shard_ids), "packs": len(packs)}
    return shard_ids


def score_shard(context: RunContext, shard_id: int, stores: Stores | None = None) -> int:
    """Score the faces of a shard's packs; returns the shard's id.

    Raises:
        DigestMismatch, WeightsError: the model's files are not the registered ones.
    """
    stores = stores or Stores()
    params = {"shard": shard_id}
    with (
        recorded(stores.catalog, context, "anomalies.shard", params) as run,
        attempt(stores.catalog, shard_id),
        stores.catalog.transaction() as tx,
    ):
        shard = shards.claim(tx, shard_id)
        if shard is not None:
            run.counts = {"faces": 0, "unusual": 0, "packs_missing": 0}
            for version_id, pack in shard.members:
                for name, number in _score(stores, tx, version_id, pack, run.id).items():
                    run.counts[name] += number
            shards.complete(tx, shard_id, run.counts)
    return shard_id


def summarise(shard_ids: list[int], stores: Stores | None = None) -> dict[str, int]:
    """What these shards came to."""
    stores = stores or Stores()
    with stores.catalog.transaction() as tx:
        return shards.totals(tx, shard_ids)


def most_unusual(limit: int = 20, stores: Stores | None = None) -> list[dict[str, Any]]:
    """The faces farthest from ordinary ones, by the version in use."""
    stores = stores or Stores()
    with stores.catalog.transaction() as tx:
        return [asdict(face) for face in anomalies.most_unusual(tx, limit)]


def publish(
    context: RunContext, *, out: Path | None = None, stores: Stores | None = None
) -> dict[str, Any]:
    """A page with the most unusual crops beside their reconstructions, and the map of faces.

    It shows faces: it is not for sharing. The same catalogue gives the same page.

    Args:
        out: also write it into this folder.

    Raises:
        NotFound: no autoencoder is in use.
    """
    stores = stores or Stores()
    with recorded(stores.catalog, context, "anomalies.publish") as run:
        used = analysis_models.in_use(stores, "reconstruct")
        if used is None:
            name = analysis_models.registered_name(stores, "reconstruct")
            raise NotFound("version in use of", name, remedy="Train and promote one.")
        page, document, run.counts = _page(stores, used)
        now = datetime.now(UTC)
        key, numbers = (f"{KIND}/{now:%Y-%m-%d}.{form}" for form in ("html", "json"))
        stores.objects.put("reports", key, page, content_type="text/html; charset=utf-8")
        stores.objects.put("reports", numbers, document, content_type="application/json")
        with stores.catalog.transaction() as tx:
            today = now.replace(hour=0, minute=0, second=0, microsecond=0)
            row = reports.ReportRow(KIND, today, today + timedelta(days=1), key, numbers, run.id)
            reports.record(tx, row)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            (out / "anomalies.html").write_bytes(page)
            (out / "anomalies.json").write_bytes(document)
        run.models = {"reconstruct": f"{used.name}/{used.version}"}
    return {"html": key, "json": numbers, **run.counts}


def _score(
    stores: Stores, tx: Transaction, version_id: int, pack: str, run_id: str
) -> dict[str, int]:
    from facecore.stages.reconstruct import judge

    faces = anomalies.faces_to_score(tx, version_id, pack)
    if not faces:
        return {}
    try:
        pixels = crops.read_pack(stores.objects, pack).pixels
    except ObjectMissing:  # erased since it was planned
        return {"packs_missing": 1}
    found = judge(_network(stores, tx, version_id), pixels[[row for _, row in faces]])
    scored = [
        anomalies.Scored(face_id, float(error), float(distance), float(rank))
        for (face_id, _), error, distance, rank in zip(
            faces, found.errors, found.distances, found.ranks, strict=True
        )
    ]
    new = anomalies.add(tx, version_id, scored, run_id)
    limit = stores.settings.analysis.unusual_rank
    return {"faces": new, "unusual": sum(one.rank >= limit for one in scored)}


def _page(stores: Stores, used: models.ModelVersion) -> tuple[bytes, bytes, dict[str, int]]:
    """The page, its numbers as JSON, and counts."""
    from facecore.analytics.anomaly import face_map
    from facecore.analytics.anomaly_page import render_anomalies
    from facecore.stages.reconstruct import judge, reconstructions

    limit = stores.settings.analysis.unusual_rank
    with stores.catalog.transaction() as tx:
        network = _network(stores, tx, used.id)
        bins = anomalies.histogram(tx)
        shown = anomalies.most_unusual(tx, _SHOWN)
        mapped = sorted(anomalies.sample(tx, _MAPPED), key=lambda face: face.face_id)
    every = {face.face_id: face for face in [*shown, *mapped]}
    where = {i: (face.crop_key, face.crop_index) for i, face in every.items()}
    pixels = _crops(stores, where)
    mapped = [face for face in mapped if face.face_id in pixels]
    shown = [face for face in shown if face.face_id in pixels]
    codes = judge(network, _stack(pixels, [f.face_id for f in mapped])).codes
    own = _stack(pixels, [f.face_id for f in shown])
    page = render_anomalies(
        model=f"{used.name}/{used.version}",
        limit=limit,
        histogram=bins,
        unusual=[(f.face_id, f.source, f.error, f.rank) for f in shown],
        originals=own,
        drawn=reconstructions(network, own),
        places=face_map(codes),
        ranks=np.array([f.rank for f in mapped]),
    )
    counts = {"faces": sum(bins), "shown": len(shown), "mapped": len(mapped)}
    document = {
        "model": f"{used.name}/{used.version}",
        "unusual_rank": limit,
        "ranks": bins,
        "most_unusual": [
            {"face": f.face_id, "source": f.source, "error": f.error, "distance": f.distance,
             "rank": f.rank}
            for f in shown
        ],
        **counts,
    }  # fmt: skip
    return page, json.dumps(document, indent=1).encode(), counts


def _crops(stores: Stores, where: dict[int, tuple[str, int]]) -> dict[int, Any]:
    """Crops by face, without those whose pack is gone."""
    found: dict[int, Any] = {}
    for key in sorted({key for key, _ in where.values()}):
        own = {face: place for face, place in where.items() if place[0] == key}
        try:
            found |= crops.read_crops(stores.objects, own)
        except ObjectMissing as missing:
            logger.warning("page without these crops: %s", missing)
    return found


def _stack(pixels: dict[int, Any], faces: list[int]) -> Any:
    if not faces:
        return np.zeros((0, CROP_SIZE, CROP_SIZE, 3), np.uint8)
    return np.stack([pixels[face] for face in faces])


def _network(stores: Stores, tx: Transaction, version_id: int) -> FaceAutoencoder:
    from facecore.zoo.autoencoder import FaceAutoencoder

    version = models.get(tx, version_id)
    network = analysis_models.load(stores, version.name, version.version)
    assert isinstance(network, FaceAutoencoder)  # noqa: S101 (the only one of its task)
    return network
