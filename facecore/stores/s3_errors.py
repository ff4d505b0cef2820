"""S3's errors told in facecore's words."""

from __future__ import annotations

from minio.deleteobjects import DeleteError
from minio.error import S3Error

from facecore.config import S3Settings
from facecore.errors import (
    CredentialsRejected,
    FacecoreError,
    NotFound,
    ObjectMissing,
    ObjectStoreUnavailable,
    StorageFull,
    StoreError,
)

_REFUSED = {
    "AccessDenied",
    "AccountProblem",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
}
_FULL = {
    "InsufficientStorage",
    "QuotaExceeded",
    "XMinioAdminBucketQuotaExceeded",
    "XMinioStorageFull",
}


def translate(error: S3Error, s3: S3Settings, bucket: str, key: str | None) -> FacecoreError:
    """The error to raise for what the server answered about `bucket` (its real name) and `key`."""
    code, status = str(error.code), getattr(error.response, "status", 0)
    result: FacecoreError
    if code == "NoSuchBucket":
        result = NotFound("bucket", bucket, remedy="`facecore up` creates the buckets.")
    elif key is not None and (code in ("NoSuchKey", "NoSuchObject") or status == 404):
        result = ObjectMissing(bucket, key)
    elif code in _REFUSED:
        result = _credentials(s3, code)
    elif code in _FULL or status == 507:
        result = storage_full(s3, f"is full ({code})")
    elif status >= 500:
        result = unavailable(s3, f"{code}: {error.message}")
    else:
        result = StoreError(f"S3 at {s3.endpoint}: {code}: {error.message}.")
    return result


def translate_refusal(error: DeleteError, s3: S3Settings, bucket: str) -> FacecoreError:
    """The error to raise for one object that a request to remove many did not remove."""
    if error.code in _REFUSED:
        return _credentials(s3, error.code)
    return unavailable(s3, f"{error.code} while removing {error.name!r} from {bucket}")


def unavailable(s3: S3Settings, reason: str) -> ObjectStoreUnavailable:
    """The server cannot be reached, or fails."""
    return ObjectStoreUnavailable(
        f"S3 at {s3.endpoint} cannot be used: {reason.rstrip('.')}.",
        remedy="Is it running? See `facecore status`.",
    )


def storage_full(s3: S3Settings, what: str) -> StorageFull:
    """The server has no space, or acts like it."""
    return StorageFull("S3", f"S3 at {s3.endpoint} {what}.", remedy="Free space on its disk.")


def _credentials(s3: S3Settings, code: str) -> CredentialsRejected:
    return CredentialsRejected(
        "S3",
        f"S3 at {s3.endpoint} refused access key {s3.access_key!r} ({code}).",
        remedy="Check FACECORE_S3__ACCESS_KEY and FACECORE_S3__SECRET_KEY.",
    )
