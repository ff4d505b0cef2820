"""Interactive look-ups: the catalogued faces nearest to one vector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facecore.errors import ShapeError, UsageError
from facecore.stores.catalog import estimates
from facecore.stores.catalog.connection import Transaction
from facecore.stores.catalog.faces import vector_index
from facecore.stores.catalog.faces.vector_copy import as_text
from facecore.stores.catalog.models import models
from facecore.stores.catalog.people import people
from facecore.stores.catalog.search.face_filter import FaceFilter
from facecore.stores.catalog.search.index_checks import FILTER_SHARE, Method
from facecore.types import Floats

# What an index with an `ef_search` was measured to find is the ten nearest.
MEASURED_K = 10
MOST_FACES = 1000
# Several nearest faces may be of one person, or of nobody; look at enough to find so many people.
_FACES_PER_PERSON = 10
_MOST_CANDIDATES = 1000  # pgvector's limit of ef_search
_SAMPLED_FACES = 1000  # tell a share of a quarter to 1.4 percent


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A face near a vector: cosine similarity -1..1, and whose it is, if known."""

    face_id: int
    image_id: int
    person_id: int | None
    label: str | None
    score: float


class LookUp:
    """Looks vectors up among the faces that a filter leaves, in one transaction.

    The answer is never shorter than there are faces, nor less sure than the index was measured to
    be: few are compared exactly; of many the index is scanned on and on until enough of them
    passed the filter, and where it gives up before that they are compared exactly as well, as
    behind a filter that leaves a smaller share of them than the index was measured with.

    Args:
        method: whether the index is used; see `index_checks.method`.
        among: which faces are compared.

    Attributes:
        compared: how many faces the answer was chosen from: exact for few, else at most so many.
        note: why many are compared exactly, where they are; else empty.

    Raises:
        NotFound: there is no such model version.
    """

    def __init__(
        self, tx: Transaction, model_version_id: int, method: Method, among: FaceFilter
    ) -> None:
        self._tx = tx
        self._version = models.get(tx, model_version_id)
        self._table = vector_index.partition(model_version_id)
        self._empty = not vector_index.exists(tx, self._table)
        self._method = method
        self._among = among
        self._few: list[int] | None = None
        self.compared = self._count()
        self.note = method.note
        self._candidates = self._by_index_with()

    def nearest(self, vector: Floats, k: int = 10) -> list[Neighbour]:
        """The `k` faces most similar to `vector`, best first; fewer only where there are fewer.

        Args:
            vector: float32 `[d]`, any positive length.

        Raises:
            ShapeError: not a finite vector of the model's dimension.
            UsageError: `k` is not within 1..1000.
        """
        if not 1 <= k <= MOST_FACES:
            raise UsageError(f"k must be within 1..{MOST_FACES}, not {k}.")
        return self._known(self._nearest(vector, k))

    def nearest_people(self, vector: Floats, count: int) -> list[Neighbour]:
        """Faces nearest to `vector`, best first, of at least `count` people if there are so many.

        Raises:
            ShapeError: not a finite vector of the model's dimension.
        """
        k = _FACES_PER_PERSON * count
        while True:
            found = self._known(self._nearest(vector, k))
            owners = {face.person_id for face in found if face.person_id is not None}
            if len(owners) >= count or len(found) < k:
                return found
            k *= 5

    def _count(self) -> int:
        if self._empty:
            return 0
        if self._among.everything:
            return estimates.vectors(self._tx, self._version.id).value
        most = self._method.exact_up_to
        with self._tx.cursor() as cursor:
            cursor.execute(
                f"SELECT face.id FROM face WHERE {self._among.of_set} LIMIT %(most)s",
                {**self._among.values, "most": most + 1},
            )
            few = [int(face_id) for (face_id,) in cursor]
        if len(few) > most:
            return estimates.vectors(self._tx, self._version.id).value
        with self._tx.cursor() as cursor:
            cursor.execute(f"SELECT face_id FROM {self._table} WHERE face_id = ANY(%s)", [few])
            self._few = [int(face_id) for (face_id,) in cursor]
        return len(self._few)

    def _by_index_with(self) -> int | None:
        """How many candidates the index looks at; None: it is not used. Sets `note`."""
        if self._empty or self._few is not None or self._method.ef_search is None:
            return None
        if self._among.everything:
            return self._method.ef_search
        if self._method.behind_filter is not None and self._share() >= FILTER_SHARE:
            return self._method.behind_filter
        self.note = (
            f"Compared exactly: behind this filter the index of {self._version.name}/"
            f"{self._version.version} finds too few of the nearest faces."
        )
        return None

    def _share(self) -> float:
        """Which share of the faces passes the filter, by a sample, the same one every time."""
        with self._tx.cursor() as cursor:
            cursor.execute(
                f"SELECT coalesce(min(face_id), 0), coalesce(max(face_id), 0) FROM {self._table}"
            )
            first, last = cursor.fetchone() or (0, 0)
            some = np.random.default_rng(0).integers(first, last + 1, _SAMPLED_FACES)
            cursor.execute(
                f"SELECT coalesce(avg((({self._among.of_one}) IS TRUE)::int), 0) "
                f"FROM {self._table} AS e JOIN face ON face.id = e.face_id "
                "WHERE e.face_id = ANY(%(some)s)",
                {**self._among.values, "some": some.tolist()},
            )
            (share,) = cursor.fetchone() or (0,)
        return float(share)

    def _nearest(self, vector: Floats, k: int) -> list[tuple[int, float]]:
        """Face id and score of the `k` nearest."""
        dimension = self._version.dimension
        if vector.shape != (dimension,) or not np.isfinite(vector).all() or not vector.any():
            raise ShapeError("vector", f"finite, not zero [{dimension}]", str(vector.shape))
        if self._empty:
            return []
        values = {**self._among.values, "q": as_text(vector), "k": k, "few": self._few}
        if self._candidates is not None:
            found = self._by_index(values, k, self._candidates)
            if found is not None:
                return found
        where = "true"
        if self._few is not None:
            where = "e.face_id = ANY(%(few)s)"
        elif not self._among.everything:
            where = f"e.face_id IN (SELECT face.id FROM face WHERE {self._among.of_set})"
        with self._tx.cursor() as cursor:
            # The index is on vector::halfvec(d), so it has no part in this.
            cursor.execute(
                f"SELECT e.face_id, 1 - (e.vector <=> %(q)s::halfvec({dimension})) "
                f"FROM {self._table} AS e WHERE {where} "
                f"ORDER BY e.vector <=> %(q)s::halfvec({dimension}), e.face_id LIMIT %(k)s",
                values,
            )
            return [(int(face_id), float(score)) for face_id, score in cursor]

    def _by_index(
        self, values: dict[str, object], k: int, candidates: int
    ) -> list[tuple[int, float]] | None:
        """What the index finds; None where it gave up too early."""
        distance = f"e.vector::halfvec({self._version.dimension}) <=> %(q)s::halfvec"
        candidates = min(_MOST_CANDIDATES, candidates + max(0, k - MEASURED_K))
        source, scanned = f"{self._table} AS e", k
        if not self._among.everything:
            # Scanning on brings faces in nearly the right order only, so more are taken, then
            # sorted: as many as the index was measured to need behind a filter.
            source += f" JOIN face ON face.id = e.face_id WHERE {self._among.of_one}"
            scanned = max(2 * k, candidates)
        with self._tx.cursor() as cursor:
            cursor.execute("SET LOCAL hnsw.iterative_scan = relaxed_order")
            cursor.execute("SELECT set_config('hnsw.ef_search', %s, true)", [str(candidates)])
            cursor.execute(
                f"SELECT face_id, 1 - distance, count(*) OVER () FROM (SELECT e.face_id, "
                f"{distance} AS distance FROM {source} ORDER BY {distance} LIMIT %(scanned)s) "
                "AS hit ORDER BY distance, face_id LIMIT %(k)s",
                {**values, "scanned": scanned},
            )
            hits = cursor.fetchall()
        if not hits or hits[0][2] < scanned:
            return None
        return [(int(face_id), float(score)) for face_id, score, _ in hits]

    def _known(self, found: list[tuple[int, float]]) -> list[Neighbour]:
        face_ids = [face_id for face_id, _ in found]
        known = people.current(self._tx, face_ids)
        with self._tx.cursor() as cursor:
            cursor.execute("SELECT id, image_id FROM face WHERE id = ANY(%s)", [face_ids])
            images: dict[int, int] = dict(cursor.fetchall())
        return [
            Neighbour(
                face_id,
                images[face_id],
                known[face_id].person_id if face_id in known else None,
                known[face_id].label if face_id in known else None,
                score,
            )
            for face_id, score in found
        ]
