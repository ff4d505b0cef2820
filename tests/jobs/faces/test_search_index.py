"""The index of vectors measured beside an exact search; what happens where it finds too little."""

from __future__ import annotations

import time
from threading import Event, Thread

import numpy as np
import psycopg2.extensions
import pytest

from facecore.config import SearchSettings, Settings
from facecore.jobs.faces import search_index as job
from facecore.jobs.faces.index_recall import EF_SEARCH
from facecore.jobs.lineage import RunContext, recorded
from facecore.jobs.stores import Stores
from facecore.stores.catalog import migrate
from facecore.stores.catalog.connection import Catalog
from facecore.stores.catalog.faces import faces, vector_index
from facecore.stores.catalog.models import models
from facecore.stores.catalog.reports import alerts
from facecore.stores.catalog.search import index_checks
from facecore.stores.catalog.search.face_filter import FaceFilter
from facecore.stores.catalog.search.neighbours import LookUp
from facecore.types import Contract, Embeddings, Floats

FACES, DIMENSION = 3000, 24
CONTRACT = Contract("test", "a" * 64, DIMENSION, "b" * 64)


@pytest.fixture(scope="module")
def stores(platform):
    platform.up(["postgres"])
    database = platform.create_database("search_index")
    migrate(database)
    wanted = SearchSettings(exact_up_to=500, recall_queries=500)
    return Stores(Settings(database=database, search=wanted))


@pytest.fixture
def vectors() -> Floats:
    """People of five pictures each."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(FACES // 5, DIMENSION)).repeat(5, axis=0)
    made = (centres + 0.7 * rng.normal(size=centres.shape)).astype(np.float32)
    made = made[rng.permutation(FACES)]
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.fixture
def model(stores: Stores, vectors: Floats) -> int:
    """The embedder in use, with 3,000 vectors and no index."""
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS embedding_v2")
        cursor.execute("TRUNCATE model_version, image, alert, run RESTART IDENTITY CASCADE")
        detector = models.upsert(
            tx, models.ModelVersionRow("detect", "face-detector", 1, "d" * 64, "d" * 64)
        )
        digest = CONTRACT.digest
        embedder = models.upsert(
            tx,
            models.ModelVersionRow("embed", "face-embedder", 1, digest, "a" * 64, DIMENSION),
        )
        for version in (detector, embedder):
            models.set_active(tx, version)
        faces.ensure_embedding_partition(tx, embedder, DIMENSION)
        cursor.execute(
            "INSERT INTO image (sha256, bucket, object_key, source, bytes) "
            "VALUES (repeat('0', 64), 'images', 'x', 'x', 1)"
        )
    add(stores, embedder, vectors)
    return embedder


def add(stores: Stores, embedder: int, vectors: Floats) -> None:
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute(
            "INSERT INTO face (image_id, detector_version_id, ordinal, box, score, crop_key, "
            "crop_index) SELECT 1, 1, before + n, '{0,0,9,9}', 0.9, 'x', 0 "
            "FROM (SELECT count(*) AS before FROM face) AS b, generate_series(1, %s) AS n "
            "ORDER BY n RETURNING id",
            [len(vectors)],
        )
        ids = sorted(face_id for (face_id,) in cursor)
        faces.copy_embeddings(tx, embedder, ids, Embeddings(vectors, CONTRACT))


def build(stores: Stores, model: int, m: int | None = None, candidates: int = 4) -> None:
    """An index as the platform builds it, or a poor one."""
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        if m is None:
            faces.build_index(tx, model)
            return
        cursor.execute(
            f"CREATE INDEX embedding_v{model}_hnsw ON embedding_v{model} USING hnsw "
            f"((vector::halfvec({DIMENSION})) halfvec_cosine_ops) "
            f"WITH (m = {m}, ef_construction = {candidates})"
        )


def context(task: str = "check") -> RunContext:
    context.number += 1
    return RunContext("test", f"run {context.number}", task)


context.number = 0


def by_hand(stores: Stores, model: int, ef_search: int) -> float:
    """Recall@10 of other faces than those of the check, counted by ids in numpy."""
    with stores.catalog.transaction() as tx:
        ids, stored = faces.read_vectors(tx, model, "true")
        unit = stored / np.linalg.norm(stored, axis=1, keepdims=True)
        rows = np.random.default_rng(5).choice(len(ids), 300, replace=False)
        scores = unit[rows] @ unit.T
        scores[np.arange(300), rows] = -1
        nearest = np.sort(scores, axis=1)[:, :-11:-1]
        found, _ = index_checks.ask_index(tx, model, stored[rows], ids[rows], 10, ef_search)
    return float((found >= nearest[:, -1:] - 1e-5).mean())


def test_a_good_index_is_measured_and_used(stores, model, vectors):
    build(stores, model)
    said = job.check(context(), stores=stores)
    assert said["met"]
    assert (said["vectors"], said["queries"], said["k"]) == (FACES, 500, 10)
    assert (said["m"], said["ef_construction"]) == (vector_index.M, vector_index.EF_CONSTRUCTION)
    assert said["recall_low"] >= 0.99
    # the smallest effort that meets the objective: the ones before it did not
    without = [tried for tried in said["tried"] if "filter_share" not in tried]
    assert without[-1]["ef_search"] == said["ef_search"]
    assert all(tried["recall_low"] < 0.99 for tried in without[:-1])
    assert by_hand(stores, model, said["ef_search"]) == pytest.approx(said["recall"], abs=0.01)
    with stores.catalog.transaction() as tx:
        method = index_checks.method(tx, model, stores.settings.search)
        assert (method.ef_search, method.note) == (said["ef_search"], "")
        assert alerts.open_alerts(tx, kind=job.KIND) == []
        (kept,) = index_checks.newest(tx, model, 5)
        assert kept.recall == said["recall"]


def test_it_is_measured_behind_a_filter_as_well(stores, model, vectors):
    build(stores, model)
    said = job.check(context(), stores=stores)
    assert said["filter_share"] == index_checks.FILTER_SHARE
    assert said["filter_candidates"] >= said["ef_search"]
    with stores.catalog.transaction() as tx:
        ids, stored = faces.read_vectors(tx, model, "true")
        left = index_checks.passes(ids)
        assert left.mean() == pytest.approx(index_checks.FILTER_SHARE, abs=0.03)
        unit = stored / np.linalg.norm(stored, axis=1, keepdims=True)
        rows = np.random.default_rng(6).choice(len(ids), 300, replace=False)
        scores = unit[rows] @ unit[left].T
        nearest = np.sort(scores, axis=1)[:, :-11:-1]
        nobody = np.full(300, -1)
        found, _ = index_checks.ask_index(
            tx, model, stored[rows], nobody, 10, said["filter_candidates"], filtered=True
        )
        by_hand = float((found >= nearest[:, -1:] - 1e-5).mean())
        assert by_hand == pytest.approx(said["filter_recall"], abs=0.01)
        method = index_checks.method(tx, model, stores.settings.search)
        assert said["filter_recall"] >= 0.99
        assert method.behind_filter == said["filter_candidates"]


def test_an_index_that_is_poor_behind_filters_is_used_without_one_only(stores, model, monkeypatch):
    build(stores, model)
    honest = index_checks.ask_index

    def one_missed(*args, filtered=False):
        scores, seconds = honest(*args, filtered=filtered)
        if filtered:
            scores[:, -1] = -np.inf
        return scores, seconds

    monkeypatch.setattr(index_checks, "ask_index", one_missed)
    said = job.check(context(), stores=stores)
    assert said["met"]
    assert said["filter_recall"] < 0.91
    assert said["tried"][-1]["ef_search"] == EF_SEARCH[-1]
    with stores.catalog.transaction() as tx:
        method = index_checks.method(tx, model, stores.settings.search)
    assert (method.ef_search, method.behind_filter) == (said["ef_search"], None)


def test_a_poor_index_is_not_used_until_it_is_built_anew(stores, model, vectors):
    build(stores, model, m=2)
    poor = job.check(context(), stores=stores)
    assert not poor["met"]
    assert poor["tried"][-1]["ef_search"] == EF_SEARCH[-1]
    assert by_hand(stores, model, poor["ef_search"]) == pytest.approx(poor["recall"], abs=0.05)
    assert poor["recall_low"] < poor["recall"] < poor["recall_high"] < 0.99
    probe = vectors[7].astype(np.float16).astype(np.float32)
    with stores.catalog.transaction() as tx:
        method = index_checks.method(tx, model, stores.settings.search)
        assert method.ef_search is None
        assert "99.0% are wanted" in method.note
        (alert,) = alerts.open_alerts(tx, kind=job.KIND)
        assert (alert.subject, alert.severity) == ("face-embedder/1", "warning")
        assert alert.evidence["recall"] == poor["recall"]
        # exact, in spite of the index
        found = LookUp(tx, model, method, FaceFilter()).nearest(probe, 10)
        ids, stored = faces.read_vectors(tx, model, "true")
        scores = stored @ probe / np.linalg.norm(stored, axis=1)
        assert [one.face_id for one in found] == ids[np.argsort(-scores)[:10]].tolist()

    again = job.rebuild(context("rebuild"), stores)
    assert again["met"]
    assert again["index_oid"] != poor["index_oid"]
    with stores.catalog.transaction() as tx:
        assert index_checks.method(tx, model, stores.settings.search).ef_search
        with tx.cursor() as cursor:
            cursor.execute("SELECT indexname FROM pg_indexes WHERE indexname LIKE '%hnsw%'")
            assert cursor.fetchall() == [(f"embedding_v{model}_hnsw",)]


def test_a_rebuild_that_was_interrupted_is_begun_again(stores, model):
    build(stores, model)
    left_over = [f"embedding_v{model}_hnsw_{which}" for which in ("new", "old")]
    with stores.catalog.transaction() as tx:
        for name in left_over:
            tx.cursor().execute(f"CREATE INDEX {name} ON embedding_v{model} (face_id)")
    assert job.rebuild(context("rebuild"), stores)["met"]
    with stores.catalog.transaction() as tx:
        assert not any(vector_index.exists(tx, name) for name in left_over)


def test_it_is_measured_when_it_is_due(stores, model, vectors):
    build(stores, model)
    due = {"only_if_due": True, "stores": stores}
    assert job.check(context(), **due)["met"]
    assert job.check(context(), **due) == {}
    add(stores, model, vectors[: FACES // 3])
    assert job.check(context(), **due) == {}
    add(stores, model, vectors[: FACES // 3])
    assert job.check(context(), **due)["vectors"] == FACES + 2 * (FACES // 3)
    with stores.catalog.transaction() as tx:
        tx.cursor().execute("UPDATE index_check SET measured_at = now() - interval '1 day'")
    assert job.check(context(), **due)["met"]
    job.rebuild(context("rebuild"), stores)
    with stores.catalog.transaction() as tx:
        tx.cursor().execute("DELETE FROM index_check")
    assert job.check(context(), **due)["met"]


def test_building_waits_for_who_writes_however_long_that_takes(stores, model, vectors):
    impatient = Stores(stores.settings)
    impatient.catalog = Catalog(stores.settings.database, lock_s=1)
    written, ended = Event(), Event()

    def write() -> None:
        with stores.catalog.transaction() as tx, tx.cursor() as cursor:
            cursor.execute(f"UPDATE embedding_v{model} SET vector = vector WHERE face_id = 1")
            written.set()
            time.sleep(3)
            ended.set()

    writer = Thread(target=write)
    writer.start()
    assert written.wait(60)
    assert job.rebuild(context("rebuild"), impatient)["met"]
    assert ended.is_set()
    writer.join()


class Interposed(Catalog):
    """A catalogue that calls `meanwhile` before the first statement with `word`."""

    def __init__(self, database, word, meanwhile):
        super().__init__(database, lock_s=1)
        left = [meanwhile]

        class Watching(psycopg2.extensions.cursor):
            def execute(self, statement, values=None):
                if word in statement and left:
                    left.pop()()
                return super().execute(statement, values)

        self._cursor = Watching

    def connect(self):
        connection = super().connect()
        connection.cursor_factory = self._cursor
        return connection


def test_a_new_index_comes_into_its_place_beside_writers_and_look_ups(stores, model):
    build(stores, model)
    looked = []

    def look_up_while_a_shard_is_written() -> None:
        with stores.catalog.transaction() as tx, tx.cursor() as cursor:
            cursor.execute(f"UPDATE embedding_v{model} SET vector = vector WHERE face_id = 1")
            writing.set()
            time.sleep(3)  # by now the other one is at putting it in place
            with impatient.catalog.transaction() as other, other.cursor() as looking:
                looking.execute(f"SELECT count(*) FROM embedding_v{model}")
                looked.append(looking.fetchone())

    writing, thread = Event(), Thread(target=look_up_while_a_shard_is_written)

    def begin() -> None:
        thread.start()
        assert writing.wait(60)

    impatient = Stores(stores.settings)
    impatient.catalog = Interposed(stores.settings.database, "RENAME", begin)
    assert job.rebuild(context("rebuild"), impatient)["met"]
    thread.join()
    assert looked == [(FACES,)]


def test_too_few_faces_need_no_index(stores, model):
    few = Stores(stores.settings.model_copy(update={"search": SearchSettings(exact_up_to=FACES)}))
    for due in (True, False):
        assert job.check(context(), only_if_due=due, stores=few) == {}
    with stores.catalog.transaction() as tx:
        assert vector_index.find(tx, model) is None


def test_the_index_is_built_when_look_ups_need_one(stores, model):
    with stores.catalog.transaction() as tx:
        method = index_checks.method(tx, model, stores.settings.search)
        assert (method.ef_search, "does not exist" in method.note) == (None, True)
    said = job.check(context(), only_if_due=True, stores=stores)
    assert (said["vectors"], said["met"]) == (FACES, True)
    with stores.catalog.transaction() as tx:
        assert index_checks.method(tx, model, stores.settings.search).ef_search
        assert alerts.open_alerts(tx, kind=job.KIND) == []


def test_it_can_be_part_of_another_run(stores, model):
    """As the promotion does, between building the index and switching."""
    build(stores, model)
    with stores.catalog.transaction() as tx:
        version = models.get(tx, model)
    with recorded(stores.catalog, context("index"), "reembed.index") as run:
        assert job.measure(stores, version, run.id)["run_id"] == run.id
