"""Accepted images → faces, packed crops and embeddings, shard by shard."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from facecore.errors import ImageRejected, ObjectMissing
from facecore.jobs.faces import crops
from facecore.jobs.images.quarantine import quarantine, remove_originals
from facecore.jobs.lineage import Run, RunContext, attempt, recorded
from facecore.jobs.models.champions import champions, extractor, while_models_change
from facecore.jobs.stores import Stores
from facecore.pipeline.extract import ExtractedImage
from facecore.pipeline.stream import stream
from facecore.stages import reasons
from facecore.stages.decode import Limits
from facecore.stages.face_quality import assess
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.faces import faces
from facecore.stores.catalog.images import images
from facecore.stores.catalog.models import active
from facecore.stores.catalog.work import coverage, shards
from facecore.types import Detections, Embeddings, FaceCrops, ImageRef

logger = logging.getLogger(__name__)

_JUDGED_AT_ONCE = 256  # faces; their intermediate values take 24 KB each


def plan(
    context: RunContext,
    max_shards: int | None = None,
    stores: Stores | None = None,
    *,
    max_pixels: int | None = None,
) -> list[int]:
    """Put accepted images that nobody extracts into shards; returns the shards' ids.

    Args:
        max_pixels: most of a shard's pictures together; None: as set.
    """
    stores = stores or Stores()
    settings = stores.settings
    with recorded(stores.catalog, context, "extract.plan", {"max_shards": max_shards}) as run:
        with stores.catalog.transaction() as tx:
            shard_ids = shards.plan_extraction(
                tx,
                context.dag_run_id,
                settings.extract.shard_size,
                max_shards or settings.ingest.max_shards,
                max_pixels=max_pixels or settings.extract.shard_pixels,
            )
        run.counts = {"shards": len(shard_ids)}
        return shard_ids


def extract_shard(context: RunContext, shard_id: int, stores: Stores | None = None) -> int:
    """Find, align and embed the faces of a shard's images; returns the shard's id.

    Faces, embeddings, image states and the shard's completion are one transaction; the crop
    packs it points to are written before it commits. A shard that was computed while another
    pair of models came into use is computed again, with that pair.
    """
    stores = stores or Stores()
    with recorded(stores.catalog, context, "extract.shard", {"shard": shard_id}) as run:
        with attempt(stores.catalog, shard_id):
            rejected = while_models_change(lambda: _claimed(stores, shard_id, run))
        remove_originals(stores, rejected)
        logger.info("shard %d: %s", shard_id, run.counts)
    return shard_id


def summarise(shard_ids: Sequence[int], stores: Stores | None = None) -> dict[str, int]:
    """The counts of these shards, added up."""
    stores = stores or Stores()
    with stores.catalog.transaction() as tx:
        return shards.totals(tx, shard_ids)


@dataclass
class Pack:
    """Faces on their way to one crop pack."""

    key: str
    rows: list[faces.FaceRow] = field(default_factory=list)
    found: list[Detections] = field(default_factory=list)
    pixels: list[FaceCrops] = field(default_factory=list)
    vectors: list[Embeddings] = field(default_factory=list)

    def add(
        self, image_id: int, found: ExtractedImage, detector_id: int, shard_id: int | None
    ) -> None:
        """Append the faces of an image."""
        landmarks = found.detections.landmarks
        for ordinal in range(len(found)):
            self.rows.append(
                faces.FaceRow(
                    image_id=image_id,
                    detector_version_id=detector_id,
                    ordinal=ordinal,
                    box=found.detections.boxes[ordinal].tolist(),
                    landmarks=None if landmarks is None else landmarks[ordinal].ravel().tolist(),
                    score=float(found.detections.scores[ordinal]),
                    crop_key=self.key,
                    crop_index=len(self.rows),
                    shard_id=shard_id,
                )
            )
        self.found.append(found.detections)
        self.pixels.append(found.crops)
        self.vectors.append(found.embeddings)

    def write(self, stores: Stores, tx: Transaction, embedder_id: int) -> list[int]:
        """Store crops, faces and embeddings; returns the face ids in order."""
        if not self.rows:
            return []
        pixels = crops.concatenate(self.pixels)
        crops.write_pack(stores.objects, self.key, pixels)
        judged = zip(self.rows, self._qualities(pixels), strict=True)
        face_ids = faces.insert_faces(tx, [replace(row, quality=q) for row, q in judged])
        contract = self.vectors[0].contract
        vectors = np.concatenate([v.vectors for v in self.vectors])
        faces.copy_embeddings(tx, embedder_id, face_ids, Embeddings(vectors, contract))
        return face_ids

    def _qualities(self, pixels: FaceCrops) -> Iterator[dict[str, float]]:
        """Of every face, judged many at a time: for a few, calling costs more than computing."""
        found = Detections.join(self.found)
        for start in range(0, len(found), _JUDGED_AT_ONCE):
            part = slice(start, start + _JUDGED_AT_ONCE)
            yield from assess(FaceCrops(pixels.pixels[part]), found[part]).records()


def _claimed(stores: Stores, shard_id: int, run: Run) -> list[int]:
    with stores.catalog.transaction() as tx:
        if shards.claim(tx, shard_id) is None:
            return []
        rejected = _extract(stores, tx, shard_id, run)
        shards.complete(tx, shard_id, run.counts)
    return rejected


def _extract(stores: Stores, tx: Transaction, shard_id: int, run: Run) -> list[int]:
    """Extract a claimed shard; returns the ids of images whose originals are to be removed."""
    chosen = champions(stores)
    run.models = chosen.names
    refs = shards.images_of(tx, shard_id)
    results = stream(
        ((ref.id, fetcher(stores, ref)) for ref in refs),
        extractor(stores, chosen),
        limits=limits_of(stores),
    )
    run.counts, rejected = keep(stores, tx, chosen.ids, shard_id, refs, results)
    return rejected


def keep(
    stores: Stores,
    tx: Transaction,
    models: tuple[int, int],
    shard_id: int,
    refs: Sequence[ImageRef],
    results: Iterable[tuple[int, ExtractedImage | ImageRejected]],
) -> tuple[dict[str, int], list[int]]:
    """Write what was found in a claimed shard's images, in its transaction.

    Args:
        models: ids of the detector and embedder that found it.
        refs: all of the shard's images; `results` has one result for each, by id.

    Returns:
        Counts, and the ids of images that were copied into the quarantine: `remove_originals` is
        to be called with them after the transaction.

    Raises:
        ModelsChanged: another pair is in use by now; nothing of this transaction may stay.
    """
    extracted: list[int] = []
    rejected: dict[int, list[dict[str, Any]]] = {}
    detector_id, embedder_id = models
    found = packs = 0
    pack = Pack(f"{shard_id}-{packs}.safetensors")
    for image_id, result in results:
        if isinstance(result, ImageRejected):
            rejected[image_id] = [{"code": result.reason, "detail": str(result)}]
            continue
        extracted.append(image_id)
        pack.add(image_id, result, detector_id, shard_id)
        if len(pack.rows) >= crops.FACES_PER_PACK:
            found += len(pack.write(stores, tx, embedder_id))
            packs += 1
            pack = Pack(f"{shard_id}-{packs}.safetensors")
    found += len(pack.write(stores, tx, embedder_id))
    active.require(tx, *models)
    images.mark_extracted(tx, extracted)
    coverage.cover(tx, models, extracted)
    keys = {ref.id: ref.key for ref in refs if ref.id in rejected}
    moved = quarantine(stores, tx, keys, rejected)
    counts = {"images": len(extracted), "faces": found, "images_rejected": len(rejected)}
    return counts, moved


def limits_of(stores: Stores) -> Limits:
    """What is decoded at all, by the settings."""
    return Limits(stores.settings.ingest.max_bytes, stores.settings.ingest.max_pixels)


def fetcher(stores: Stores, ref: ImageRef) -> Callable[[], bytes]:
    """Fetches an original; a lost one is rejected as one image, like a broken one."""

    def fetch() -> bytes:
        try:
            return stores.objects.get(ref.bucket, ref.key)
        except ObjectMissing as missing:
            # Somebody removed it: this image is lost, the others of the shard are not.
            raise ImageRejected(reasons.MISSING, str(missing)) from missing

    return fetch
