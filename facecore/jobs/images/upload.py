"""Files → landing bucket, skipping what the catalogue has taken in already."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from mimetypes import guess_type
from pathlib import Path

from facecore.errors import KeyRefused, UsageError
from facecore.jobs.stores import Stores
from facecore.stores.catalog.images import images
from facecore.stores.objects import addressable

logger = logging.getLogger(__name__)

_PER_LOOKUP = 1000


@dataclass(frozen=True, slots=True)
class Delivery:
    """A file to be delivered under a landing key."""

    key: str
    path: Path
    content_type: str = "application/octet-stream"
    metadata: Mapping[str, str] = field(default_factory=dict)


def files_below(folder: Path, prefix: str) -> Iterator[Delivery]:
    """Every file below a folder that is not hidden, under `prefix` + its path, in order.

    Raises:
        UsageError: there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.")
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in inside.parts):
            kind = guess_type(path.name)[0] or "application/octet-stream"
            yield Delivery(prefix + inside.as_posix(), path, kind)


def upload(
    stores: Stores,
    deliveries: Iterable[Delivery],
    on_progress: Callable[[int], None] = lambda _: None,
    on_refused: Callable[[KeyRefused], None] = logger.warning,
) -> int:
    """Deliver files; returns how many were not known yet.

    A file whose name cannot be a key, such as one that is not UTF-8, is left out and told to
    `on_refused`.

    Known is a key whose content was taken in before: the ETag of an object written in one part
    is the MD5 of its bytes. Where a server computes ETags differently the file is delivered
    again, which ingestion notices.
    """

    def put(delivery: Delivery) -> None:
        stores.objects.put(
            "landing",
            delivery.key,
            delivery.path.read_bytes(),
            content_type=delivery.content_type,
            metadata=delivery.metadata,
        )

    sent = seen = 0
    with ThreadPoolExecutor(stores.settings.s3.connections, "upload") as pool:
        for batch in _batches(_nameable(stores, deliveries, on_refused)):
            etags = pool.map(_md5, (d.path for d in batch))
            pairs = [(d.key, etag) for d, etag in zip(batch, etags, strict=True)]
            with stores.catalog.transaction() as tx:
                known = images.known_landing(tx, "landing", pairs)
            new = [d for d, pair in zip(batch, pairs, strict=True) if pair not in known]
            list(pool.map(put, new))
            sent += len(new)
            seen += len(batch)
            on_progress(seen)
    return sent


def _nameable(
    stores: Stores, deliveries: Iterable[Delivery], on_refused: Callable[[KeyRefused], None]
) -> Iterator[Delivery]:
    for delivery in deliveries:
        if addressable(delivery.key):
            yield delivery
        else:
            on_refused(KeyRefused(stores.settings.s3.bucket("landing"), delivery.key))


def _batches(deliveries: Iterable[Delivery]) -> Iterator[list[Delivery]]:
    remaining = iter(deliveries)
    while batch := list(islice(remaining, _PER_LOOKUP)):
        yield batch


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
