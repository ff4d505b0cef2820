"""Every error facecore raises, in one tree.

::

    FacecoreError
    ├── UsageError                 the call was wrong                        exit 2
    │   ├── ConfigError            a setting is missing or invalid
    │   ├── CredentialsRejected    a store refused our name or password
    │   ├── KeyRefused             an object key that no store can hold safely
    │   ├── DeviceUnavailable      the device asked for is not there
    │   └── LabelInUse             another person has this name; merging is offered
    ├── ImageRejected              one image cannot be used → quarantine
    ├── ShapeError                 data passed between stages has the wrong shape
    ├── ContractMismatch           vectors of two different models were mixed
    ├── WeightsError               model weights cannot be had
    │   └── DigestMismatch         … or are not the published ones
    ├── SnapshotDamaged            an object of a dataset snapshot is missing or altered
    ├── TrainingDiverged           a loss became NaN or infinite; says where
    ├── QualityGateFailed          a whole batch looks broken; carries statistics
    ├── DriftFound                 data, scores or vectors are not what they were; carries evidence
    ├── PromotionRefused           a model version cannot, or must not, come into use
    ├── NotFound                   a named person, model, shard, report … does not exist
    ├── PlatformError              a part of the embedded platform failed
    └── StoreError                 I/O failed                                retry
        ├── ObjectStoreUnavailable
        ├── ObjectMissing          (a retry does not help)
        ├── ObjectTooLarge         (a retry does not help)
        ├── CatalogUnavailable
        ├── CatalogBusy
        ├── ModelsChanged          another version came into use meanwhile
        ├── ChangeRefused          (a retry does not help)
        ├── RegistryUnavailable
        ├── StorageFull
        └── DownloadFailed         sample or data-set files could not be fetched

Errors carry their evidence as attributes, so that callers never parse messages.
`retryable` says whether the same call can succeed later without anyone changing anything;
`exit_status` is what the command line ends with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class FacecoreError(Exception):
    """Base of all errors of facecore. `remedy` says what the reader can do about it."""

    retryable: ClassVar[bool] = False
    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class UsageError(FacecoreError):
    """The call was wrong: an argument, a setting, a path."""

    exit_status = 2


class ConfigError(UsageError):
    """A setting is missing or has a value that cannot work."""


class CredentialsRejected(UsageError):
    """A store answered, and refused the credentials. `store` names it."""

    def __init__(self, store: str, message: str, *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.store = store


class KeyRefused(UsageError):
    """An object key that could name another object, or that no store can write down."""

    def __init__(self, bucket: str, key: str) -> None:
        super().__init__(
            f"object key {key!r} in bucket {bucket} is refused: empty, too long, not UTF-8, "
            "or with a NUL or a '.' or '..' segment.",
            remedy="Rename the object.",
        )
        self.bucket, self.key = bucket, key


class DeviceUnavailable(UsageError):
    """The device asked for does not exist here; facecore never falls back silently."""

    def __init__(self, device: str, message: str, *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.device = device


class LabelInUse(UsageError):
    """A name belongs to another person; if both are one, they can be merged.

    Attributes:
        label: the name.
        person_id: who has it.
    """

    def __init__(self, label: str, person_id: int) -> None:
        super().__init__(
            f"person {person_id} is called {label!r} already.",
            remedy="Merge the two if they are one person, or choose another name.",
        )
        self.label, self.person_id = label, person_id


class ImageRejected(FacecoreError):
    """One image cannot be used. `reason` is a stable code that ends up in the quarantine."""

    def __init__(self, reason: str, message: str, **evidence: Any) -> None:
        super().__init__(message)
        self.reason = reason
        self.evidence = evidence


class ShapeError(FacecoreError):
    """An array does not have the shape, dtype or range its type promises."""

    def __init__(self, name: str, expected: str, actual: str) -> None:
        super().__init__(f"{name}: expected {expected}, got {actual}")
        self.name, self.expected, self.actual = name, expected, actual


class ContractMismatch(FacecoreError):
    """Embeddings of two different contracts were about to be compared or stored together."""

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(
            f"embeddings of contract {actual[:12]} cannot be used with contract {expected[:12]}",
            remedy="Re-embed one side with the other's model.",
        )
        self.expected, self.actual = expected, actual


class WeightsError(FacecoreError):
    """Model weights could not be found on any mirror. `tried` maps each mirror to its failure."""

    def __init__(
        self, message: str, *, tried: Mapping[str, str] | None = None, remedy: str = ""
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.tried = dict(tried or {})


class DigestMismatch(WeightsError):
    """A file is not the one its SHA-256 names; it is refused."""

    def __init__(self, what: str, expected: str, actual: str) -> None:
        super().__init__(
            f"{what}: SHA-256 is {actual}, expected {expected}",
            remedy="Delete the file and fetch it again from a trusted mirror.",
        )
        self.what, self.expected, self.actual = what, expected, actual


class SnapshotDamaged(FacecoreError):
    """An object of a dataset snapshot is not the one its manifest names by SHA-256; it is refused.

    Attributes:
        snapshot: reference of the snapshot, `name@digest`.
        key: the object in bucket `snapshots`.
        fault: what is wrong with it: missing, altered …
    """

    def __init__(self, snapshot: str, key: str, fault: str) -> None:
        super().__init__(
            f"snapshot {snapshot} is damaged: object {key} {fault}.",
            remedy="Build the dataset again from the same source; intact objects are kept.",
        )
        self.snapshot, self.key, self.fault = snapshot, key, fault


class TrainingDiverged(FacecoreError):
    """A training loss became NaN or infinite, so the run stopped.

    Attributes:
        goal: the loss that did; `value` is what it became.
        epoch, step: counted from 0; the step over the whole run.
        learning_rate: in effect at that step.
    """

    def __init__(
        self, *, goal: str, value: float, epoch: int, step: int, learning_rate: float
    ) -> None:
        super().__init__(
            f"training diverged: the loss of {goal} is {value} in epoch {epoch}, step {step}, at "
            f"learning rate {learning_rate:.3g}.",
            remedy="Train with a lower learning rate, a longer warm-up or stricter gradient "
            "clipping.",
        )
        self.goal, self.value = goal, value
        self.epoch, self.step, self.learning_rate = epoch, step, learning_rate


class QualityGateFailed(FacecoreError):
    """A batch of images as a whole looks broken, so the run stops before anything uses it.

    Attributes:
        statistics: the numbers the decision rests on (evaluated, failed, ratios …).
        failed: name of each failed batch expectation → the values it observed.
        data_docs: where the full validation result can be read, if it was published.
    """

    def __init__(
        self,
        message: str,
        *,
        statistics: Mapping[str, Any],
        failed: Mapping[str, Any],
        data_docs: str = "",
        remedy: str = "",
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.statistics = dict(statistics)
        self.failed = dict(failed)
        self.data_docs = data_docs


class DriftFound(FacecoreError):
    """Data, scores or vectors are not what they were.

    `evidence` maps `subject: measure` to its numbers, `report` is the key of their page.
    """

    def __init__(
        self, message: str, *, evidence: Mapping[str, Any], report: str, remedy: str = ""
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.evidence = dict(evidence)
        self.report = report


class PromotionRefused(FacecoreError):
    """A model version cannot, or must not, come into use; what is in use stays in use.

    Attributes:
        subject: `name/version` of the model.
        failed: what stands against it, for example the gates that failed.
    """

    def __init__(
        self, subject: str, message: str, *, failed: tuple[str, ...] = (), remedy: str = ""
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.subject, self.failed = subject, failed


class NotFound(FacecoreError):
    """Something that was named does not exist. `kind` and `name` say what."""

    exit_status = 2

    def __init__(self, kind: str, name: str, *, remedy: str = "") -> None:
        super().__init__(f"no {kind} {name!r}.", remedy=remedy)
        self.kind, self.name = kind, name


class PlatformError(FacecoreError):
    """A part of the embedded platform failed. `part` names it, `log` is its log file."""

    def __init__(self, part: str, message: str, *, log: str = "", remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.part, self.log = part, log


class StoreError(FacecoreError):
    """Reading or writing a store failed; trying again later can help."""

    retryable = True


class ObjectStoreUnavailable(StoreError):
    """S3 cannot be reached or answered with a server error."""


class ObjectMissing(StoreError):
    """The object does not exist (any more)."""

    retryable = False

    def __init__(self, bucket: str, key: str) -> None:
        super().__init__(f"object s3://{bucket}/{key} does not exist")
        self.bucket, self.key = bucket, key


class ObjectTooLarge(StoreError):
    """The object has more bytes than the caller wants to read; it was not read."""

    retryable = False

    def __init__(self, bucket: str, key: str, size: int, limit: int) -> None:
        super().__init__(f"object s3://{bucket}/{key} has {size:,} bytes; the limit is {limit:,}.")
        self.bucket, self.key, self.size, self.limit = bucket, key, size, limit


class CatalogUnavailable(StoreError):
    """PostgreSQL cannot be reached or dropped the connection."""


class CatalogBusy(StoreError):
    """Another transaction held what this one needs for too long, or the two collided."""


class ModelsChanged(StoreError):
    """Other model versions came into use while this was computed; nothing of it was kept."""

    def __init__(self) -> None:
        super().__init__("the models in use changed while this was computed.")


class ChangeRefused(StoreError):
    """A guarantee of the catalogue forbids the change. `rule` names the constraint or guard."""

    retryable = False

    def __init__(self, message: str, *, rule: str, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.rule = rule


class RegistryUnavailable(StoreError):
    """MLflow cannot be reached or answered with a server error."""


class StorageFull(StoreError):
    """A disk or bucket is full. `store` names it; a retry helps once space was freed."""

    def __init__(self, store: str, message: str, *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.store = store


class DownloadFailed(StoreError):
    """Files from the internet could not be fetched. `what` names them, `tried` says how."""

    def __init__(
        self, what: str, *, tried: Mapping[str, str] | None = None, remedy: str = ""
    ) -> None:
        attempts = "; ".join(f"{how}: {failure}" for how, failure in (tried or {}).items())
        super().__init__(f"{what} could not be downloaded ({attempts}).", remedy=remedy)
        self.what, self.tried = what, dict(tried or {})
