"""What S3 says of an object: in a listing's entry, or in the header of an answer."""

from __future__ import annotations

import email.errors
import email.header
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from minio.datatypes import Object
from minio.time import from_http_header

from facecore.errors import ObjectStoreUnavailable

_METADATA = "x-amz-meta-"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object without its bytes.

    Attributes:
        etag: without quotes; changes when the content does.
        metadata: user metadata, lower-case names without `x-amz-meta-`. S3 listings
            have none.
    """

    key: str
    size: int
    etag: str
    last_modified: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)


def from_header(key: str, header: Mapping[str, str]) -> ObjectInfo:
    """By the header of the answer to HEAD or GET."""
    named = {name.lower(): value for name, value in header.items()}
    modified = named.get("last-modified")
    return ObjectInfo(
        key,
        int(named.get("content-length", 0)),
        _etag(named.get("etag")),
        _known(from_http_header(modified) if modified else None),
        {
            name.removeprefix(_METADATA): _decoded(value)
            for name, value in named.items()
            if name.startswith(_METADATA)
        },
    )


def from_listing(item: Object) -> ObjectInfo:
    """By an entry of a listing."""
    return ObjectInfo(
        item.object_name or "", item.size or 0, _etag(item.etag), _known(item.last_modified)
    )


def encoded(value: str) -> str:
    """A value of user metadata as S3 itself returns what is not ASCII (RFC 2047)."""
    if value.isascii() and value.isprintable():
        return value
    return email.header.Header(value, "utf-8", maxlinelen=10_000).encode()


def _decoded(value: str) -> str:
    """What `encoded` wrote. Others may write anything; what cannot be decoded stays as it is."""
    try:
        return str(email.header.make_header(email.header.decode_header(value)))
    except (LookupError, ValueError, email.errors.HeaderParseError):
        return value


def _etag(value: str | None) -> str:
    return (value or "").strip('"')


def _known(time: datetime | None) -> datetime:
    if time is None:
        raise ObjectStoreUnavailable("S3 named an object without its time.")
    return time
