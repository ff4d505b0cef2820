"""Names of snapshots and their versions: small objects that point to manifests.

`names/<name>/<version>-<digest>.json` in bucket `snapshots`. They only ever get more. The digest
is in the key, so the manifest that a name leads to can be verified.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from facecore.errors import NotFound, SnapshotDamaged, UsageError
from facecore.stores.objects import ObjectStore

BUCKET = "snapshots"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_KEY = re.compile(r"names/([^/]+)/(\d{6})-([0-9a-f]{64})\.json")
_LEAST_DIGITS = 6  # of a digest in a reference


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a name."""

    name: str
    number: int
    digest: str
    key: str

    @property
    def reference(self) -> str:
        """`name@digest`, shortened: what a run records and `open_snapshot` takes."""
        return f"{self.name}@{self.digest[:12]}"


@dataclass(frozen=True, slots=True)
class Listed:
    """A version with what the list says of it, as it was when it was built."""

    name: str
    number: int
    reference: str
    digest: str
    kind: str
    source: str
    rows: int
    splits: Mapping[str, Mapping[str, int]]
    created_at: str


def manifest_key(digest: str) -> str:
    """Where a manifest lies."""
    return f"manifests/{digest}.parquet"


def require_name(name: str) -> None:
    """Raise `UsageError` unless `name` can name a snapshot."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a snapshot.",
            remedy="Use 1 to 64 lower-case letters, digits, '.', '_' and '-', beginning with a "
            "letter or digit.",
        )


def versions(objects: ObjectStore, name: str) -> list[Version]:
    """The versions of a name, oldest first."""
    return _versions(objects, f"names/{name}/")


def every(objects: ObjectStore) -> list[Listed]:
    """All versions of all names, by name and version.

    Raises:
        SnapshotDamaged: what is said of a version cannot be read.
    """
    return [_described(objects, version) for version in _versions(objects, "names/")]


def known_names(objects: ObjectStore) -> list[str]:
    """All names, sorted."""
    return sorted({version.name for version in _versions(objects, "names/")})


def resolve(objects: ObjectStore, reference: str) -> Version:
    """`name` (the newest version) or `name@digest` (six digits or more) → the version.

    Raises:
        NotFound: no such name or digest; it lists those there are.
        UsageError: the digest is too short, or two versions begin with it.
    """
    name, at, digest = reference.partition("@")
    found = versions(objects, name) if _NAME.fullmatch(name) else []
    if not found:
        known = ", ".join(known_names(objects)) or "none yet"
        raise NotFound("dataset snapshot", name, remedy=f"Known: {known}.")
    if not at:
        return found[-1]
    if len(digest) < _LEAST_DIGITS:
        raise UsageError(f"{reference!r}: give at least {_LEAST_DIGITS} digits of the digest.")
    matching = [version for version in found if version.digest.startswith(digest.lower())]
    if not matching:
        have = ", ".join(version.reference for version in found)
        raise NotFound("dataset snapshot", reference, remedy=f"Known: {have}.")
    if len({version.digest for version in matching}) > 1:
        raise UsageError(f"{reference!r} is ambiguous: give more digits of the digest.")
    return matching[0]


def record(
    objects: ObjectStore, name: str, digest: str, summary: Mapping[str, Any]
) -> tuple[Version, bool]:
    """Make `digest` a version of `name`; returns it and whether it is new.

    Two builders at once both get a version: the digest is part of the key.
    """
    existing = versions(objects, name)
    for version in existing:
        if version.digest == digest:
            return version, False
    number = max((v.number for v in existing), default=0) + 1
    key = f"names/{name}/{number:06d}-{digest}.json"
    document = {**summary, "created_at": datetime.now(UTC).isoformat(timespec="seconds")}
    data = json.dumps(document, ensure_ascii=False, sort_keys=True).encode()
    objects.put(BUCKET, key, data, "application/json")
    return Version(name, number, digest, key), True


def _versions(objects: ObjectStore, prefix: str) -> list[Version]:
    found = []
    for item in objects.list(BUCKET, prefix):
        if (parts := _KEY.fullmatch(item.key)) is not None:
            found.append(Version(parts[1], int(parts[2]), parts[3], item.key))
    return sorted(found, key=lambda v: (v.name, v.number, v.digest))


def _described(objects: ObjectStore, version: Version) -> Listed:
    try:
        said = json.loads(objects.get(BUCKET, version.key))
        return Listed(
            name=version.name,
            number=version.number,
            reference=version.reference,
            digest=version.digest,
            kind=said["kind"],
            source=said["source"],
            rows=said["rows"],
            splits=said["splits"],
            created_at=said["created_at"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise SnapshotDamaged(version.reference, version.key, "was altered") from error
