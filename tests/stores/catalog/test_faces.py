"""Faces are recorded once; vectors arrive as they were sent, up to float16, and never mixed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from facecore.errors import ChangeRefused, ContractMismatch, NotFound, ShapeError
from facecore.stores.catalog.faces import faces, vector_index
from facecore.stores.catalog.images import images
from facecore.stores.catalog.work import shards
from facecore.types import Embeddings


def test_faces_keep_their_ids_and_come_back_in_order(tx, make):
    first, second = make.images(tx, "a", "b")
    detector = make.detector(tx)
    rows = [make.face_row(image, detector, n) for image, n in [(second, 0), (first, 1), (first, 0)]]
    ids = faces.insert_faces(tx, rows)
    assert faces.insert_faces(tx, [rows[2], rows[0]]) == [ids[2], ids[0]]
    assert [face.id for face in faces.of_image(tx, first)] == [ids[2], ids[1]]
    assert faces.insert_faces(tx, []) == []


def test_every_field_comes_back(tx, make):
    (image_id,) = make.images(tx, "a")
    detector = make.detector(tx)
    (shard_id,) = shards.plan(tx, "extract", "run", [[image_id]])
    row = make.face_row(
        image_id,
        detector,
        box=np.array([-1.5, 0, 10, 20.25], np.float32),
        landmarks=np.arange(10, dtype=np.float32).reshape(5, 2),
        score=np.float32(0.5),
        shard_id=shard_id,
    )
    bare = make.face_row(image_id, detector, 1, landmarks=None, quality={})
    face_id, bare_id = faces.insert_faces(tx, [row, bare])
    face = faces.get(tx, face_id)
    assert face == faces.of_shard(tx, shard_id)[0]
    assert face.box == (-1.5, 0, 10, 20.25)
    assert face.landmarks == tuple(range(10))
    assert (face.score, face.quality, face.crop_key, face.crop_index, face.shard_id) == (
        0.5,
        {"sharpness": 12.5},
        "1.safetensors",
        0,
        shard_id,
    )
    assert faces.get(tx, bare_id).landmarks is None
    with pytest.raises(NotFound):
        faces.get(tx, 999)


@pytest.mark.parametrize(
    "change", [{"box": [1, 2, 3]}, {"landmarks": [1.0] * 9}, {"score": 1.5}, {"crop_key": ""}]
)
def test_a_malformed_face_is_refused_by_the_database(catalog, make, change):
    with catalog.transaction() as tx:
        (image_id,), detector = make.images(tx, "a"), make.detector(tx)
    with pytest.raises(ChangeRefused), catalog.transaction() as tx:
        faces.insert_faces(tx, [make.face_row(image_id, detector, **change)])


def test_vectors_come_back_as_sent_up_to_float16(tx, make):
    model, detector = make.embedder(tx), make.detector(tx)
    (image_id, other) = make.images(tx, "a", "b")
    shard_id, other_shard = shards.plan(tx, "extract", "run", [[image_id], [other]])
    ids = faces.insert_faces(
        tx, [make.face_row(image_id, detector, n, shard_id=shard_id) for n in range(700)]
    )
    elsewhere = faces.insert_faces(tx, [make.face_row(other, detector, 0, shard_id=other_shard)])
    vectors = make.vectors(701)
    order = np.random.default_rng(1).permutation(701)
    sent = np.array(ids + elsewhere)[order].tolist()
    assert faces.copy_embeddings(tx, model, sent, make.embeddings(vectors[order])) == 701
    back_ids, back = faces.read_vectors(tx, model, f"face.shard_id = {shard_id}")
    assert back_ids.tolist() == sorted(ids) == ids
    np.testing.assert_array_equal(back, vectors[:700].astype(np.float16).astype(np.float32))
    back_ids, back = faces.read_vectors(tx, model, "face.shard_id = 999")
    assert (back_ids.shape, back.shape) == ((0,), (0, 16))


def test_a_vector_is_written_once(tx, make):
    model = make.embedder(tx)
    ids = make.faces(tx, "a", 3)
    first, second = make.vectors(3, seed=1), make.vectors(3, seed=2)
    assert faces.copy_embeddings(tx, model, ids[:2], make.embeddings(first[:2])) == 2
    assert faces.copy_embeddings(tx, model, ids, make.embeddings(second)) == 1
    _, back = faces.read_vectors(tx, model, "true")
    np.testing.assert_allclose(back, [*first[:2], second[2]], atol=1e-3)
    assert faces.copy_embeddings(tx, model, [], make.embeddings(first[:0])) == 0


def test_vectors_of_another_contract_are_refused(tx, make):
    model = make.embedder(tx)
    ids = make.faces(tx, "a", 2)
    other = dataclasses.replace(make.contract, alignment="another")
    with pytest.raises(ContractMismatch):
        faces.copy_embeddings(tx, model, ids, Embeddings(make.vectors(2), other))
    with pytest.raises(ShapeError):
        faces.copy_embeddings(tx, model, ids, make.embeddings(make.vectors(3)))
    with pytest.raises(ShapeError):
        faces.ensure_embedding_partition(tx, model, 17)
    with pytest.raises(NotFound):
        faces.copy_embeddings(tx, 999, ids, make.embeddings(make.vectors(2)))
    with pytest.raises(ChangeRefused, match="makes no embeddings"):
        faces.read_vectors(tx, make.detector(tx), "true")


def test_each_model_version_has_its_own_partition_and_index(tx, make):
    contract = dataclasses.replace(make.contract, dimension=32)
    first, second = make.embedder(tx), make.embedder(tx, 2, contract)
    for _ in range(2):
        faces.ensure_embedding_partition(tx, first, 16)
        faces.ensure_embedding_partition(tx, second, 32)
    ids = make.faces(tx, "a", 2)
    faces.copy_embeddings(tx, first, ids, make.embeddings(make.vectors(2)))
    wide = Embeddings(make.vectors(2, dimension=32), contract)
    faces.copy_embeddings(tx, second, ids, wide)
    assert faces.read_vectors(tx, first, "true")[1].shape == (2, 16)
    assert faces.read_vectors(tx, second, "true")[1].shape == (2, 32)
    assert vector_index.find(tx, first) is None  # two vectors need none
    for _ in range(2):
        faces.build_index(tx, first)
        faces.build_index(tx, second)
    with tx.cursor() as cursor:
        cursor.execute(
            "SELECT tablename, indexdef FROM pg_indexes "
            "WHERE schemaname = 'facecore' AND indexdef LIKE '%USING hnsw%' ORDER BY tablename"
        )
        indexes = dict(cursor.fetchall())
    assert f"halfvec({16})" in indexes[f"embedding_v{first}"]
    assert f"halfvec({32})" in indexes[f"embedding_v{second}"]


def test_the_database_refuses_a_vector_of_another_length(catalog, make):
    with catalog.transaction() as tx:
        model = make.embedder(tx)
        faces.ensure_embedding_partition(tx, model, 16)
        (face_id,) = make.faces(tx, "a", 1)
    with pytest.raises(ChangeRefused), catalog.transaction() as tx:
        tx.cursor().execute(
            "INSERT INTO embedding (face_id, model_version_id, vector) VALUES (%s, %s, '[1,2,3]')",
            [face_id, model],
        )


def test_a_partition_can_be_made_while_another_is_written(catalog, make):
    """No lock is taken that a writer of another model holds."""
    with catalog.transaction() as tx:
        first, second = make.embedder(tx), make.embedder(tx, 2)
        faces.ensure_embedding_partition(tx, first, 16)
        ids = make.faces(tx, "a", 2)
    with catalog.transaction() as writer:
        faces.copy_embeddings(writer, first, ids, make.embeddings(make.vectors(2)))
        with type(catalog)(catalog.database, lock_s=2).transaction() as tx:
            faces.ensure_embedding_partition(tx, second, 16)


def test_an_image_with_faces_ends_extracted(tx, make):
    ids = make.images(tx, "a", "b", accepted=True)
    assert images.mark_extracted(tx, ids) == 2
    assert images.counts_by_status(tx)["extracted"] == 2
