"""Faces and vectors of another pair of models, filled beside the pair in use.

The unit is a set of images: whatever the target pair lacks there is made, in one transaction.
With the same detector the vectors come from packed crops. Another detector searches the
originals again; what humans said of a face is carried to the face it found at the same place,
and where it found none the old box and crop are kept as a face of the new version.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from facecore.errors import ChangeRefused, ImageRejected
from facecore.jobs.faces import crops, search_index
from facecore.jobs.faces.extract import Pack, fetcher
from facecore.jobs.faces.identify import compare_with_gallery
from facecore.jobs.lineage import RunContext, attempt, recorded
from facecore.jobs.models.champions import Champions, extractor, versions
from facecore.jobs.stores import Stores
from facecore.pipeline.stream import stream
from facecore.stages.decode import Limits
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.faces import faces
from facecore.stores.catalog.images import images
from facecore.stores.catalog.models import counterparts, models, promotions
from facecore.stores.catalog.models.promotions import Promotion
from facecore.stores.catalog.people import people
from facecore.stores.catalog.work import coverage, reembedding, shards
from facecore.types import FaceCrops

logger = logging.getLogger(__name__)


def plan(context: RunContext, promotion_id: int, stores: Stores | None = None) -> list[int]:
    """The shards of a promotion; asked again, with new ones for images that arrived meanwhile."""
    stores = stores or Stores()
    params = {"promotion": promotion_id}
    with recorded(stores.catalog, context, "reembed.plan", params) as run:
        with stores.catalog.transaction() as tx:
            promotion = promotions.get(tx, promotion_id)
            _, embedder_id = promotion.target
            dimension = models.get(tx, embedder_id).dimension
            assert dimension is not None  # noqa: S101 (an embedder has one)
            faces.ensure_embedding_partition(tx, embedder_id, dimension)
            shard_ids = coverage.plan(tx, promotion, stores.settings.extract.shard_size)
            if promotion.state == "planned":
                promotions.advance(tx, promotion_id, "filling")
        run.counts = {"shards": len(shard_ids)}
    return shard_ids


def fill_shard(
    context: RunContext, promotion_id: int, shard_id: int, stores: Stores | None = None
) -> int:
    """Make what the target pair lacks in a shard's images; returns the shard's id.

    Results and the shard's completion are one transaction: a killed worker loses nothing.

    Raises:
        ChangeRefused: the promotion was abandoned.
    """
    stores = stores or Stores()
    params = {"promotion": promotion_id, "shard": shard_id}
    with recorded(stores.catalog, context, "reembed.shard", params) as run:
        with attempt(stores.catalog, shard_id), stores.catalog.transaction() as tx:
            shard = shards.claim(tx, shard_id)
            if shard is not None:
                filled = fill(stores, tx, promotion_id, shard.members, f"reembed-{shard_id}")
                run.models, run.counts = filled.models, filled.counts
                shards.complete(tx, shard_id, run.counts)
        logger.info("shard %d: %s", shard_id, run.counts)
    return shard_id


def build_index(context: RunContext, promotion_id: int, stores: Stores | None = None) -> None:
    """Close the fill, build the HNSW index of the new partition and measure what it finds.

    What an earlier promotion of the same version filled is in no shard of this one, hence staged
    here. Nothing if it was done. An index that finds too little stops no promotion: look-ups are
    exact then, see `search_index`.

    Raises:
        ChangeRefused: shards are not done yet.
    """
    stores = stores or Stores()
    with recorded(stores.catalog, context, "reembed.index", {"promotion": promotion_id}) as run:
        with stores.catalog.transaction() as tx:
            promotion = promotions.get(tx, promotion_id, "mine")
            if promotion.state == "filling":
                _require_done(tx, promotion)
                promotions.advance(tx, promotion_id, "filled")
        if promotion.state not in ("filling", "filled"):
            return
        with stores.catalog.transaction() as tx:
            faces.build_index(tx, promotion.to_embedder_id)
            version = models.get(tx, promotion.to_embedder_id)
        found = search_index.measure(stores, version, run.id)
        run.counts = {key: found[key] for key in ("vectors", "recall", "ef_search") if key in found}
        gallery = _stage_filled_before(stores, run.id, promotion)
        with stores.catalog.transaction() as tx:
            promotions.advance(tx, promotion_id, "indexed", gallery=gallery)


def stage_shard(
    context: RunContext, promotion_id: int, shard_id: int, stores: Stores | None = None
) -> dict[str, int]:
    """Record what the target embedder says of a shard's faces, beside what holds now."""
    stores = stores or Stores()
    params = {"promotion": promotion_id, "shard": shard_id}
    with (
        recorded(stores.catalog, context, "reembed.stage", params) as run,
        stores.catalog.transaction() as tx,
    ):
        detector_id, embedder_id = promotions.get(tx, promotion_id).target
        run.counts = compare_with_gallery(
            stores,
            tx,
            run.id,
            models.get(tx, embedder_id),
            reembedding.of_shard(shard_id, detector_id),
        )
    return dict(run.counts)


def stage_everything(stores: Stores, run_id: str, promotion_id: int) -> str:
    """Compare all faces of the target with the gallery of now; returns its fingerprint."""
    with stores.catalog.transaction() as tx:
        fingerprint = people.gallery_fingerprint(tx)
        shard_ids = shards.finished(tx, "extract")
        promotion = promotions.get(tx, promotion_id, "stays")
        carry(tx, promotion)
    for shard_id in shard_ids:
        with stores.catalog.transaction() as tx:
            model = models.get(tx, promotion.target[1])
            compare_with_gallery(stores, tx, run_id, model, f"face.shard_id = {int(shard_id)}")
    return fingerprint


def catch_up(
    stores: Stores,
    run_id: str,
    promotion_id: int,
    on_progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Fill and compare the images that the target lacks, in transactions of a shard's size.

    Returns how many images were filled.
    """
    done = 0
    seen: set[int] = set()
    while True:
        with stores.catalog.transaction() as tx:
            promotion = promotions.get(tx, promotion_id)
            image_ids = coverage.missing(tx, promotion, stores.settings.extract.shard_size)
            if not image_ids:
                return done
            if seen.issuperset(image_ids):
                raise ChangeRefused(
                    f"promotion {promotion_id}: images stay incomplete after they were filled, "
                    f"the first is {image_ids[0]}.",
                    rule="coverage",
                )
            seen.update(image_ids)
            fill_and_stage(stores, tx, run_id, promotion_id, image_ids)
        done += len(image_ids)
        on_progress(done)


def fill_and_stage(
    stores: Stores, tx: Transaction, run_id: str, promotion_id: int, image_ids: Sequence[int]
) -> None:
    """Make what the target lacks in these images and say who is on them, in this transaction."""
    filled = fill(stores, tx, promotion_id, image_ids, f"reembed-{run_id}-{image_ids[0]}")
    detector_id, embedder_id = filled.target
    compare_with_gallery(
        stores,
        tx,
        run_id,
        models.get(tx, embedder_id),
        reembedding.of_images(image_ids, detector_id),
    )


def carry(tx: Transaction, promotion: Promotion, image_ids: Sequence[int] | None = None) -> int:
    """Carry what humans said to the target's faces; nothing where the detector stays."""
    if not promotion.new_detector:
        return 0
    return counterparts.carry_human_words(
        tx,
        promotion.source[0],
        promotion.target[0],
        image_ids=image_ids,
        overwrite=promotion.is_open,
    )


@dataclass(frozen=True, slots=True)
class Filled:
    """What a fill did: the target's ids, its models for lineage, and counts."""

    target: tuple[int, int]
    models: dict[str, str]
    counts: dict[str, int]


def fill(
    stores: Stores,
    tx: Transaction,
    promotion_id: int,
    image_ids: Sequence[int],
    pack: str,
) -> Filled:
    """Make what the target pair of a promotion lacks in these images.

    Args:
        pack: how the crop packs of newly detected faces are to be called; never used before.

    Raises:
        ChangeRefused: the promotion was abandoned.
    """
    promotion = promotions.get(tx, promotion_id, "stays")
    if promotion.state in ("abandoned", "superseded"):
        raise ChangeRefused(
            f"promotion {promotion_id} is {promotion.state}; nothing is filled for it.",
            rule="promotion_open",
        )
    detector_id, embedder_id = promotion.target
    target = versions(stores, models.get(tx, detector_id), models.get(tx, embedder_id))
    shard_of = reembedding.extraction_shards(tx, image_ids)
    present = list(shard_of)  # an image that was erased meanwhile is left out
    counts: Counter[str] = Counter(images=len(present))
    if promotion.new_detector:
        searched = coverage.covered(tx, detector_id, present)
        new = {image_id: shard_of[image_id] for image_id in present if image_id not in searched}
        found, lost = _detect(stores, tx, target, new, pack)
        source_id = promotion.source[0]
        counts["matched"] = counterparts.match(tx, present, source_id, detector_id)
        counts["kept"] = _keep(tx, present, lost, source_id, detector_id)
        counts["detected"] = found
    counts["embedded"] = _embed(stores, tx, target, present)
    counts["human_words"] = carry(tx, promotion, present)
    coverage.cover(tx, target.ids, present)
    return Filled(promotion.target, target.names, dict(counts))


def _detect(
    stores: Stores, tx: Transaction, target: Champions, shard_of: dict[int, int | None], key: str
) -> tuple[int, list[int]]:
    """Search originals with the target's detector: faces found, images that cannot be read."""
    limits = Limits(stores.settings.ingest.max_bytes, stores.settings.ingest.max_pixels)
    lost: list[int] = []
    found = packs = 0
    pack = Pack(f"{key}-{packs}.safetensors")
    refs = images.refs(tx, list(shard_of))
    for image_id, result in stream(
        ((ref.id, fetcher(stores, ref)) for ref in refs), extractor(stores, target), limits=limits
    ):
        if isinstance(result, ImageRejected):
            logger.warning("image %d cannot be searched again, its faces are kept", image_id)
            lost.append(image_id)
            continue
        pack.add(image_id, result, target.detector_row.id, shard_of[image_id])
        if len(pack.rows) >= crops.FACES_PER_PACK:
            found += len(pack.write(stores, tx, target.embedder_row.id))
            packs += 1
            pack = Pack(f"{key}-{packs}.safetensors")
    found += len(pack.write(stores, tx, target.embedder_row.id))
    return found, lost


def _keep(
    tx: Transaction, image_ids: Sequence[int], lost: Sequence[int], source_id: int, target_id: int
) -> int:
    """Copy faces the target's detector missed: those with a name by a human, and all of images
    whose original is gone."""
    missed = counterparts.without(tx, image_ids, source_id, target_id)
    missed += counterparts.without(tx, lost, source_id, target_id, humans_only=False)
    copies = reembedding.copy_to_detector(tx, sorted(set(missed)), target_id)
    counterparts.record(tx, [(face, copy, 1.0) for face, copy in copies])
    return len(copies)


def _embed(stores: Stores, tx: Transaction, target: Champions, image_ids: Sequence[int]) -> int:
    """Embed crops the target's embedder has not seen, one pack in memory at a time."""
    waiting = reembedding.without_vector(tx, *target.ids, image_ids)
    embedder = extractor(stores, target).embedder if waiting else None
    embedded = 0
    for key, wanted in waiting.items():
        assert embedder is not None  # noqa: S101 (for the type checker)
        rows = np.array([row for _, row in wanted])
        pixels = crops.read_pack(stores.objects, key).pixels[rows]
        vectors = embedder.embed(FaceCrops(np.ascontiguousarray(pixels)))
        face_ids = [face_id for face_id, _ in wanted]
        embedded += faces.copy_embeddings(tx, target.embedder_row.id, face_ids, vectors)
    return embedded


def _stage_filled_before(stores: Stores, run_id: str, promotion: Promotion) -> str:
    """Stage all faces where some were filled before this promotion; the gallery's fingerprint.

    What was staged then, if anything was, is of the gallery of then.
    """
    with stores.catalog.transaction() as tx:
        # Taken before the faces are compared with it: a change meanwhile shows afterwards.
        gallery = people.gallery_fingerprint(tx)
        filled_before = coverage.beyond_shards(tx, promotion)
    return stage_everything(stores, run_id, promotion.id) if filled_before else gallery


def _require_done(tx: Transaction, promotion: Promotion) -> None:
    name = coverage.run_name(promotion)
    open_shards = [s.id for s in shards.of_run(tx, "reembed", name) if s.state != "done"]
    if open_shards:
        raise ChangeRefused(
            f"{len(open_shards)} shards of promotion {promotion.id} are not filled yet, the first "
            f"is {open_shards[0]}.",
            rule="promotion_filled",
            remedy="Clear the failed tasks, or trigger reembed_faces again.",
        )
