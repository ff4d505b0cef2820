"""Faces and their embeddings.

Embeddings of different models never share a partition, and every write and read names its
model version, so vectors of two contracts cannot meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg2.extras import execute_values

from facecore.errors import ChangeRefused, ContractMismatch, NotFound, ShapeError
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.faces import vector_copy, vector_index
from facecore.stores.catalog.json_values import as_json
from facecore.stores.catalog.models import models
from facecore.types import Embeddings, Floats


@dataclass(frozen=True, slots=True)
class FaceRow:
    """A face to record.

    Attributes:
        ordinal: position among the faces of its image, best detection first.
        box: x1 y1 x2 y2, pixels of the upright image.
        landmarks: x and y of the five points of `LANDMARK_NAMES`, 10 numbers; None without.
        score: detection score, 0..1.
        crop_key, crop_index: object in bucket "crops" and the row of its tensor.
    """

    image_id: int
    detector_version_id: int
    ordinal: int
    box: Sequence[float]
    landmarks: Sequence[float] | None
    score: float
    crop_key: str
    crop_index: int
    quality: Mapping[str, Any] = field(default_factory=dict)
    shard_id: int | None = None


@dataclass(frozen=True, slots=True)
class Face:
    """A catalogued face; the fields of `FaceRow` with the id it got."""

    id: int
    image_id: int
    detector_version_id: int
    ordinal: int
    box: tuple[float, ...]
    landmarks: tuple[float, ...] | None
    score: float
    crop_key: str
    crop_index: int
    quality: dict[str, Any]
    shard_id: int | None


_COLUMNS = ", ".join(column.name for column in fields(Face))


def insert_faces(tx: Transaction, rows: Iterable[FaceRow]) -> list[int]:
    """Record faces; returns their ids in the order given.

    A face that exists (same image, detector version and ordinal) keeps its row and its id.
    """
    faces = list(rows)
    if not faces:
        return []
    keys = [(face.image_id, face.detector_version_id, face.ordinal) for face in faces]
    with tx.cursor() as cursor:
        execute_values(
            cursor,
            "INSERT INTO face (image_id, detector_version_id, ordinal, box, landmarks, score, "
            "crop_key, crop_index, quality, shard_id) VALUES %s "
            "ON CONFLICT (image_id, detector_version_id, ordinal) DO NOTHING",
            [
                (
                    *key, _numbers(face.box),
                    None if face.landmarks is None else _numbers(face.landmarks),
                    float(face.score), face.crop_key, face.crop_index, as_json(face.quality),
                    face.shard_id,
                )
                for key, face in sorted(zip(keys, faces, strict=True), key=lambda pair: pair[0])
            ],
            template="(%s, %s, %s, %s::real[], %s::real[], %s, %s, %s, %s, %s)",
            page_size=1000,
        )  # fmt: skip
        cursor.execute(
            "SELECT image_id, detector_version_id, ordinal, id FROM face JOIN "
            "unnest(%s::bigint[], %s::bigint[], %s::integer[]) AS k "
            "(image_id, detector_version_id, ordinal) "
            "USING (image_id, detector_version_id, ordinal)",
            [list(column) for column in zip(*keys, strict=True)],
        )
        ids = {tuple(row[:3]): int(row[3]) for row in cursor}
    return [ids[key] for key in keys]


def ensure_embedding_partition(tx: Transaction, model_version_id: int, dimension: int) -> None:
    """Create the partition of a model version unless it exists.

    It has no HNSW index yet: few vectors need none, and for many `vector_index` is faster after
    them than one insertion into the index for each.

    Raises:
        ShapeError: the model version has another dimension.
        NotFound: there is no such model version.
    """
    name = vector_index.partition(model_version_id)
    known = _embedder(tx, model_version_id)[1]
    if known != dimension:
        raise ShapeError("embedding partition", f"dimension {known}", str(dimension))
    if vector_index.exists(tx, name):
        return
    with tx.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])
        if vector_index.exists(tx, name):  # made while this waited
            return
        # Built beside the parent and attached, which does not block its readers and writers.
        cursor.execute(
            f"CREATE TABLE {name} (LIKE embedding INCLUDING DEFAULTS INCLUDING CONSTRAINTS, "
            f"PRIMARY KEY (model_version_id, face_id), "
            f"CHECK (model_version_id = {int(model_version_id)}), "
            f"CHECK (vector_dims(vector) = {int(dimension)}))"
        )
        cursor.execute(
            f"ALTER TABLE embedding ATTACH PARTITION {name} FOR VALUES IN ({int(model_version_id)})"
        )


def build_index(tx: Transaction, model_version_id: int) -> None:
    """Create the HNSW index of a filled partition unless it exists; see `vector_index.build`.

    Raises:
        NotFound: there is no such model version.
    """
    vector_index.build(tx, model_version_id, _embedder(tx, model_version_id)[1])


def copy_embeddings(
    tx: Transaction, model_version_id: int, face_ids: Sequence[int], embeddings: Embeddings
) -> int:
    """Store one vector per face by COPY BINARY, rounded to float16; returns how many were new.

    A face that has a vector of this model version keeps it.

    Raises:
        ContractMismatch: the vectors were made under another contract than the model version's.
        ShapeError: not one vector per face.
        NotFound: there is no such model version.
    """
    contract, dimension = _embedder(tx, model_version_id)
    if embeddings.contract.digest != contract:
        raise ContractMismatch(contract, embeddings.contract.digest)
    vectors = embeddings.vectors
    if vectors.shape != (len(face_ids), dimension):
        raise ShapeError("embeddings", f"[{len(face_ids)}, {dimension}]", str(list(vectors.shape)))
    if not len(vectors):
        return 0
    ensure_embedding_partition(tx, model_version_id, dimension)
    with tx.cursor() as cursor:
        cursor.execute(
            "CREATE TEMPORARY TABLE IF NOT EXISTS incoming_embedding "
            "(face_id bigint, vector halfvec) ON COMMIT DROP"
        )
        cursor.execute("TRUNCATE incoming_embedding")
        cursor.copy_expert(
            "COPY incoming_embedding FROM STDIN WITH (FORMAT binary)",
            BytesIO(vector_copy.encode(face_ids, vectors)),
        )
        cursor.execute(
            f"INSERT INTO {vector_index.partition(model_version_id)} "
            "(face_id, model_version_id, vector) "
            "SELECT face_id, %s, vector FROM incoming_embedding ORDER BY face_id "
            "ON CONFLICT (model_version_id, face_id) DO NOTHING",
            [model_version_id],
        )
        return cursor.rowcount


def read_vectors(
    tx: Transaction, model_version_id: int, condition: str
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Ids and vectors of the faces that meet `condition`: SQL made of constants only."""
    _, dimension = _embedder(tx, model_version_id)
    buffer = BytesIO()
    with tx.cursor() as cursor:
        cursor.copy_expert(
            "COPY (SELECT face.id, embedding.vector FROM embedding "
            f"JOIN face ON face.id = embedding.face_id "
            f"WHERE embedding.model_version_id = {int(model_version_id)} AND ({condition}) "
            "ORDER BY face.id) TO STDOUT WITH (FORMAT binary)",
            buffer,
        )
    return vector_copy.decode(buffer.getvalue(), dimension)


def blocks(
    tx: Transaction, model_version_id: int, rows: int = 1 << 16
) -> Iterator[tuple[npt.NDArray[np.int64], Floats]]:
    """All vectors of a model version by face id, `rows` at once: ids `[n]`, float32 `[n, d]`."""
    _, dimension = _embedder(tx, model_version_id)
    name, after = vector_index.partition(model_version_id), -1
    while True:
        buffer = BytesIO()
        with tx.cursor() as cursor:
            cursor.copy_expert(
                f"COPY (SELECT face_id, vector FROM {name} WHERE face_id > {int(after)} "
                f"ORDER BY face_id LIMIT {int(rows)}) TO STDOUT WITH (FORMAT binary)",
                buffer,
            )
        ids, vectors = vector_copy.decode(buffer.getvalue(), dimension)
        if not len(ids):
            return
        yield ids, vectors
        after = int(ids[-1])


def get(tx: Transaction, face_id: int) -> Face:
    """One face by id. Raises `NotFound`."""
    for face in _faces(tx, "id = %s", face_id):
        return face
    raise NotFound("face", str(face_id))


def of_image(tx: Transaction, image_id: int) -> list[Face]:
    """The faces of an image, by detector version and ordinal."""
    return _faces(tx, "image_id = %s", image_id)


def found_by(tx: Transaction, image_id: int, detector_version_id: int) -> list[Face]:
    """The faces that a detector version found in an image, by ordinal."""
    every = of_image(tx, image_id)
    return [face for face in every if face.detector_version_id == detector_version_id]


def of_shard(tx: Transaction, shard_id: int) -> list[Face]:
    """The faces an extraction shard found, by image and ordinal."""
    return _faces(tx, "shard_id = %s", shard_id)


def _faces(tx: Transaction, condition: str, value: Any) -> list[Face]:
    with tx.cursor() as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM face WHERE {condition} "
            "ORDER BY image_id, detector_version_id, ordinal",
            [value],
        )
        return [
            Face(
                id=row[0],
                image_id=row[1],
                detector_version_id=row[2],
                ordinal=row[3],
                box=tuple(row[4]),
                landmarks=None if row[5] is None else tuple(row[5]),
                score=row[6],
                crop_key=row[7],
                crop_index=row[8],
                quality=row[9],
                shard_id=row[10],
            )
            for row in cursor
        ]


def _numbers(values: Sequence[float]) -> list[float]:
    return [float(value) for value in np.asarray(values, np.float32).ravel()]


def _embedder(tx: Transaction, model_version_id: int) -> tuple[str, int]:
    """Contract digest and dimension of a model version that embeds."""
    version = models.get(tx, model_version_id)
    if version.dimension is None:
        raise ChangeRefused(
            f"model version {model_version_id} ({version.name}) makes no embeddings.",
            rule="model_version_dimension",
        )
    return version.contract, version.dimension
