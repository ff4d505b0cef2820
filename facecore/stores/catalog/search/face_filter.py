"""Which faces a look-up is about: enrolled ones, or those seen somewhere at some time.

Each condition has two forms: of a set, which the planner may begin with where few faces meet it,
and of one face, which a scan of the vectors asks of every face it meets. (As a scalar subquery:
the planner would otherwise gather the whole set first, for a look-up that needs ten of it.)
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from facecore.errors import UsageError
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.images.images import ENROLMENT
from facecore.stores.catalog.people import people


@dataclass(frozen=True, slots=True)
class FaceFilter:
    """Faces that a look-up compares with. Without anything: every face that was extracted.

    Attributes:
        enrolled: only faces of the gallery.
        sources: only faces on pictures that one of these sources delivered; empty: any.
        since, until: only faces on pictures of this time, `until` excluded; None: open. Of
            pictures without a capture time the time of arrival counts. Pictures of an enrolment
            were seen nowhere: they count only where the enrolment is asked for as a source.

    Raises:
        UsageError: the time ends before it begins, or has no zone.
    """

    enrolled: bool = False
    sources: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        for moment in (self.since, self.until):
            if moment is not None and moment.tzinfo is None:
                raise UsageError(f"{moment.isoformat()} has no time zone.")
        if self.since is not None and self.until is not None and self.until <= self.since:
            raise UsageError(
                f"the time from {self.since.isoformat()} to {self.until.isoformat()} ends before "
                "it begins."
            )

    @property
    def seen(self) -> bool:
        """Whether it asks where or when a face was seen."""
        return bool(self.sources) or self.since is not None or self.until is not None

    @property
    def everything(self) -> bool:
        """Whether no face is left out."""
        return not (self.enrolled or self.seen)

    @property
    def of_set(self) -> str:
        """SQL on `face`, as a set; parameters are `values`."""
        parts = [people.GALLERY] if self.enrolled else []
        if self.seen:
            parts.append(f"face.image_id IN (SELECT s.image_id {self._sightings})")
        return " AND ".join(parts) or "true"

    @property
    def of_one(self) -> str:
        """SQL on `face`, asked of one face at a time; parameters are `values`."""
        parts = [people.IN_GALLERY] if self.enrolled else []
        if self.seen:
            parts.append(f"(SELECT true {self._sightings} AND s.image_id = face.image_id LIMIT 1)")
        return " AND ".join(parts) or "true"

    @property
    def values(self) -> dict[str, Any]:
        """Parameters of both forms."""
        return {
            "sources": list(self.sources),
            "enrolment": ENROLMENT,
            "since": self.since,
            "until": self.until,
        }

    @property
    def _sightings(self) -> str:
        parts = ["s.source = ANY(%(sources)s)" if self.sources else "s.source <> %(enrolment)s"]
        # Not coalesce(…), which no index answers.
        for bound, sign in (("since", ">="), ("until", "<")):
            if getattr(self, bound) is not None:
                parts.append(
                    f"(s.captured_at {sign} %({bound})s OR "
                    f"(s.captured_at IS NULL AND s.created_at {sign} %({bound})s))"
                )
        return "FROM sighting AS s WHERE " + " AND ".join(parts)


def sources(tx: Transaction) -> list[str]:
    """Every source that delivered a picture, from step to step along the index."""
    with tx.cursor() as cursor:
        cursor.execute(
            "WITH RECURSIVE known (source) AS ("
            "  (SELECT min(source) FROM sighting) UNION ALL"
            "  SELECT (SELECT min(s.source) FROM sighting AS s WHERE s.source > known.source)"
            "  FROM known WHERE known.source IS NOT NULL"
            ") SELECT source FROM known WHERE source IS NOT NULL ORDER BY source"
        )
        return [source for (source,) in cursor]
