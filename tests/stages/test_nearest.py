"""The blocked search against brute force: every precision, every cut into blocks, ties, people."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from facecore.errors import ConfigError, ShapeError
from facecore.stages.nearest import Blocks, Nearest, nearest_others
from facecore.stages.neighbours import Neighbours
from facecore.stages.screening import GROUP, limits, product_type, products, rounded

PRECISIONS = ["fp32", "int8", "fp16", "bf16"]
BLOCKS = [Blocks(512, 2048, 1 << 16), Blocks(7, 64, 64), Blocks(100, 128, 256), Blocks(1, 64, 640)]


def unit(rows):
    rows = np.asarray(rows, np.float64)
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def faces(count, seed=0, dimension=128, people=None, spread=0.8):
    """Unit vectors of people who look alike to a degree, as embeddings do."""
    rng = np.random.default_rng(seed)
    owner = rng.integers(0, people or max(1, count // 8), count)
    centres = unit(rng.normal(size=(owner.max(initial=0) + 1, dimension)))
    noise = rng.normal(size=(count, dimension)) / np.sqrt(dimension)
    return unit(centres[owner] + spread * noise) if count else np.zeros((0, dimension), np.float32)


def brute(queries, references, k, floor=-np.inf, own=None):
    """Per query its `k` best (column, score), best first; in float64."""
    scores = queries.astype(np.float64) @ references.astype(np.float64).T
    if own is not None:
        scores[np.arange(len(queries)), own] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return [
        [(int(c), scores[row, c]) for c in line if scores[row, c] >= floor and scores[row, c] > -9]
        for row, line in enumerate(order)
    ]


def recall(found: Neighbours, truth) -> float:
    """Share of the true neighbours found; one as near as the last of them counts as well."""
    hits = total = 0
    for row, line in enumerate(truth):
        mine = found.scores[found.rows == row]
        assert len(mine) == len(line)
        assert (np.diff(mine) <= 0).all()
        least = min((score for _, score in line), default=0.0)
        hits += int((mine >= least - 1e-6).sum())
        total += len(line)
    return hits / max(1, total)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("blocks", BLOCKS, ids=str)
def test_every_block_size_and_precision_gives_the_answer_of_numpy(precision, blocks):
    queries, references = faces(41, seed=1), faces(700, seed=1)
    truth = brute(queries, references, 10)
    search = Nearest(queries, 10, precision=precision, blocks=blocks)
    search.add(references[:300], np.arange(300))
    search.add(references[300:], np.arange(300, 700))
    found = search.result()
    assert recall(found, truth) == 1.0
    expected = np.array([[score for _, score in line] for line in truth]).ravel()
    assert np.allclose(found.scores, expected, atol=1e-6)
    same = found.columns == np.array([[column for column, _ in line] for line in truth]).ravel()
    assert same.mean() > 0.995  # near-ties may change places


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("seed", range(3))
def test_recall_is_complete_where_the_screen_decides(precision, seed):
    """Enough references that most are screened away, from a skewed distribution, in any order."""
    references = faces(20_000, seed, people=300, spread=0.5)
    queries = faces(300, seed, people=300, spread=0.5)
    if seed == 2:  # worst first: every block holds nearer ones than all before
        references = references[np.argsort(references @ queries[0])]
    found = Nearest(queries, 10, precision=precision)
    found.add(references.astype(np.float16), np.arange(len(references)))
    assert recall(found.result(), brute(queries, references.astype(np.float16), 10)) == 1.0


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_others_above_a_floor(precision, kind, tmp_path):
    vectors = faces(900, people=60).astype(kind)
    vectors.tofile(tmp_path / "vectors")
    mapped = np.memmap(tmp_path / "vectors", kind, "r", shape=vectors.shape)
    done = []
    found = nearest_others(
        mapped, 0.4, 5, precision=precision, queries=400, on_progress=done.append
    )
    truth = brute(vectors, vectors, 5, 0.4, own=np.arange(900))
    assert recall(found, truth) == 1.0
    assert not (found.rows == found.columns).any()
    assert done == [400, 800, 900]
    assert 0 < len(found.above(0.6)) < len(found)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_of_equals_those_that_came_first(precision):
    vectors = np.repeat(faces(3, people=3), [200, 1, 99], axis=0)
    found = nearest_others(
        vectors, 0.9, 4, precision=precision, blocks=Blocks(50, 64, 64), queries=120
    )
    mine = {row: found.columns[found.rows == row].tolist() for row in (0, 2, 150, 200, 250)}
    first = {0: [1, 2, 3, 4], 2: [0, 1, 3, 4], 150: [0, 1, 2, 3], 200: []}
    assert mine == {**first, 250: [201, 202, 203, 204]}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_person_of_many_faces_takes_one_place(precision):
    gallery, people = faces(5000, seed=3, people=40), np.random.default_rng(4).integers(7, 47, 5000)
    people[:3000] = 7  # one person owns most of it
    probes = np.concatenate([faces(30, seed=3, people=40), gallery[:30]])
    search = Nearest(probes, 5, shared=True, precision=precision, blocks=Blocks(16, 256, 1024))
    for start in range(0, 5000, 1500):
        search.add(gallery[start : start + 1500], people[start : start + 1500])
    found = search.result()
    scores = probes @ gallery.T
    names = np.unique(people)
    best = np.stack([scores[:, people == name].max(1) for name in names], 1)
    order = np.argsort(-best, axis=1)[:, :5]
    assert found.columns.reshape(60, 5).tolist() == names[order].tolist()
    assert np.allclose(
        found.scores.reshape(60, 5), np.take_along_axis(best, order, 1).clip(-1, 1), atol=1e-6
    )


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    ("queries", "references", "k"), [(0, 9, 3), (3, 0, 3), (1, 1, 5), (2, 9, 50)]
)
def test_fewer_than_asked(precision, queries, references, k):
    search = Nearest(faces(queries), k, precision=precision)
    search.add(faces(references), np.arange(references) * 10)
    found = search.result()
    expected = min(k, references)
    assert np.bincount(found.rows, minlength=queries).tolist() == [expected] * queries
    assert set(found.columns.tolist()) <= set(range(0, references * 10, 10))


def test_odd_dimensions_and_tiny_vectors():
    for dimension in (1, 3, 130):
        vectors = faces(200, dimension=dimension, people=5)
        vectors[7] = 0  # no direction; alike to nobody
        found = nearest_others(vectors, 0.5, 3, precision="int8")
        assert recall(found, brute(vectors, vectors, 3, 0.5, own=np.arange(200))) == 1.0


@pytest.mark.parametrize("dtype", [torch.int8, torch.float16, torch.bfloat16])
def test_no_product_is_further_off_than_the_bound_says(dtype):
    """The screen's guarantee itself: what it drops cannot be above the bar."""
    rng = np.random.default_rng(5)
    rows = torch.from_numpy(faces(64, seed=6))
    columns = torch.from_numpy(unit(rng.standard_t(2, size=(4 * GROUP, 128))))  # heavy tails
    exact = rows.double() @ columns.double().T
    left, right = rounded(rows, dtype, 1), rounded(columns, dtype, GROUP)
    out = torch.empty(exact.numel(), dtype=product_type(dtype))
    coarse = products(left.values, right.values, out)
    for bar in (-0.2, 0.0, 0.1, 0.3):
        limit = limits(torch.full((64,), bar), left, right).repeat_interleave(GROUP, 1)
        dropped = coarse <= limit
        assert (exact[dropped] <= bar + 1e-7).all()
        assert dropped.any()


def test_what_is_refused():
    with pytest.raises(ShapeError, match="finite"):
        Nearest(np.array([[np.nan, 1.0]], np.float32), 3)
    search = Nearest(np.eye(2, dtype=np.float32), 3)
    with pytest.raises(ShapeError):
        search.add(np.eye(3, dtype=np.float32), np.arange(3))
    with pytest.raises(ShapeError, match="not finite"):
        search.add(np.array([[np.inf, 0]], np.float32), np.arange(1))
    with pytest.raises(ConfigError, match="fp8"):
        Nearest(np.eye(2, dtype=np.float32), 3, precision="fp8")
    with pytest.raises(ShapeError, match="multiple of 64"):
        Blocks(8, 100, 128)


class Largest(TorchDispatchMode):
    """Notes how many values the largest tensor has that any operation makes."""

    values = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.values = max(self.values, result.numel())
        return result


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_memory_is_blocks_and_queries_times_k(precision):
    queries, references = faces(256), faces(8192)
    search = Nearest(queries, 5, precision=precision, blocks=Blocks(64, 128, 1024))
    with Largest() as largest:
        search.add(references, np.arange(8192))
    assert 0 < largest.values <= 1024 * 128  # a held block of vectors; products would be 2 million
    assert len(search.result()) == 256 * 5
