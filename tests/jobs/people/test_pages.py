"""What pages read about people, page by page."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from facecore.config import SearchSettings
from facecore.errors import NotFound
from facecore.jobs.people import people as jobs
from facecore.stores.catalog.pages import people_pages
from facecore.stores.catalog.people import corrections
from facecore.types import Outcome

WHO = {"actor": "ada", "reason": "I know them"}


@pytest.fixture
def tx(world):
    with world.stores.catalog.transaction() as open_transaction:
        yield open_transaction


def test_people_are_found_by_the_start_of_their_name(world):
    for label in ("Ada", "ADAM", "Bob", "a_b", "Ähre"):
        world.enrol(label)
    stranger, _ = world.discovered("x", 2, Outcome.REVIEW)
    with world.stores.catalog.transaction() as tx:
        corrections.discover(tx, 1)  # whose faces are somebody else's by now

        def labels(*arguments, **named):
            return [p.label for p in people_pages.find(tx, *arguments, **named)]

        assert labels("ad") == ["Ada", "ADAM"]
        assert labels("A_") == ["a_b"]
        assert labels("%") == []
        assert labels("ä") == ["Ähre"]
        assert labels(named=False) == [f"Person {stranger}"]
        every = labels()
        assert sorted(every) == sorted(["Ada", "ADAM", "Bob", "a_b", "Ähre", f"Person {stranger}"])
        paged, after = [], None
        while page := people_pages.find(tx, after=after, limit=2):
            paged += [p.label for p in page]
            after = page[-1].key
        assert paged == every
        entry = people_pages.entry(tx, stranger)
    assert (entry.faces, entry.reviews, entry.named) == (2, 2, False)
    assert entry.crop_key is not None


def test_a_merged_id_leads_to_the_person(world):
    one, _ = world.discovered("x", 2)
    two, _ = world.discovered("x", 2)
    jobs.merge_people(one, [two], **WHO, stores=world.stores)
    with world.stores.catalog.transaction() as tx:
        assert people_pages.entry(tx, two).id == one
        assert [p.id for p in people_pages.find(tx)] == [one]
        with pytest.raises(NotFound):
            people_pages.entry(tx, 999_999)


def test_faces_come_page_by_page_with_whose_word_it_is(world, tx):
    person, face_ids = world.discovered("x", 5)
    world.say(face_ids[:1], person, outcome=Outcome.REVIEW)
    first = people_pages.faces_of(tx, person, limit=3)
    rest = people_pages.faces_of(tx, person, after=first[-1].face_id, limit=3)
    assert [f.face_id for f in first + rest] == sorted(face_ids)
    assert {(f.source, f.quality, f.seen_by) for f in first + rest} == {("cluster", 0.9, "door")}
    waiting = people_pages.faces_of(tx, person, outcome=Outcome.REVIEW)
    assert [f.face_id for f in waiting] == face_ids[:1]


def test_sightings_newest_first_and_by_day(world):
    person, face_ids = world.discovered("x", 3)
    with world.stores.catalog.transaction() as tx, tx.cursor() as cursor:
        for day, face in enumerate(face_ids, 1):
            for door in ("door", "yard"):
                cursor.execute(
                    "INSERT INTO sighting (image_id, landing_bucket, landing_key, etag, source, "
                    "captured_at, captured_from) SELECT image_id, 'landing', %s, 'e', %s, %s, "
                    "'exif' FROM face WHERE id = %s",
                    [f"{door}/{day}", door, datetime(2026, 11, day, 23, tzinfo=UTC), face],
                )
        first = people_pages.sightings(tx, person, limit=4)
        last = people_pages.sightings(tx, person, before=(first[-1].at, first[-1].id))
        assert [s.at.day for s in first + last] == [3, 3, 2, 2, 1, 1]
        assert {s.source for s in first} == {"door", "yard"}
        by_day = people_pages.days(tx, person, "Europe/Berlin")
    assert [(day.day, source, n) for day, source, n in by_day] == [
        (day, source, 1) for day in (2, 3, 4) for source in ("door", "yard")
    ]


def test_lookalikes_are_other_people_nearby(world, tx):
    one, _ = world.discovered("x", 3)
    two, _ = world.discovered("x", 3)
    far, _ = world.discovered("y", 3)
    world.add(world.near("x", 2))  # nobody's
    found = people_pages.lookalikes(tx, one, SearchSettings())
    assert found[0].person_id == two
    assert found[0].score > 0.5
    assert {f.person_id for f in found} <= {two, far}
    assert people_pages.lookalikes(tx, 999_999, SearchSettings()) == []
