"""S3 object storage, by the platform's own names of its buckets.

Any S3 server will do. Every call ends: connecting, each read and the number of retries are
bounded, so a server that is down costs seconds, not a hung worker.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.commonconfig import CopySource
from minio.error import InvalidResponseError, S3Error, ServerError
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

from facecore.config import BUCKETS, S3Settings
from facecore.errors import (
    ConfigError,
    KeyRefused,
    ObjectMissing,
    ObjectTooLarge,
)
from facecore.stores import conditional_delete
from facecore.stores.object_info import ObjectInfo, encoded, from_header, from_listing
from facecore.stores.s3_errors import storage_full, translate, translate_refusal, unavailable

_CONNECT_S = 5.0
_READ_S = 30.0  # between two packets, not for the whole transfer
_RETRIES = 2
_BACKOFF_S = 0.3
_KEY_BYTES = 1024  # S3's limit
_PROBED = "crops"  # whose listing nobody takes for deliveries


@dataclass(frozen=True, slots=True)
class Usage:
    """What a bucket holds; a lower bound unless `complete`."""

    objects: int
    bytes: int
    complete: bool


class ObjectStore:
    """The platform's buckets. Safe to share between threads and to use after a fork.

    Bytes are those that the server holds, whatever an object's Content-Encoding says: whoever
    writes an object sets that, and unpacking would go beyond every limit.

    All methods raise, besides what they name:
        ObjectStoreUnavailable: the server cannot be reached or failed.
        CredentialsRejected: it refused the access key, its signature or the permission.
        StorageFull: it has no space left.
        NotFound: the bucket does not exist.
        KeyRefused: the key is empty, too long, no UTF-8, holds a NUL, or has a `.` or `..` segment.
        ConfigError: an unknown bucket, or an endpoint that is no http(s) address or holds a user.
    """

    def __init__(self, s3: S3Settings) -> None:
        self._s3 = s3
        if "@" in s3.endpoint:  # nor is it shown: errors name the endpoint
            raise ConfigError(
                "The S3 endpoint holds a user or password, which belong elsewhere.",
                remedy="Take them out of FACECORE_S3__ENDPOINT; set FACECORE_S3__ACCESS_KEY and "
                "FACECORE_S3__SECRET_KEY.",
            )
        parts = urlsplit(s3.endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
            raise ConfigError(
                f"S3 endpoint {s3.endpoint!r} is not like https://host:port.",
                remedy="Correct FACECORE_S3__ENDPOINT.",
            )
        self._netloc, self._secure = parts.netloc, parts.scheme == "https"
        self._opened: tuple[int, Minio] | None = None
        self._deletes_by_etag: bool | None = None  # None: not asked yet

    def ensure_buckets(self) -> None:
        """Create the platform's buckets that do not exist."""
        for name in BUCKETS:
            with self._told(name):
                bucket = self._s3.bucket(name)
                if not self._client.bucket_exists(bucket):
                    try:
                        self._client.make_bucket(bucket)
                    except S3Error as error:  # another process was faster
                        if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                            raise

    def put(
        self,
        bucket_name: str,
        key: str,
        data: bytes,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Store `data` under `key`, whatever was there before.

        Args:
            metadata: names of ASCII letters, digits and `-`; values of any characters.
        """
        user_metadata: dict[str, str | list[str] | tuple[str]] = {
            name: encoded(value) for name, value in (metadata or {}).items()
        }
        with self._told(bucket_name, key, writing=True):
            self._client.put_object(
                self._s3.bucket(bucket_name), key, io.BytesIO(data), len(data),
                content_type=content_type, metadata=user_metadata,
            )  # fmt: skip

    def get(self, bucket_name: str, key: str, max_bytes: int | None = None) -> bytes:
        """The bytes of an object.

        Raises:
            ObjectMissing: there is no such object.
            ObjectTooLarge: it has more than `max_bytes`; they are not read.
        """
        return self.read(bucket_name, key, max_bytes)[1]

    def read(
        self, bucket_name: str, key: str, max_bytes: int | None = None
    ) -> tuple[ObjectInfo, bytes]:
        """What `stat` says of an object, and its bytes, of one version of it; raises as `get`."""
        with self._told(bucket_name, key):
            for attempt in itertools.count():
                try:
                    return self._read(bucket_name, key, max_bytes)
                except (ProtocolError, ReadTimeoutError):
                    # The connection broke amid the body, which urllib3 does not retry.
                    if attempt == _RETRIES:
                        raise
        raise AssertionError  # the loop above returns or raises

    def get_range(self, bucket_name: str, key: str, offset: int, length: int) -> bytes:
        """`length` bytes of an object from `offset`; fewer at its end. Raises `ObjectMissing`."""
        with self._told(bucket_name, key):
            response = self._client.get_object(self._s3.bucket(bucket_name), key, offset, length)
            try:
                return bytes(response.read(decode_content=False))
            finally:
                response.close()
                response.release_conn()

    def sha256(self, bucket_name: str, key: str) -> str:
        """SHA-256 (hex) of an object of any size, read in pieces. Raises `ObjectMissing`."""
        digest = hashlib.sha256()
        with self._told(bucket_name, key):
            response = self._client.get_object(self._s3.bucket(bucket_name), key)
            try:
                for piece in response.stream(1 << 20, decode_content=False):
                    digest.update(piece)
            finally:
                response.close()
                response.release_conn()
        return digest.hexdigest()

    def stat(self, bucket_name: str, key: str) -> ObjectInfo:
        """An object's size, ETag, time and metadata. Raises `ObjectMissing`."""
        with self._told(bucket_name, key):
            found = self._client.stat_object(self._s3.bucket(bucket_name), key)
            return from_header(key, found.metadata or {})

    def exists(self, bucket_name: str, key: str) -> bool:
        """Whether there is such an object."""
        try:
            self.stat(bucket_name, key)
        except ObjectMissing:
            return False
        return True

    def list(
        self,
        bucket_name: str,
        prefix: str = "",
        start_after: str = "",
        limit: int | None = None,
    ) -> Iterator[ObjectInfo]:
        """Objects whose key starts with `prefix`, page by page.

        The order is the server's: AWS sorts by bytes, SeaweedFS folder by folder. `start_after`
        follows the same order, so a listing continues after the last key seen; what arrives
        later may sort before it. Folder markers (`name/`) are left out.
        """
        with self._told(bucket_name):
            found = self._client.list_objects(
                self._s3.bucket(bucket_name),
                prefix=prefix or None,
                recursive=True,
                start_after=start_after or None,
            )
            objects = (item for item in found if item.object_name and not item.is_dir)
            for item in itertools.islice(objects, limit):
                yield from_listing(item)

    def copy(self, src_bucket: str, src_key: str, dst_bucket: str, dst_key: str) -> None:
        """Copy an object within the server, with its metadata. Raises `ObjectMissing`."""
        with self._told(dst_bucket, dst_key), self._told(src_bucket, src_key, writing=True):
            self._client.copy_object(
                self._s3.bucket(dst_bucket), dst_key,
                CopySource(self._s3.bucket(src_bucket), src_key),
            )  # fmt: skip

    def delete(self, bucket_name: str, key: str) -> None:
        """Remove an object; one that is gone already is fine."""
        with self._told(bucket_name, key):
            self._client.remove_object(self._s3.bucket(bucket_name), key)

    def delete_versions(self, bucket_name: str, versions: Sequence[tuple[str, str]]) -> None:
        """Remove objects that have an ETag still; what is gone or was replaced is left alone.

        A server that knows conditional deletes decides by itself. With another one, an object
        replaced in the milliseconds between our look at it and its removal is removed.

        Args:
            versions: key and ETag.
        """
        together: list[conditional_delete.ObjectVersion] = []
        one_by_one: list[tuple[str, str]] = []
        for key, etag in versions:
            if conditional_delete.fits_a_request(key) and self._knows_conditional_deletes():
                together.append(conditional_delete.ObjectVersion(key, etag=etag))
            else:
                one_by_one.append((key, etag))
        with ThreadPoolExecutor(self._s3.connections, "delete") as pool:
            list(pool.map(lambda one: self._delete_unchanged(bucket_name, *one), one_by_one))
        with self._told(bucket_name):
            bucket = self._s3.bucket(bucket_name)
            failed = conditional_delete.delete(self._client, bucket, together)
        if failed:
            raise translate_refusal(failed[0], self._s3, bucket)

    def usage(self, bucket_name: str, at_most: int = 100_000) -> Usage:
        """Number and bytes of the objects in a bucket; counting stops after `at_most`."""
        objects = total = 0
        for item in self.list(bucket_name, limit=at_most + 1):
            if objects == at_most:
                return Usage(objects, total, complete=False)
            objects += 1
            total += item.size
        return Usage(objects, total, complete=True)

    @property
    def _client(self) -> Minio:
        """The client of this process: a fork must not write to its parent's connections."""
        if self._opened is None or self._opened[0] != os.getpid():
            pool = urllib3.PoolManager(
                maxsize=self._s3.connections,
                block=True,
                timeout=urllib3.Timeout(connect=_CONNECT_S, read=_READ_S),
                retries=urllib3.Retry(
                    total=_RETRIES,
                    backoff_factor=_BACKOFF_S,
                    status_forcelist=(500, 502, 503, 504),
                    raise_on_status=False,  # the answer's body says what is wrong
                ),
            )
            client = Minio(
                self._netloc,
                access_key=self._s3.access_key,
                secret_key=self._s3.secret_key.get_secret_value(),
                secure=self._secure,
                region=self._s3.region,
                http_client=pool,
            )
            self._opened = (os.getpid(), client)
        return self._opened[1]

    def _read(self, bucket_name: str, key: str, max_bytes: int | None) -> tuple[ObjectInfo, bytes]:
        bucket = self._s3.bucket(bucket_name)
        response = self._client.get_object(bucket, key)
        try:
            info = from_header(key, response.headers)
            if max_bytes is not None and info.size > max_bytes:
                response.close()  # unread: this connection cannot be used again
                raise ObjectTooLarge(bucket, key, info.size, max_bytes)
            return info, bytes(response.read(decode_content=False))
        finally:
            response.release_conn()

    def _knows_conditional_deletes(self) -> bool:
        if self._deletes_by_etag is None:
            with self._told(_PROBED):
                bucket = self._s3.bucket(_PROBED)
                self._deletes_by_etag = conditional_delete.is_honoured(self._client, bucket)
        return self._deletes_by_etag

    def _delete_unchanged(self, bucket_name: str, key: str, etag: str) -> None:
        try:
            if self.stat(bucket_name, key).etag == etag:
                self.delete(bucket_name, key)
        except ObjectMissing:
            return  # that is what was wanted

    def _answers(self) -> bool:
        try:
            self._client.list_buckets()
        except (S3Error, HTTPError, InvalidResponseError, ServerError):
            return False
        return True

    @contextmanager
    def _told(
        self, bucket_name: str | None = None, key: str | None = None, *, writing: bool = False
    ) -> Iterator[None]:
        """Turn the client's errors into facecore's."""
        bucket = "" if bucket_name is None else self._s3.bucket(bucket_name)
        if key is not None and not addressable(key):
            raise KeyRefused(bucket, key)
        try:
            yield
        except S3Error as error:
            # SeaweedFS calls a full disk an internal error like any other; but it is up.
            if writing and error.code == "InternalError" and self._answers():
                raise storage_full(
                    self._s3, "answers but stores nothing: most likely its disk is full"
                ) from None
            raise translate(error, self._s3, bucket, key) from None
        except (HTTPError, InvalidResponseError, ServerError) as error:
            raise unavailable(self._s3, str(error)) from None


def addressable(key: str) -> bool:
    """Whether the key names one object only: clients and servers resolve `.` and `..`, neither a
    listing (XML) nor the catalogue can hold a NUL, and file names that are no UTF-8 have none."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError:  # Python's stand-ins for bytes that are no UTF-8
        return False
    return 0 < size <= _KEY_BYTES and "\0" not in key and not {".", ".."} & set(key.split("/"))
