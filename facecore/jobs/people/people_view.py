"""People for the pages: found by name or by face, and everything about one of them.

Whoever looks for somebody leaves a line in the audit log: who searched, how, and whom they
found. Names and pictures are not written there: the log outlives the person's erasure.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from facecore.errors import NotFound, UsageError
from facecore.jobs.images import thumbnails
from facecore.jobs.lineage import RunContext
from facecore.jobs.stores import Stores
from facecore.stores.catalog import audit
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.models import models
from facecore.stores.catalog.pages import people_pages, people_timeline
from facecore.stores.catalog.pages.people_pages import (
    FaceEntry,
    Lookalike,
    PersonEntry,
    SightingEntry,
)
from facecore.stores.catalog.people import decisions, people
from facecore.stores.catalog.people.decisions import Decision
from facecore.stores.catalog.search.face_filter import FaceFilter
from facecore.types import Outcome

if TYPE_CHECKING:
    from facecore.jobs.people.search import FoundFace

PEOPLE = 48
FACES = 60
SIGHTINGS = 30
_DECISIONS = 20
_LOOKALIKES = 6
_NEARLY = 0.75  # of the score that two faces of one person are to have
_SOURCES = 2  # have a colour of their own in the timeline; the others share one


@dataclass(frozen=True, slots=True)
class PeoplePage:
    """A page of people; `more_after` is the id to go on after, None on the last page."""

    people: list[PersonEntry]
    more_after: int | None


@dataclass(frozen=True, slots=True)
class FoundOnPicture:
    """A face of an uploaded picture: who it may be, and its crop as a `data:` address."""

    face: FoundFace
    picture: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """Sightings by day.

    Attributes:
        days: day → pictures per entry of `sources`, oldest first; days without any are left out.
        sources: the most frequent ones, and "others" where there are more.
        complete: False: only of the faces that were found last.
        newest: the latest sightings.
    """

    days: list[tuple[date, tuple[int, ...]]]
    sources: tuple[str, ...]
    complete: bool
    newest: list[SightingEntry]


@dataclass(frozen=True, slots=True)
class PersonView:
    """Everything about a person."""

    person: PersonEntry
    faces: list[FaceEntry]
    more_after: int | None
    timeline: Timeline
    lookalikes: list[Lookalike]
    decisions: list[Decision]


def browse(
    *, named: bool | None = None, after: int | None = None, stores: Stores | None = None
) -> PeoplePage:
    """All people in the order of their names, page by page.

    Args:
        named: only people who have a name, or only those who have none.
        after: id of the last person of the page before.
    """
    with (stores or Stores()).catalog.transaction() as tx:
        return _page(tx, "", named, after)


def find_by_name(
    query: str, *, actor: str, after: int | None = None, stores: Stores | None = None
) -> PeoplePage:
    """People whose name starts with `query`, page by page; recorded in the audit log.

    Raises:
        UsageError: the query is empty or longer than a name can be.
    """
    wanted = people.normalised(query)
    if not 1 <= len(wanted) <= people.LABEL_CHARACTERS:
        raise UsageError(f"a name to look for has 1 to {people.LABEL_CHARACTERS} characters.")
    with (stores or Stores()).catalog.transaction() as tx:
        page = _page(tx, wanted, None, after)
        found = [person.id for person in page.people]
        audit.record(tx, actor, "search.name", "people", details={"found": found})
        return page


def most_bytes(stores: Stores | None = None) -> int:
    """How large a picture to search with may be."""
    return (stores or Stores()).settings.ingest.max_bytes


def find_by_face(
    context: RunContext, data: bytes, *, actor: str, stores: Stores | None = None
) -> list[FoundOnPicture]:
    """Who is on this picture, among everybody; recorded in the audit log, the picture is not.

    Raises:
        UsageError: it is not a usable picture.
    """
    # Brings torch, which no other page needs.
    from facecore.jobs.people.search import search_picture

    stores = stores or Stores()
    searched = search_picture(context, data, name="The picture", among=FaceFilter(), stores=stores)
    found = [[i for i, _, _ in face.match.candidates] for face in searched.faces]
    with stores.catalog.transaction() as tx:
        details = {"faces": len(found), "found": sorted({i for ids in found for i in ids})}
        audit.record(tx, actor, "search.face", "people", details=details)
    return [
        FoundOnPicture(face, _inline(thumbnails.jpeg(crop)))
        for face, crop in zip(searched.faces, searched.crops.pixels, strict=True)
    ]


def person_view(
    person_id: int,
    *,
    outcome: Outcome | None = None,
    after: int = 0,
    stores: Stores | None = None,
) -> PersonView:
    """A person, as they are now: somebody who was merged is who they are merged into.

    Args:
        outcome: only faces that are accepted, or only those that wait for a human.
        after: the last face of the page before.

    Raises:
        NotFound: there is no such person.
    """
    stores = stores or Stores()
    zone = ZoneInfo(stores.settings.report.timezone)
    with stores.catalog.transaction() as tx:
        person = people_pages.entry(tx, person_id)
        faces = people_pages.faces_of(tx, person.id, after=after, limit=FACES + 1, outcome=outcome)
        sightings, complete = people_timeline.recent(tx, person.id)
        return PersonView(
            person=person,
            faces=faces[:FACES],
            more_after=faces[FACES - 1].face_id if len(faces) > FACES else None,
            timeline=timeline(sightings, zone, complete=complete),
            lookalikes=_lookalikes(stores, tx, person.id),
            decisions=decisions.newest(tx, person_id=person.id, limit=_DECISIONS),
        )


def timeline(
    sightings: Sequence[SightingEntry], zone: ZoneInfo, *, complete: bool = True
) -> Timeline:
    """Pictures per day and source, by the wall clock of a zone."""
    frequent = [source for source, _ in Counter(s.source for s in sightings).most_common()]
    own = frequent[:_SOURCES] if len(frequent) > _SOURCES + 1 else frequent
    sources = (*own, "others") if len(own) < len(frequent) else tuple(own)
    counted: dict[date, Counter[int]] = {}
    for seen in sightings:
        column = own.index(seen.source) if seen.source in own else len(own)
        counted.setdefault(seen.at.astimezone(zone).date(), Counter())[column] += 1
    return Timeline(
        days=[
            (day, tuple(n[i] for i in range(len(sources)))) for day, n in sorted(counted.items())
        ],
        sources=sources,
        complete=complete,
        newest=list(sightings[:SIGHTINGS]),
    )


def _page(tx: Transaction, prefix: str, named: bool | None, after: int | None) -> PeoplePage:
    key = None
    if after is not None:
        try:
            key = people_pages.entry(tx, after).key
        except NotFound:
            key = None  # they were erased meanwhile: begin again
    found = people_pages.find(tx, prefix, after=key, limit=PEOPLE + 1, named=named)
    more = found[PEOPLE - 1].id if len(found) > PEOPLE else None
    return PeoplePage(found[:PEOPLE], more)


def _lookalikes(stores: Stores, tx: Transaction, person_id: int) -> list[Lookalike]:
    """Who is near enough to be taken for this person, or nearly so."""
    try:
        near = models.active(tx, "embed").threshold or 0.0
        wanted = stores.settings.search
        found = people_pages.lookalikes(tx, person_id, wanted, limit=_LOOKALIKES)
    except NotFound:
        return []  # no embedder is in use yet, so there is nothing to compare by
    return [one for one in found if one.score >= _NEARLY * near]


def _inline(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
