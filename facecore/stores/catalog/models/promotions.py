"""Promotions: the way of a pair of versions from being wanted to being in use, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal

from facecore.errors import ChangeRefused, NotFound
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.json_values import as_json, as_text
from facecore.stores.catalog.models.active import Active

Origin = Literal["review", "alias", "command"]
State = Literal[
    "planned", "filling", "filled", "indexed", "compared",
    "active", "superseded", "rolled_back", "abandoned",
]  # fmt: skip

# In this order; a promotion in one of them is open, and there is one open at a time.
OPEN: tuple[State, ...] = ("planned", "filling", "filled", "indexed", "compared")


@dataclass(frozen=True, slots=True)
class Promotion:
    """One promotion.

    Attributes:
        origin: review (approved in Airflow), alias (set in the registry) or command.
        actor, reason: who wanted it, and why.
        gallery: fingerprint of the gallery that its faces were last compared with.
        comparison: numbers and report keys of the shadow comparison.
    """

    id: int
    from_embedder_id: int
    from_detector_id: int
    to_embedder_id: int
    to_detector_id: int
    state: State
    origin: Origin
    actor: str
    reason: str
    gallery: str | None
    comparison: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    activated_at: datetime | None

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def new_detector(self) -> bool:
        return self.from_detector_id != self.to_detector_id

    @property
    def source(self) -> tuple[int, int]:
        """Detector and embedder to fill from: the old pair; after a rollback the new one."""
        return self._new if self.state == "rolled_back" else self._old

    @property
    def target(self) -> tuple[int, int]:
        """Detector and embedder to fill: the new pair; after a rollback the old one."""
        return self._old if self.state == "rolled_back" else self._new

    @property
    def _old(self) -> tuple[int, int]:
        return self.from_detector_id, self.from_embedder_id

    @property
    def _new(self) -> tuple[int, int]:
        return self.to_detector_id, self.to_embedder_id


_COLUMNS = ", ".join(column.name for column in fields(Promotion))


def serialise(tx: Transaction) -> None:
    """Let one transaction at a time decide about promotions."""
    with tx.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('promotion', 0))")


def request(
    tx: Transaction,
    active: Active,
    to_detector_id: int,
    to_embedder_id: int,
    *,
    origin: Origin,
    actor: str,
    reason: str = "",
) -> Promotion:
    """Open a promotion; the open one of the same versions is returned as it is.

    Raises:
        ChangeRefused: another one is open, or these versions are in use already.
    """
    serialise(tx)
    known = find_open(tx)
    if known is not None:
        if (known.to_detector_id, known.to_embedder_id) == (to_detector_id, to_embedder_id):
            return known
        raise ChangeRefused(
            f"promotion {known.id} is under way ({known.state}); one at a time.",
            rule="promotion_one_open",
            remedy="Let it finish, or give it up with `facecore abandon`.",
        )
    with tx.cursor() as cursor:
        cursor.execute(
            "INSERT INTO promotion (from_detector_id, from_embedder_id, to_detector_id, "
            "to_embedder_id, origin, actor, reason) VALUES (%s, %s, %s, %s, %s, %s, %s) "
            f"RETURNING {_COLUMNS}",
            [*active.ids, to_detector_id, to_embedder_id, origin, as_text(actor), as_text(reason)],
        )
        return Promotion(*(cursor.fetchone() or ()))


def advance(
    tx: Transaction,
    promotion_id: int,
    state: State,
    *,
    gallery: str | None = None,
    comparison: Mapping[str, Any] | None = None,
) -> None:
    """Move a promotion on, and record what was found; the database refuses a wrong step.

    Raises:
        ChangeRefused: it cannot become `state` from where it is.
    """
    with tx.cursor() as cursor:
        cursor.execute(
            "UPDATE promotion SET state = %s, gallery = coalesce(%s, gallery), "
            "comparison = coalesce(%s, comparison), "
            "activated_at = CASE WHEN %s = 'active' THEN coalesce(activated_at, now()) "
            "ELSE activated_at END WHERE id = %s",
            [
                state, gallery, None if comparison is None else as_json(comparison), state,
                promotion_id,
            ],
        )  # fmt: skip
        if cursor.rowcount == 0:
            raise NotFound("promotion", str(promotion_id))


def get(
    tx: Transaction, promotion_id: int, lock: Literal["none", "stays", "mine"] = "none"
) -> Promotion:
    """One promotion by id.

    Args:
        lock: until the transaction ends, it "stays" where it is, or is "mine" alone to move.

    Raises:
        NotFound: there is no such promotion.
    """
    clause = {"none": "", "stays": " FOR SHARE", "mine": " FOR NO KEY UPDATE"}[lock]
    for found in _some(tx, "id = %s" + clause, promotion_id):
        return found
    raise NotFound("promotion", str(promotion_id))


def find_open(tx: Transaction) -> Promotion | None:
    """The promotion under way, if there is one."""
    return next(iter(_some(tx, "state = ANY(%s)", list(OPEN))), None)


def find_active(tx: Transaction) -> Promotion | None:
    """The promotion that put the pair in use into use; None for the first pair."""
    return next(iter(_some(tx, "state = %s", "active")), None)


def before(tx: Transaction, promotion: Promotion) -> Promotion | None:
    """The superseded promotion that had put into use what `promotion` replaced."""
    with tx.cursor() as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM promotion WHERE state = 'superseded' AND id < %s "
            "AND to_embedder_id = %s ORDER BY id DESC LIMIT 1",
            [promotion.id, promotion.from_embedder_id],
        )
        row = cursor.fetchone()
    return None if row is None else Promotion(*row)


def into(tx: Transaction, pair: tuple[int, int]) -> list[Promotion]:
    """Promotions that brought a detector and embedder into use, or back into it, newest first."""
    with tx.cursor() as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM promotion WHERE state = 'active' "
            "AND (to_detector_id, to_embedder_id) = %(pair)s OR state = 'rolled_back' "
            "AND (from_detector_id, from_embedder_id) = %(pair)s ORDER BY id DESC",
            {"pair": pair},
        )
        return [Promotion(*row) for row in cursor]


def newest(tx: Transaction, limit: int = 20) -> list[Promotion]:
    """The newest promotions, newest first."""
    with tx.cursor() as cursor:
        cursor.execute(f"SELECT {_COLUMNS} FROM promotion ORDER BY id DESC LIMIT %s", [limit])
        return [Promotion(*row) for row in cursor]


def _some(tx: Transaction, condition: str, value: Any) -> list[Promotion]:
    with tx.cursor() as cursor:
        cursor.execute(f"SELECT {_COLUMNS} FROM promotion WHERE {condition}", [value])
        return [Promotion(*row) for row in cursor]
