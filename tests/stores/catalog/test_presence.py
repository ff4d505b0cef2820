"""Visits, newcomers, company and shared cells against a second, plain way of counting them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import combinations
from statistics import median

import numpy as np
import pytest

from facecore.analytics import presence, shared
from facecore.analytics.period import Period
from facecore.analytics.presence import COUNT_EDGES, DWELL_EDGES, Presence
from facecore.stores.catalog import Catalog
from facecore.stores.catalog.reports.activity import ActivityQuery, read_activity
from facecore.stores.catalog.reports.presence import PresenceQuery, read_presence
from facecore.stores.catalog.reports.shared_cells import read_shared_cells

FIRST = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
WEEK = Period.days(date(2026, 3, 2), 7)
GAP = timedelta(minutes=30)


@dataclass(frozen=True)
class Shot:
    """A picture: when, where, who is recognised, and how many others are on it."""

    at: datetime
    source: str
    people: tuple[int, ...]
    strangers: int = 0


Plant = Callable[[list[Shot]], None]


@pytest.fixture
def plant(catalog: Catalog, make) -> Plant:
    """Shots → rows, in a few statements however many there are."""

    def planted(shots: list[Shot]) -> None:
        with catalog.transaction() as tx, tx.cursor() as cursor:
            detector, embedder = make.detector(tx), make.embedder(tx)
            cursor.execute(
                "INSERT INTO image (sha256, bucket, object_key, source, captured_at, "
                "captured_from, bytes, status) SELECT md5(n::text) || md5(n::text), 'images', "
                "n::text, source, at, 'key', 1, 'extracted' "
                "FROM unnest(%s::text[], %s::timestamptz[]) WITH ORDINALITY AS s (source, at, n) "
                "ORDER BY s.n RETURNING id",
                [[s.source for s in shots], [s.at for s in shots]],
            )
            images = [row[0] for row in cursor]
            cursor.execute(
                "INSERT INTO sighting (image_id, landing_bucket, landing_key, etag, source, "
                "captured_at) SELECT id, 'landing', id::text, '1', source, captured_at FROM image"
            )
            count = max((p for s in shots for p in s.people), default=0)
            cursor.execute(
                "INSERT INTO person (label, kind) SELECT 'P' || n, 'enrolled' "
                "FROM generate_series(1, %s) AS n ORDER BY n RETURNING id",
                [count],
            )
            ids = [row[0] for row in cursor]
            faces = [
                (image, ordinal, ids[person - 1] if person else None)
                for image, shot in zip(images, shots, strict=True)
                for ordinal, person in enumerate([*shot.people, *[0] * shot.strangers])
            ]
            cursor.execute(
                "INSERT INTO face (image_id, detector_version_id, ordinal, box, score, crop_key, "
                "crop_index) SELECT image, %s, ordinal, '{0,0,9,9}', 0.9, '1', 0 "
                "FROM unnest(%s::bigint[], %s::int[]) WITH ORDINALITY AS f (image, ordinal, n) "
                "ORDER BY n RETURNING id",
                [detector, [f[0] for f in faces], [f[1] for f in faces]],
            )
            face_ids = [row[0] for row in cursor]
            cursor.execute(
                "INSERT INTO assignment (face_id, person_id, outcome, source, score, "
                "model_version_id) SELECT face, person, "
                "CASE WHEN person IS NULL THEN 'unknown' ELSE 'accept' END, 'enrolled', 0.5, %s "
                "FROM unnest(%s::bigint[], %s::bigint[]) AS a (face, person)",
                [embedder, face_ids, [f[2] for f in faces]],
            )

    return planted


def query(period: Period = WEEK) -> ActivityQuery:
    return ActivityQuery(
        period.start, period.end, period.timezone, period.bin_unit, top_sources=2, top_people=1
    )


def read(catalog: Catalog, period: Period = WEEK) -> Presence:
    with catalog.transaction() as tx:
        read_activity(tx, query(period))
        wanted = PresenceQuery(GAP, DWELL_EDGES, COUNT_EDGES)
        return presence.summarise(read_presence(tx, query(period), wanted), period, 1800)


def random_shots(seed: int, people: int = 12, count: int = 300) -> list[Shot]:
    rng = np.random.default_rng(seed)
    return [
        Shot(
            FIRST + timedelta(seconds=int(rng.integers(-2 * 86400, 7 * 86400))),
            str(rng.choice(["gate", "yard", "lobby"], p=[0.6, 0.3, 0.1])),
            tuple((1 + rng.choice(people, int(rng.integers(0, 4)), replace=False)).tolist()),
            int(rng.integers(0, 2)),
        )
        for _ in range(count)
    ]


def visits_of(moments: list[datetime]) -> list[float]:
    """Lengths in seconds of the visits that moments fall into."""
    lengths: list[float] = []
    began = before = None
    for at in [*sorted(moments), None]:
        if began is not None and (at is None or at - before > GAP):
            lengths.append((before - began).total_seconds())
            began = None
        began = at if began is None else began
        before = at
    return lengths


@pytest.mark.parametrize("seed", [1, 2])
def test_everything_equals_a_plain_count(catalog: Catalog, plant: Plant, seed: int) -> None:
    shots = random_shots(seed)
    plant(shots)
    found = read(catalog)
    inside = [s for s in shots if s.at >= FIRST]
    moments: dict[int, list[datetime]] = defaultdict(list)
    for shot in inside:
        for person in shot.people:
            moments[person].append(shot.at)
    known_before = {p for s in shots if s.at < FIRST for p in s.people}
    visits = {person: visits_of(times) for person, times in moments.items()}
    every = [length for lengths in visits.values() for length in lengths]

    assert found.people == len(moments)
    assert found.newcomers == len(set(moments) - known_before)
    assert found.visits == len(every)
    assert found.seen_once == sum(length == 0 for length in every)
    assert sum(found.visits_per_person) == sum(found.days_per_person) == found.people
    edges = np.array(COUNT_EDGES)
    for counts, numbers in (
        (found.visits_per_person, [len(v) for v in visits.values()]),
        (found.days_per_person, [len({t.date() for t in m}) for m in moments.values()]),
    ):
        wanted = Counter(int((edges <= number).sum()) - 1 for number in numbers)
        assert list(counts) == [wanted[i] for i in range(len(edges))]
    timed = Counter(int((np.array(DWELL_EDGES) <= x).sum()) for x in every if x > 0)
    assert list(found.dwell) == [timed[i] for i in range(len(DWELL_EDGES) + 1)]

    pairs = Counter(pair for s in inside for pair in combinations(sorted(s.people), 2))
    assert {(int(p.a_label[1:]), int(p.b_label[1:])): p.images for p in found.pairs} == {
        pair: n for pair, n in pairs.items() if n >= min(p.images for p in found.pairs)
    } or len(found.pairs) == 40
    assert sum(found.companions) == found.people

    for place in range(7):
        day = (FIRST + timedelta(days=place)).date()
        seen = {p for p, times in moments.items() if any(t.date() == day for t in times)}
        fresh = {p for p in seen - known_before if min(moments[p]).date() == day}
        assert found.newcomers_by_bin[place] == len(fresh)
        assert found.returning_by_bin[place] == len(seen - fresh)

    gate = next(s for s in found.stays if s.source == "gate")
    stays = [
        length
        for person in moments
        for length in visits_of([s.at for s in inside if s.source == "gate" and person in s.people])
    ]
    assert gate.stays == len(stays)
    lasting = [length for length in stays if length]
    assert gate.median_s == pytest.approx(median(lasting), rel=1e-5)
    assert [s.source for s in found.stays] == ["gate", "yard", None]
    assert sum(sum(map(sum, (r.images for r in h.rows))) for h in found.heats) == sum(
        s.source != "lobby" for s in inside
    )


@pytest.mark.parametrize("seed", [3, 4])
def test_shared_cells_know_how_many_people_they_are_about(
    catalog: Catalog, plant: Plant, seed: int
) -> None:
    shots = random_shots(seed, people=20)
    plant(shots)
    with catalog.transaction() as tx:
        read_activity(tx, query())
        found = presence.summarise(
            read_presence(tx, query(), PresenceQuery(GAP, DWELL_EDGES, COUNT_EDGES)), WEEK, 1800
        )
        cells = read_shared_cells(tx, query())
    inside = [s for s in shots if s.at >= FIRST]
    by_hour = defaultdict(list)
    for shot in inside:
        by_hour[shot.at.isoweekday(), shot.at.hour].append(shot)
    frame = cells["face_cells"]
    counted = {
        (row.weekday, row.hour): (row.value, row.people)
        for row in frame[frame["level"] == "weekday-hour"].itertuples()
    }
    wanted = {}
    for at, some in by_hour.items():
        faces = [len(s.people) + s.strangers for s in some]
        if sum(faces):
            named = len({p for s in some for p in s.people})
            wanted[at] = (sum(faces), max(named, *faces))
    assert counted == wanted

    report = shared.summarise(cells, found, period=WEEK, quarantined=0, k=5, code_version="0.1.0")
    assert report.faces == sum(len(s.people) + s.strangers for s in inside)
    assert report.images == len(inside)
    assert report.people == found.people
    hours = next(t for t in report.tables if t.key == "hours")
    for (name, values), day in zip(hours.rows, range(1, 8), strict=True):
        for hour, value in enumerate(values):
            faces, people = counted.get((day, hour), (0, 0))
            assert value in (None, faces), (name, hour)
            assert value is None or people == 0 or people >= 5
    assert 0 < report.withheld < report.cells


def test_one_person_on_very_many_pictures(catalog: Catalog, plant: Plant) -> None:
    plant([Shot(FIRST + timedelta(seconds=20 * n), "gate", (1,)) for n in range(5_000)])
    found = read(catalog)
    assert (found.people, found.newcomers, found.visits, found.pairs) == (1, 1, 1, ())
    assert found.dwell == (0, 0, 0, 0, 0, 1)


def test_very_many_people_on_one_picture_each(catalog: Catalog, plant: Plant) -> None:
    plant([Shot(FIRST + timedelta(seconds=20 * n), "gate", (n + 1,)) for n in range(5_000)])
    found = read(catalog)
    assert (found.people, found.visits, found.seen_once) == (5_000,) * 3
    assert found.companions[0] == 5_000
    assert found.dwell == (0,) * 6
    assert (found.stays[0].median_s, found.stays[0].p90_s) == (None, None)


def test_a_crowd_is_left_out_of_the_pairs(catalog: Catalog, plant: Plant) -> None:
    plant([Shot(FIRST, "gate", tuple(range(1, 41))), Shot(FIRST + GAP, "gate", (1, 2))])
    found = read(catalog)
    assert found.crowded == 1
    assert [(p.a_label, p.b_label, p.images) for p in found.pairs] == [("P1", "P2", 1)]


def test_clocks_that_jump_give_no_negative_length(catalog: Catalog, plant: Plant) -> None:
    back = [0, 10, 3600 * 5, 20, -3600, 30]  # a clock that is set, and set back
    plant([Shot(FIRST + timedelta(hours=2, seconds=s), "gate", (1,)) for s in back])
    found = read(catalog)
    assert (found.visits, found.seen_once) == (3, 2)
    assert sum(found.dwell) == 1


@pytest.mark.parametrize("shots", [[], [Shot(FIRST, "gate", ())], [Shot(FIRST, "gate", (1,))]])
def test_nothing_and_a_single_picture(catalog: Catalog, plant: Plant, shots: list[Shot]) -> None:
    plant(shots)
    found = read(catalog)
    assert found.people == sum(len(s.people) for s in shots)
    assert len(found.newcomers_by_bin) == 7
