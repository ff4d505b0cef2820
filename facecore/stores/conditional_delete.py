"""Removing objects only as long as they are what was read: S3's DeleteObjects with ETags.

AWS compares them since September 2025 ("conditional deletes", S3 User Guide), SeaweedFS, Ceph and
others do as well; another server may ignore them and remove whatever is there. So a server is
tried first, with an object of ours.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import uuid4
from xml.etree import ElementTree

from minio import Minio
from minio.deleteobjects import DeleteError, DeleteObject
from minio.error import S3Error

_PROBES = ".facecore/conditional-delete/"

# The object is another one by now, is gone, or is being written at this moment.
_SPARED = {"PreconditionFailed", "NoSuchKey", "ConditionalRequestConflict"}
_NO_ETAG = "0" * 32
# The request, or the ETag in it, is not known to the server.
_UNKNOWN = {
    "InvalidArgument",
    "InvalidRequest",
    "MalformedXML",
    "MethodNotAllowed",
    "NotImplemented",
}


@dataclass(frozen=True)
class ObjectVersion(DeleteObject):
    """An object, but only if it has this ETag (without quotes)."""

    etag: str = ""

    def toxml(self, element: ElementTree.Element | None) -> ElementTree.Element:
        """Append `<Object>` to a DeleteObjects request."""
        added = super().toxml(element)
        ElementTree.SubElement(added, "ETag").text = f'"{self.etag}"'
        return added


def fits_a_request(key: str) -> bool:
    """Whether XML can name the key: what it normalises or forbids would name another one."""
    return key.isprintable()


def delete(client: Minio, bucket: str, versions: Iterable[ObjectVersion]) -> list[DeleteError]:
    """Remove these versions, 1,000 a request; returns what failed.

    Objects that are gone, or are another version by now, are left alone and are no failure.
    """
    return [e for e in client.remove_objects(bucket, versions) if e.code not in _SPARED]


def is_honoured(client: Minio, bucket: str) -> bool:
    """Whether the server spares an object whose ETag is another: tried on one of our own."""
    key = f"{_PROBES}{uuid4()}"
    client.put_object(bucket, key, io.BytesIO(b"?"), 1)
    try:
        refused = list(client.remove_objects(bucket, [ObjectVersion(key, etag=_NO_ETAG)]))
    except S3Error as error:
        if error.code not in _UNKNOWN:
            raise
        refused = []
    client.remove_object(bucket, key)
    return [error.code for error in refused] == ["PreconditionFailed"]
