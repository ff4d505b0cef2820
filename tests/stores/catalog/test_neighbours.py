"""Look-ups on PostgreSQL: by the index or exactly, filtered, never shorter than there are faces."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from facecore.config import SearchSettings
from facecore.errors import ShapeError, UsageError
from facecore.stores.catalog.faces import faces, vector_index
from facecore.stores.catalog.people import people
from facecore.stores.catalog.search import face_filter, index_checks, neighbours
from facecore.stores.catalog.search.face_filter import FaceFilter
from facecore.stores.catalog.search.index_checks import IndexCheckRow, Method
from facecore.stores.catalog.search.neighbours import LookUp

EXACT = Method(None, 0)
BY_INDEX = Method(100, 0, behind_filter=100)
EVERYBODY, ENROLLED = FaceFilter(), FaceFilter(enrolled=True)
NOON = datetime(2026, 4, 1, 12, tzinfo=UTC)


@pytest.fixture
def crowd(tx, make):
    """3,000 faces with vectors, ten on a picture: 1 % seen by `rare`, all a minute apart."""
    model, detector = make.embedder(tx), make.detector(tx)
    with tx.cursor() as cursor:
        cursor.execute(
            "INSERT INTO image (sha256, bucket, object_key, source, bytes, status) "
            "SELECT md5(n::text) || md5(n::text), 'images', n::text, 'x', 1, 'extracted' "
            "FROM generate_series(1, 300) AS n"
        )
        cursor.execute(
            "INSERT INTO sighting (image_id, landing_bucket, landing_key, etag, source, "
            "captured_at, captured_from) SELECT id, 'landing', id::text, '1', "
            "CASE WHEN id %% 100 = 0 THEN 'rare' ELSE 'gate' END, "
            "%s + id * interval '1 minute', 'key' FROM image",
            [NOON],
        )
        cursor.execute(
            "INSERT INTO face (image_id, detector_version_id, ordinal, box, score, crop_key, "
            "crop_index) SELECT 1 + n / 10, %s, n %% 10, '{0,0,9,9}', 0.9, 'x', 0 "
            "FROM generate_series(0, 2999) AS n ORDER BY n RETURNING id",
            [detector],
        )
        ids = sorted(face_id for (face_id,) in cursor)
    faces.copy_embeddings(tx, model, ids, make.embeddings(make.vectors(3000)))
    faces.build_index(tx, model)
    return model


def probes(make, count=1):
    """Vectors as the database is asked for them, so that no order hangs on their rounding."""
    return make.vectors(count, seed=9).astype(np.float16).astype(np.float32)


def brute_force(tx, model, probe, condition="true"):
    ids, vectors = faces.read_vectors(tx, model, condition)
    scores = vectors @ probe / np.linalg.norm(vectors, axis=1) / np.linalg.norm(probe)
    order = np.argsort(-scores)
    return ids[order].tolist(), scores[order]


def ids_of(found):
    return [one.face_id for one in found]


def force_the_index(tx):
    """So few rows are sorted faster than the index is walked, which the planner knows."""
    with tx.cursor() as cursor:
        cursor.execute("SET LOCAL enable_sort = off")
        cursor.execute("SET LOCAL enable_seqscan = off")


@pytest.mark.parametrize("method", [EXACT, BY_INDEX], ids=["exact", "index"])
def test_the_nearest_faces_are_those_of_an_exact_search(tx, make, crowd, method):
    force_the_index(tx)
    probe = probes(make)[0]
    best, scores = brute_force(tx, crowd, probe)
    found = LookUp(tx, crowd, method, EVERYBODY).nearest(2.0 * probe, 10)
    assert ids_of(found) == best[:10]
    np.testing.assert_allclose([hit.score for hit in found], scores[:10], atol=1e-3)


def test_a_filter_that_leaves_one_in_a_hundred_cuts_nothing_short(tx, make, crowd, monkeypatch):
    monkeypatch.setattr(neighbours, "FILTER_SHARE", 0.0)  # the index, though it is no good here
    force_the_index(tx)
    rare = FaceFilter(sources=("rare",))
    look_up = LookUp(tx, crowd, BY_INDEX, rare)
    few = LookUp(tx, crowd, Method(100, 1000), rare)
    assert few.compared == 30
    hits = 0
    for probe in probes(make, 20):
        best, _ = brute_force(tx, crowd, probe, "face.image_id % 100 = 0")
        found = look_up.nearest(probe, 10)
        assert len(found) == 10
        assert {one.image_id % 100 for one in found} == {0}
        hits += len(set(ids_of(found)) & set(best[:10]))
        assert ids_of(few.nearest(probe, 10)) == best[:10]
    assert hits >= 0.99 * 200
    assert len(look_up.nearest(probe, 40)) == 30  # all there are, though the index gives up


def test_the_index_is_used_behind_filters_that_leave_as_many_as_it_was_measured_with(
    tx, make, crowd
):
    force_the_index(tx)
    wide = FaceFilter(since=NOON + timedelta(minutes=200))  # a third
    narrow = FaceFilter(since=NOON + timedelta(minutes=250))  # a sixth
    assert LookUp(tx, crowd, BY_INDEX, wide).note == ""
    for method, chosen in ((BY_INDEX, narrow), (Method(100, 0), wide), (Method(100, 0), narrow)):
        look_up = LookUp(tx, crowd, method, chosen)
        assert "behind this filter the index" in look_up.note
        for probe in probes(make, 5):
            minute = 200 if chosen is wide else 250
            best, _ = brute_force(tx, crowd, probe, f"face.image_id >= {minute}")
            assert ids_of(look_up.nearest(probe, 10)) == best[:10]
    few = LookUp(tx, crowd, Method(100, 5000), narrow)  # exact as a matter of course
    assert few.note == ""
    assert LookUp(tx, crowd, Method(None, 0, "why"), narrow).note == "why"


def test_filters_by_time_and_place_agree_with_brute_force(tx, make, crowd):
    probe = probes(make)[0]
    since, until = NOON + timedelta(minutes=50), NOON + timedelta(minutes=120)
    for chosen, condition in (
        (FaceFilter(since=since, until=until), "image_id >= 50 AND image_id < 120"),
        (FaceFilter(sources=("gate",), since=since), "image_id >= 50 AND image_id % 100 <> 0"),
        (FaceFilter(sources=("gate", "rare"), until=until), "image_id < 120"),
    ):
        best, _ = brute_force(tx, crowd, probe, condition)
        for method in (EXACT, Method(None, 5000), BY_INDEX):
            look_up = LookUp(tx, crowd, method, chosen)
            assert ids_of(look_up.nearest(probe, 10)) == best[:10]
    nowhere = LookUp(tx, crowd, BY_INDEX, FaceFilter(sources=("roof",)))
    assert nowhere.nearest(probe, 10) == []
    assert face_filter.sources(tx) == ["gate", "rare"]


def test_pictures_of_an_enrolment_were_seen_nowhere(tx, make, crowd):
    with tx.cursor() as cursor:
        cursor.execute("UPDATE sighting SET source = 'enrolment' WHERE source = 'rare'")
    everything = LookUp(tx, crowd, Method(None, 5000), FaceFilter(since=NOON))
    assert everything.compared == 2970


def test_the_gallery_is_found_among_many_others(tx, make, crowd):
    force_the_index(tx)
    probe = probes(make)[0]
    best, _ = brute_force(tx, crowd, probe)
    ada = people.enrol(tx, "Ada")
    people.confirm(tx, ada, [best[3], best[2000], best[-1]], gallery=True)
    for method in (EXACT, BY_INDEX, Method(100, 1000)):
        found = LookUp(tx, crowd, method, ENROLLED).nearest(probe, 10)
        assert ids_of(found) == [best[3], best[2000], best[-1]]
        assert [one.label for one in found] == ["Ada"] * 3


def test_enough_people_are_found_behind_one_with_many_faces(tx, make, crowd):
    probe = probes(make)[0]
    best, _ = brute_force(tx, crowd, probe)
    for name, its in (("Ada", best[:200]), ("Bob", best[300:301]), ("Cy", best[2999:])):
        people.confirm(tx, people.enrol(tx, name), its)
    look_up = LookUp(tx, crowd, BY_INDEX, EVERYBODY)
    found = look_up.nearest_people(probe, 2)
    assert {one.label for one in found} - {None} == {"Ada", "Bob"}
    assert {one.label for one in look_up.nearest_people(probe, 3)} - {None} == {"Ada", "Bob", "Cy"}
    assert len(look_up.nearest_people(probe, 4)) == 3000


def test_an_exact_twin_is_found_first(tx, make):
    vectors = make.vectors(50)
    _, ids = make.enrolled(tx, "Ada", vectors)
    hit = LookUp(tx, make.embedder(tx), EXACT, ENROLLED).nearest(vectors[17], 1)[0]
    assert hit.face_id == ids[17]
    assert hit.score == pytest.approx(1.0, abs=1e-3)


def test_what_cannot_be_searched_is_refused(tx, make):
    model = make.embedder(tx)
    look_up = LookUp(tx, model, EXACT, EVERYBODY)
    assert look_up.nearest(make.vectors(1)[0], 5) == []
    assert look_up.compared == 0
    for vector in (np.zeros(16, np.float32), np.ones(15, np.float32), np.full(16, np.nan, "f4")):
        with pytest.raises(ShapeError):
            look_up.nearest(vector, 5)
    with pytest.raises(UsageError):
        look_up.nearest(make.vectors(1)[0], 0)
    with pytest.raises(UsageError, match="ends before"):
        FaceFilter(since=NOON, until=NOON)
    with pytest.raises(UsageError, match="no time zone"):
        FaceFilter(since=datetime(2026, 4, 1))


def test_the_index_answers_in_its_order(tx, make, crowd):
    """The statement has the form that the index is on."""
    force_the_index(tx)
    with tx.cursor() as cursor:
        cursor.execute(
            f"EXPLAIN SELECT face_id FROM {vector_index.partition(crowd)} "
            "ORDER BY vector::halfvec(16) <=> %s::halfvec LIMIT 10",
            [str([1.0] * 16)],
        )
        plan = "\n".join(line for (line,) in cursor)
    assert f"embedding_v{crowd}_hnsw" in plan


def measured(tx, model, **changes):
    index = vector_index.find(tx, model)
    values = {
        "model_version_id": model, "vectors": 3000, "queries": 100, "k": 10, "m": index.m,
        "ef_construction": index.ef_construction, "ef_search": 64, "recall": 0.995,
        "recall_low": 0.99, "recall_high": 0.999, "p50_ms": 1.0, "objective": 0.99,
        "tried": [{"ef_search": 64}], "index_oid": index.oid, "run_id": None,
    }  # fmt: skip
    index_checks.record(tx, IndexCheckRow(**{**values, **changes}))


def test_an_index_is_used_as_it_was_measured_and_only_then(tx, make, crowd):
    wanted = SearchSettings(exact_up_to=100)
    index = vector_index.find(tx, crowd)
    assert (index.m, index.ef_construction) == (vector_index.M, vector_index.EF_CONSTRUCTION)
    few = index_checks.method(tx, crowd, SearchSettings(exact_up_to=3000))
    assert few == Method(None, 3000)
    assert "was not measured yet" in index_checks.method(tx, crowd, wanted).note
    measured(tx, crowd)
    assert index_checks.method(tx, crowd, wanted) == Method(64, 100)
    behind = {"filter_share": 0.25, "filter_candidates": 250}
    measured(tx, crowd, **behind, filter_recall=0.991)
    assert index_checks.method(tx, crowd, wanted) == Method(64, 100, behind_filter=250)
    measured(tx, crowd, **behind, filter_recall=0.98)
    assert index_checks.method(tx, crowd, wanted) == Method(64, 100)
    measured(tx, crowd, **behind | {"filter_share": 0.5}, filter_recall=0.991)
    assert index_checks.method(tx, crowd, wanted) == Method(64, 100)
    measured(tx, crowd, recall=0.98, recall_low=0.97, recall_high=0.985)
    poor = index_checks.method(tx, crowd, wanted)
    assert poor.ef_search is None
    assert "finds 98.0% of the 10 nearest faces, 99.0% are wanted" in poor.note
    assert index_checks.method(tx, crowd, wanted.model_copy(update={"min_recall": 0.98})).ef_search
    measured(tx, crowd, vectors=900)
    assert "has about 3,000 now" in index_checks.method(tx, crowd, wanted).note
    measured(tx, crowd, index_oid=1)
    assert "was not measured yet" in index_checks.method(tx, crowd, wanted).note
    with tx.cursor() as cursor:
        cursor.execute(f"DROP INDEX embedding_v{crowd}_hnsw")
    assert "does not exist" in index_checks.method(tx, crowd, wanted).note
    assert [check.recall for check in index_checks.newest(tx, crowd, 10)] == [
        0.995, 0.995, 0.98, *[0.995] * 4,
    ]  # fmt: skip
