"""Faces that belong together: communities of the neighbour graph, and fragments joined.

Communities come from label propagation (Raghavan, Albert and Kumara, 2007; NetworKit's
implementation) on the graph of pairs above the edge threshold, weighted by how rare such a pair
is among different people. It leaves fragments where the links between parts of a person are
weak one by one; two fragments whose *mean* similarity is high enough are joined, mutually
nearest ones first, which is average-linkage clustering on top of the communities.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from facecore.analytics.clustering.evidence import Evidence
from facecore.stages.nearest import Nearest
from facecore.stages.neighbours import Ints, Neighbours
from facecore.types import Floats

if TYPE_CHECKING:
    import networkit

_SWEEPS = 20
_ROUNDS = 20
_CANDIDATES = 8
_ROWS_AT_ONCE = 65_536


def communities(count: int, pairs: Neighbours, evidence: Evidence) -> Ints:
    """Community of each of `count` faces, int64 `[count]`, from 0; a face alone is one too.

    Args:
        pairs: of rows and columns below `count`; pairs below the edge threshold do not count.
    """
    import networkit

    strong = pairs.above(evidence.edge)
    if not len(strong):
        return np.arange(count, dtype=np.int64)
    graph = graph_of(count, strong, evidence)
    with _one_thread():  # with more, what comes out depends on which is faster
        found = networkit.community.PLP(graph, 0, _SWEEPS).run().getPartition()
    return _numbered(np.asarray(found.getVector(), np.int64))


def graph_of(count: int, pairs: Neighbours, evidence: Evidence) -> networkit.Graph:
    """Undirected; a pair that is there in both directions is one edge."""
    import networkit
    from scipy.sparse import coo_matrix, triu  # type: ignore[import-untyped]

    ends = (pairs.rows, pairs.columns)
    links = coo_matrix((evidence.weight(pairs.scores), ends), (count, count)).tocsr()
    once = triu(links.maximum(links.T), k=1).tocoo()
    return networkit.GraphFromCoo(
        (once.data, (once.row, once.col)), n=count, weighted=True, directed=False
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """NetworKit's number of threads is OpenMP's, which torch's may be, too."""
    import networkit
    import torch

    before, of_torch = networkit.getMaxNumberOfThreads(), torch.get_num_threads()
    networkit.setNumberOfThreads(1)
    try:
        yield
    finally:
        networkit.setNumberOfThreads(before)
        torch.set_num_threads(of_torch)


def join_fragments(vectors: npt.NDArray[Any], labels: Ints, evidence: Evidence) -> Ints:
    """Communities with those joined whose mean similarity says that they are one person.

    Args:
        vectors: `[n, d]`, unit length; may be mapped from a file.
        labels: int64 `[n]`, from 0; -1: no member of any, and so it stays.
    """
    inside = labels >= 0
    if not inside.any():
        return labels
    labels = np.where(inside, _numbered(np.where(inside, labels, labels.max(initial=0))), -1)
    means, sizes = _means(vectors, labels)
    for _ in range(_ROUNDS):
        joined = _nearest_pairs(means, sizes, evidence)
        if joined is None:
            break
        labels = np.where(inside, joined[labels], -1)
        total = np.zeros((int(joined.max()) + 1, means.shape[1]), np.float64)
        np.add.at(total, joined, means * sizes[:, None])
        sizes = np.bincount(joined, weights=sizes).astype(np.int64)
        means = (total / sizes[:, None]).astype(np.float32)
    return np.asarray(labels, np.int64)


def _nearest_pairs(means: Floats, sizes: Ints, evidence: Evidence) -> Ints | None:
    """New number of each group after mutually nearest ones are joined; None: nothing to join."""
    # Two single faces need what an edge needs, and had their chance in the graph.
    groups = np.flatnonzero(sizes > 1)
    columns = np.arange(len(sizes), dtype=np.int64)
    found = []
    for start in range(0, len(groups), _ROWS_AT_ONCE):
        own = groups[start : start + _ROWS_AT_ONCE]
        search = Nearest(means[own], _CANDIDATES, floor=evidence.fragment, own=own)
        search.add(means, columns)
        part = search.result()
        found.append((own[part.rows], part.columns, part.scores))
    if not found:
        return None
    left, right, scores = (np.concatenate(column) for column in zip(*found, strict=True))
    lead = scores - evidence.needed(sizes[left], sizes[right])
    kept = lead >= 0
    if not kept.any():
        return None
    # Both directions, best lead first: a single face's best group is found from the group.
    ends = np.concatenate([left[kept], right[kept]])
    others = np.concatenate([right[kept], left[kept]])
    order = np.lexsort((others, -np.concatenate([lead[kept], lead[kept]]), ends))
    ends, others = ends[order], others[order]
    first = np.r_[True, ends[1:] != ends[:-1]]
    best = np.full(len(sizes), -1, np.int64)
    best[ends[first]] = others[first]
    mutual = np.flatnonzero((best >= 0) & (best[best] == columns))
    if not len(mutual):
        return None
    joined = columns.copy()
    joined[mutual] = np.minimum(mutual, best[mutual])
    return _numbered(joined)


def _means(vectors: npt.NDArray[Any], labels: Ints) -> tuple[Floats, Ints]:
    """Mean vector (not of unit length) and number of faces of each group."""
    sizes = np.bincount(labels[labels >= 0]).astype(np.int64)
    total = np.zeros((len(sizes), vectors.shape[1]), np.float64)
    for start in range(0, len(labels), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        inside = labels[part] >= 0
        np.add.at(total, labels[part][inside], np.asarray(vectors[part][inside], np.float64))
    return np.asarray(total / sizes[:, None], np.float32), sizes


def _numbered(labels: Ints) -> Ints:
    """The same groups, numbered from 0 in the order of their first member."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    place = np.empty(len(first), np.int64)
    place[np.argsort(first, kind="stable")] = np.arange(len(first))
    return np.asarray(place[inverse.reshape(-1)], np.int64)
