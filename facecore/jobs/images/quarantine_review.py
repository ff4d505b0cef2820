"""A human looks at what the gate refused: released, it goes on to extraction; discarded, its
bytes are removed and its row and reasons stay.

Both can be repeated: an image that was released before counts as released, one that was
discarded as discarded, and bytes that an interruption left behind are removed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from facecore.errors import ImageRejected, NotFound, ObjectMissing, UsageError
from facecore.jobs.images import thumbnails
from facecore.jobs.stores import Stores
from facecore.stages import reasons as codes
from facecore.stages.decode import Limits, inspect
from facecore.stores.catalog import audit
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.images import quarantine
from facecore.stores.catalog.images.quarantine import Decided, Quarantined
from facecore.types import ImageStatus

# Bytes are moved while the rows are held; more at once would make others wait.
MOST_IMAGES = 200

# Nothing that a human says makes these bytes a picture.
UNREADABLE = frozenset(
    {
        codes.EMPTY, codes.NOT_AN_IMAGE, codes.UNSUPPORTED_FORMAT, codes.TRUNCATED,
        codes.UNDECODABLE, codes.ANIMATED, codes.MULTIPLE_PAGES,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of the quarantine.

    Attributes:
        counts: reason code → how many of the newest `quarantine.COUNTED` images have it.
        more_before: id to ask the next page with; None: this is the last.
    """

    images: list[Quarantined]
    counts: Mapping[str, int]
    decided: list[Decided]
    more_before: int | None


@dataclass
class Outcome:
    """What became of the images asked for: ids done, and id → why not."""

    done: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)


def listing(
    *,
    code: str | None = None,
    before: int | None = None,
    limit: int = 30,
    stores: Stores | None = None,
) -> Listing:
    """Quarantined images, newest first, and what was decided lately.

    Raises:
        UsageError: there is no such reason.
    """
    if code is not None and code not in codes.REASONS:
        raise UsageError(f"{code!r} is no reason; there are {', '.join(sorted(codes.REASONS))}.")
    with (stores or Stores()).catalog.transaction() as tx:
        found = quarantine.newest(tx, code=code, before=before, limit=limit + 1)
        shown = found[:limit]
        return Listing(
            shown,
            quarantine.count_by_code(tx),
            quarantine.decisions(tx),
            shown[-1].id if len(found) > limit else None,
        )


def preview(image_id: int, stores: Stores | None = None) -> bytes | None:
    """A quarantined picture as a small JPEG; None where it cannot be decoded.

    Raises:
        NotFound: there is no such image in the quarantine, or its bytes are gone.
        ImageRejected: it is not a picture, or is beyond the limits.
    """
    stores = stores or Stores()
    with stores.catalog.transaction() as tx:
        image = quarantine.find(tx, image_id)
    if image is None or image.status is not ImageStatus.QUARANTINED:
        raise NotFound("quarantined image", str(image_id))
    limits = _limits(stores)
    try:
        data = stores.objects.get(_bucket(stores, image), image.object_key, limits.max_bytes)
    except ObjectMissing as missing:
        raise NotFound("bytes of image", str(image_id)) from missing
    return thumbnails.preview(data, limits)


def release(
    image_ids: Sequence[int], *, actor: str, reason: str, stores: Stores | None = None
) -> Outcome:
    """Let images go on to extraction although the gate refused them.

    The gate judges what is new, so it does not judge them again. Refused are images that no
    decoder can read: a released one would come straight back.

    Raises:
        UsageError: no reason was given, or too many images.
        NotFound: there is no such image.
    """
    stores = stores or Stores()

    def one(tx: Transaction, image: Quarantined) -> str | None:
        if image.status in (ImageStatus.ACCEPTED, ImageStatus.EXTRACTED):
            return None
        if image.status is not ImageStatus.QUARANTINED:
            return f"it is {image.status}, its bytes are gone."
        bucket = _bucket(stores, image)
        fault = _fault(stores, image, bucket)
        if fault is not None:
            return fault
        if bucket != "images":
            stores.objects.copy(bucket, image.object_key, "images", image.object_key)
        quarantine.decide(tx, image, "release", actor=actor, reason=reason)
        return None

    outcome = _each(stores, image_ids, actor, reason, "quarantine.released", one)
    # Committed: what lies in the quarantine is only a copy now, unless extraction has refused
    # the image meanwhile.
    with stores.catalog.transaction() as tx:
        for image in quarantine.lock(tx, outcome.done).values():
            if image.status is not ImageStatus.QUARANTINED:
                stores.objects.delete("quarantine", image.object_key)
    return outcome


def discard(
    image_ids: Sequence[int], *, actor: str, reason: str, stores: Stores | None = None
) -> Outcome:
    """Remove the bytes of quarantined images. The row stays, so that the same picture delivered
    again is recognised and not taken in.

    Raises:
        UsageError: no reason was given, or too many images.
        NotFound: there is no such image.
    """
    stores = stores or Stores()

    def one(tx: Transaction, image: Quarantined) -> str | None:
        if image.status not in (ImageStatus.QUARANTINED, ImageStatus.ERASED):
            return f"it is {image.status}, not in the quarantine."
        if image.status is ImageStatus.QUARANTINED:
            quarantine.decide(tx, image, "discard", actor=actor, reason=reason)
        # Before the commit, unlike elsewhere: what is called discarded must be gone. Interrupted
        # here, the image is still listed and can be discarded again.
        for bucket in ("quarantine", "images"):
            stores.objects.delete(bucket, image.object_key)
        return None

    return _each(stores, image_ids, actor, reason, "quarantine.discarded", one)


def _each(
    stores: Stores,
    image_ids: Sequence[int],
    actor: str,
    reason: str,
    action: str,
    one: Callable[[Transaction, Quarantined], str | None],
) -> Outcome:
    """Decide on each image in one transaction."""
    wanted = sorted(set(image_ids))
    if not actor.strip() or not reason.strip():
        raise UsageError("a decision on the quarantine needs somebody who makes it and a reason.")
    if not 1 <= len(wanted) <= MOST_IMAGES:
        raise UsageError(f"1 to {MOST_IMAGES} images can be decided on at once.")
    outcome = Outcome()
    with stores.catalog.transaction() as tx:
        held = quarantine.lock(tx, wanted)
        for image_id in wanted:
            if image_id not in held:
                raise NotFound("image", str(image_id))
        fresh = []
        for image_id, image in held.items():
            refusal = one(tx, image)
            if refusal is not None:
                outcome.refused[image_id] = refusal
                continue
            outcome.done.append(image_id)
            if image.status is ImageStatus.QUARANTINED:
                fresh.append(image)
        for image in fresh:
            details = {"reasons": sorted(image.codes)}
            audit.record(tx, actor, action, f"image/{image.id}", reason, details)
    return outcome


def _fault(stores: Stores, image: Quarantined, bucket: str) -> str | None:
    """Why an image cannot be used whatever a human says; None: it can."""
    unreadable = sorted(image.codes & UNREADABLE)
    if unreadable:
        return f"no decoder can read it ({', '.join(unreadable)})."
    limits = _limits(stores)
    try:
        size = stores.objects.stat(bucket, image.object_key).size
        if size <= limits.max_bytes:
            inspect(stores.objects.get(bucket, image.object_key), limits)
        else:
            return f"its {size:,} bytes are more than the limit of {limits.max_bytes:,}."
    except ObjectMissing:
        return "its bytes are gone."
    except ImageRejected as rejected:
        return f"{rejected.message}."
    return None


def _bucket(stores: Stores, image: Quarantined) -> str:
    """Where a quarantined image's bytes lie: lost ones that somebody put back lie in `images`."""
    if stores.objects.exists("images", image.object_key):
        return "images"
    return image.bucket


def _limits(stores: Stores) -> Limits:
    return Limits(stores.settings.ingest.max_bytes, stores.settings.ingest.max_pixels)
