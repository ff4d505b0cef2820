"""The steps of the pipeline: each takes a shard's row and gives one.

Reading and writing use the stores by the settings of the node they run on, like every other
worker; extraction knows no store and no password. What fails in a step is told in the row, so
that one answer reaches the command, whatever happened where.
"""

from __future__ import annotations

import socket
import tempfile
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from facecore.errors import CatalogBusy, ConfigError, FacecoreError, ImageRejected
from facecore.jobs.faces.extract import fetcher, keep
from facecore.jobs.images.quarantine import remove_originals
from facecore.jobs.lineage import RunContext, marked_when_failed, recorded
from facecore.jobs.on_ray.contents import decoded_of, decoded_row, extracted_of, extracted_row
from facecore.jobs.on_ray.rows import Note, Row, note_of, to_row
from facecore.jobs.on_ray.work import DAG_ID, Work
from facecore.jobs.stores import Stores
from facecore.pipeline.decoded import Decoded, decode_file
from facecore.pipeline.extract import Picture
from facecore.stages.decode import Limits
from facecore.stores.catalog.work import shards
from facecore.types import ImageRef

if TYPE_CHECKING:
    from facecore.pipeline.extract import FaceExtractor


def read_shard(row: Row, work: Work) -> Row:
    """A shard's id → its pictures, fetched and decoded. Runs on a CPU with access to the stores."""
    return _told(row, lambda note: _read(_stores(), work, note))


class Extraction:
    """Pictures → faces, crops and embeddings. Holds the networks; one per GPU, or per few cores.

    Args:
        weights: the files of detector and embedder.
    """

    def __init__(self, work: Work, weights: tuple[bytes, bytes]) -> None:
        from facecore.jobs.models import champions

        self._work = work
        with tempfile.TemporaryDirectory(prefix="facecore-weights-") as folder:
            files = [Path(folder) / f"{digest}.safetensors" for digest in work.digests]
            for file, content in zip(files, weights, strict=True):
                file.write_bytes(content)
            (detector, embedder), (found, known) = work.networks, work.digests
            # Traced, written and read, as on other machines: so the bits are the same.
            graphs = Path(folder) / "graphs"
            self._extractor = champions.load(
                files[0], found, detector, files[1], known, embedder, work.extract, graphs
            )
        _require_enough_pixels(self._extractor, work)

    def __call__(self, row: Row) -> Row:
        """A shard's pictures → what was found on them."""
        return _told(row, lambda note: self._extract(note, row))

    def _extract(self, note: Note, row: Row) -> Row:
        from facecore.pipeline.stream import stream

        limits = Limits(*self._work.limits)
        items = ((key, _at_hand(one)) for key, one in decoded_of(row, limits))
        # One thread hands over what is there already; the others of a stream wait for networks.
        results = list(stream(items, self._extractor, limits, workers=1))
        return extracted_row(_origin(note), results, self._extractor.contract)


def write_shard(row: Row, work: Work) -> Row:
    """What was found in a shard → stores, in one transaction. Runs where `read_shard` does."""
    return _told(row, lambda note: _write(_stores(), work, note, row))


def _read(stores: Stores, work: Work, note: Note) -> Row:
    shard_id = int(note["shard"])
    with stores.catalog.transaction() as tx:
        shard = shards.get(tx, shard_id)
    if shard.dag_run_id != note["run"]:
        raise ConfigError(
            f"the catalogue that node {socket.gethostname()} works with is not the one whose "
            f"shards are extracted: its shard {shard_id} belongs to run {shard.dag_run_id!r}.",
            remedy="Give every node the settings of the command (FACECORE_DATABASE__…, "
            "FACECORE_S3__…), or start it without CPUs for Ray.",
        )
    if shard.state == "done":
        return to_row({**_origin(note), "done": shard.counts})
    note = {**note, "attempt": shards.note_attempt(stores.catalog, shard_id)}
    with marked_when_failed(stores.catalog, shard_id):
        with stores.catalog.transaction() as tx:
            refs = shards.images_of(tx, shard_id)
        decoded = _decode_all(stores, refs, work)
    return decoded_row(
        _origin(note),
        [ref.id for ref in refs],
        [one for one, _ in decoded],
        [f for _, f in decoded],
    )


def _decode_all(stores: Stores, refs: list[ImageRef], work: Work) -> list[tuple[Decoded, bytes]]:
    """Fetched side by side, because that is waiting; decoded one by one, on the core given."""
    core, limits = Lock(), Limits(*work.limits)

    def decoded(ref: ImageRef) -> tuple[Decoded, bytes]:
        try:
            data = fetcher(stores, ref)()
        except ImageRejected as rejected:
            return Decoded(rejected, 0, 0), b""
        with core:
            one = decode_file(data, limits, work.least_px)
        if isinstance(one.picture, Picture) and one.picture.whole is not None:
            # What decodes it in full is made again where it is needed, from the file.
            return replace(one, picture=replace(one.picture, whole=None)), data
        return one, b""

    with ThreadPoolExecutor(stores.settings.s3.connections, "facecore-fetch") as pool:
        return list(pool.map(decoded, refs))


def _write(stores: Stores, work: Work, note: Note, row: Row) -> Row:
    shard_id = int(note["shard"])
    context = RunContext(DAG_ID, note["run"], "extract", shard_id, int(note["attempt"]))
    params = {"shard": shard_id, "node": socket.gethostname()}
    rejected: list[int] = []
    with recorded(stores.catalog, context, "extract.shard", params) as run:
        run.models = work.names
        with (
            marked_when_failed(stores.catalog, shard_id),
            stores.catalog.transaction() as tx,
        ):
            if shards.claim(tx, shard_id) is not None:
                refs = shards.images_of(tx, shard_id)
                results = dict(extracted_of(row))
                # Nobody held the shard meanwhile: images may have been taken from it or refused.
                if missing := [ref.id for ref in refs if ref.id not in results]:
                    raise CatalogBusy(
                        f"{len(missing)} images came into shard {shard_id} while it was extracted.",
                        remedy="Run the command again.",
                    )
                run.counts, rejected = keep(
                    stores, tx, work.models, shard_id, refs, ((r.id, results[r.id]) for r in refs)
                )
                shards.complete(tx, shard_id, run.counts)
        remove_originals(stores, rejected)
    return to_row({**_origin(note), "done": run.counts})


@lru_cache(maxsize=1)
def _stores() -> Stores:
    return Stores()


def _origin(note: Note) -> Note:
    return {name: note[name] for name in ("shard", "run", "attempt") if name in note}


def _at_hand(decoded: Decoded) -> Callable[[], Decoded]:
    return lambda: decoded


def _told(row: Row, step: Callable[[Note], Row]) -> Row:
    """A step's row; what another step failed with, or had done already, is passed on."""
    note = note_of(row)
    if "failure" in note or "done" in note:
        return to_row({name: value for name, value in note.items() if name != "shapes"})
    try:
        return step(note)
    except Exception as error:
        return to_row({**_origin(note), "failure": failure(error)})


def failure(error: Exception) -> dict[str, Any]:
    """An error as plain values: what the command needs to raise one like it."""
    if isinstance(error, FacecoreError):
        return {
            "kind": type(error).__name__,
            "message": error.message,
            "remedy": error.remedy,
            "retryable": error.retryable,
            "usage": error.exit_status == 2,
        }
    return {
        "kind": type(error).__name__,
        "message": f"{type(error).__name__}: {error}",
        "remedy": "",
        "retryable": False,
        "usage": False,
        "trace": "".join(traceback.format_exception(error)),
    }


def _require_enough_pixels(extractor: FaceExtractor, work: Work) -> None:
    if extractor.on_device is None and work.least_px not in (0, extractor.searched_px):
        raise ConfigError(
            f"pictures are decoded for a search at {work.least_px} px, but this detector "
            f"searches at {extractor.searched_px} px.",
        )
