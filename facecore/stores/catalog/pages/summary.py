"""What the catalogue holds, in numbers, for `facecore status`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.images import images
from facecore.stores.catalog.people.people import SOMEBODY
from facecore.stores.catalog.work import shards


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of one moment.

    Attributes:
        images: per status; every status is present.
        faces, embeddings: of the models in use.
        shards: stage → state → number.
        people: active ones per kind.
        assignments: what holds now, per outcome.
        models: task → "name version" of the active model.
    """

    images: dict[str, int]
    sightings: int
    faces: int
    embeddings: int
    shards: dict[str, dict[str, int]]
    people: dict[str, int]
    assignments: dict[str, int]
    models: dict[str, str]
    reports: int

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def summarise(tx: Transaction) -> Summary:
    """Count everything, exactly."""
    with tx.cursor() as cursor:

        def number(table: str) -> int:
            cursor.execute(f"SELECT count(*) FROM {table}")
            return int((cursor.fetchone() or (0,))[0])

        def pairs(query: str) -> dict[str, Any]:
            cursor.execute(query)
            return dict(cursor.fetchall())

        return Summary(
            images=images.counts_by_status(tx),
            sightings=number("sighting"),
            faces=number("active_face"),
            embeddings=number(
                "embedding JOIN model_version AS m ON m.id = model_version_id "
                "AND m.state = 'active'"
            ),
            shards=shards.counts_by_state(tx),
            people=pairs(
                f"SELECT kind, count(*) FROM person WHERE {SOMEBODY} GROUP BY 1 ORDER BY 1"
            ),
            assignments=pairs(
                "SELECT outcome, count(*) FROM current_assignment GROUP BY 1 ORDER BY 1"
            ),
            models=pairs(
                "SELECT task, name || ' ' || version FROM model_version WHERE state = 'active' "
                "ORDER BY 1"
            ),
            reports=number("report"),
        )
