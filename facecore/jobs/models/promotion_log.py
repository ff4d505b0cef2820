"""What happened to promotions, in the audit log's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from facecore.errors import PromotionRefused
from facecore.stores.catalog import audit
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.models import models, promotions
from facecore.stores.catalog.models.promotions import Promotion


def note(
    tx: Transaction,
    promotion: Promotion,
    actor: str,
    what: str,
    reason: str,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Add `promotion.<what>` to the audit log, with the versions before and after."""
    pairs = {
        f"{side}_{task}": name_of(models.get(tx, version_id))
        for side, ids in (("from", promotion.source), ("to", promotion.target))
        for task, version_id in zip(("detector", "embedder"), ids, strict=True)
    }
    subject = pairs["to_embedder"]
    said = {"promotion": promotion.id, **pairs, **(details or {})}
    audit.record(tx, actor, f"promotion.{what}", subject, reason, said)


def rollback_of(tx: Transaction, dag_run_id: str) -> int | None:
    """The promotion that this DAG run, or command, has rolled back; None: it has not."""
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT (details ->> 'promotion')::bigint FROM audit "
            "WHERE action = 'promotion.rolled_back' AND details ->> 'dag_run' = %s "
            "ORDER BY id DESC LIMIT 1",
            [dag_run_id],
        )
        row = cursor.fetchone()
    return None if row is None else int(row[0])


def refusal(tx: Transaction, refused: PromotionRefused, actor: str, reason: str) -> None:
    """Add to the audit log that a version was wanted and may not come into use."""
    details = {"why": refused.message, "failed": list(refused.failed)}
    audit.record(tx, actor, "promotion.refused", refused.subject, reason, details)


def abandoned(tx: Transaction, promotion: Promotion, actor: str, reason: str) -> None:
    """Give a promotion up."""
    promotions.advance(tx, promotion.id, "abandoned")
    note(tx, promotion, actor, "abandoned", reason)


def name_of(version: models.ModelVersion) -> str:
    """`name/version`."""
    return f"{version.name}/{version.version}"
