"""The nearest references of each query, exactly, in bounded memory: who is it, who is alike.

Products are computed block by block, and of each block only the pairs that can still be among a
query's `k` best are looked at: their number falls with every block, so the work is the product
itself. Memory is queries × k and a few blocks, never queries × references.

Products may be screened in fewer bits (see `screening`); the answer is the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from facecore.errors import ShapeError
from facecore.stages.neighbours import Best, Hits, Ints, Neighbours
from facecore.stages.screening import (
    GROUP,
    Rounded,
    limits,
    product_type,
    products,
    resolve_precision,
    rounded,
)
from facecore.types import Floats


@dataclass(frozen=True, slots=True)
class Blocks:
    """How many rows are compared at once.

    Attributes:
        queries, references: of one product.
        held: references that are brought to the device and rounded together.
    """

    queries: int
    references: int
    held: int

    def __post_init__(self) -> None:
        for name in ("references", "held"):
            if getattr(self, name) % GROUP:
                raise ShapeError(f"blocks.{name}", f"a multiple of {GROUP}", str(self))


# A block's products stay in a core's cache; on a GPU they are as large as its launches are slow.
_BLOCKS = {"cpu": Blocks(512, 2048, 1 << 16), "cuda": Blocks(4096, 1 << 15, 1 << 18)}
# Queries that go over the references together in `nearest_others`.
_QUERY_ROWS = 1 << 14
# From this share of groups that may hold a hit on, a block is computed in full.
_CROWDED = 0.5
# Up to this many per query few pairs are looked at closely, also without a floor.
_SELECTIVE_K = 20
# Pairs that are computed in float32 at once.
_PAIRS = 1 << 16


class Nearest:
    """Collects each query's `k` nearest references from blocks that arrive one after the other.

    Args:
        queries: float32 `[q, d]`, unit length.
        k: most references per query.
        floor: pairs below this cosine are not kept.
        own: int64 `[q]`: the column that is the query itself, which is left out; -1: none.
        shared: several references may have the same column (a person of several faces); the best
            of them counts.
        precision: auto, fp32, bf16, fp16 or int8; see `screening`.
        device: where the products are computed.
        blocks: how many rows are compared at once; None: what suits the device.

    Raises:
        ShapeError: the queries are no vectors.
        ConfigError: an unknown precision.
    """

    def __init__(
        self,
        queries: Floats,
        k: int,
        *,
        floor: float = -math.inf,
        own: Ints | None = None,
        shared: bool = False,
        precision: str = "auto",
        device: torch.device | None = None,
        blocks: Blocks | None = None,
    ) -> None:
        if queries.ndim != 2 or not np.isfinite(queries).all():
            raise ShapeError("queries", "finite [q, d]", str(list(queries.shape)))
        self._device = device or torch.device("cpu")
        selective = k <= _SELECTIVE_K or floor > 0
        self._dtype = resolve_precision(precision, self._device, len(queries), selective=selective)
        self._blocks = blocks or _BLOCKS[self._device.type]
        self._dimension = queries.shape[1]
        with torch.inference_mode():
            self._best = Best(len(queries), k, floor, shared, self._device)
            self._own = None if own is None else _on(self._device, own)
            self._parts = _parts(_on(self._device, queries), self._blocks.queries, self._dtype)
            self._out = torch.empty(
                max(map(len, self._parts), default=0) * self._blocks.references,
                dtype=product_type(self._dtype),
                device=self._device,
            )

    def add(self, references: npt.NDArray[Any], columns: Ints) -> None:
        """Compare with more references.

        Args:
            references: float32 or float16 `[r, d]`, unit length.
            columns: int64 `[r]`, not negative: what they are called in the result. Of equally
                near ones the one that came first stays.

        Raises:
            ShapeError: they do not fit the queries, or are not finite.
        """
        if not len(references):
            return
        expected = f"finite [r, {self._dimension}]"
        if references.ndim != 2 or references.shape[1] != self._dimension:
            raise ShapeError("references", expected, str(list(references.shape)))
        with torch.inference_mode():
            for start in range(0, len(references) if self._parts else 0, self._blocks.held):
                some = slice(start, start + self._blocks.held)
                vectors = _on(self._device, references[some]).float()
                if not torch.isfinite(vectors.sum()):
                    raise ShapeError("references", expected, "values that are not finite")
                held = _Held(vectors, _on(self._device, columns[some]), self._dtype)
                for part in self._parts:
                    self._compare(part, held)

    def result(self) -> Neighbours:
        """What was found so far."""
        return self._best.result()

    def _compare(self, part: _Part, held: _Held) -> None:
        """All held references with some queries."""
        bars, limit = self._bars(part, held)
        seen = _Seen()
        for start in range(0, len(held.vectors), self._blocks.references):
            block = slice(start, start + self._blocks.references)
            by_group = part.products(held, block, self._out).view(len(part), -1, GROUP)
            first = start // GROUP
            possible = by_group.amax(2) > limit[:, first : first + by_group.shape[1]]
            places = _where(possible)
            crowded = len(places) > _CROWDED * possible.numel()
            if not crowded:
                seen.add(places, first, by_group)
            if crowded or len(seen) >= len(part) * self._best.k:
                self._best.merge(part.rows.start, self._hits(part, held, seen, bars, limit))
                seen = _Seen()
                if crowded:
                    self._best.merge(part.rows.start, self._crowded(part, held, block))
                bars, limit = self._bars(part, held)
        self._best.merge(part.rows.start, self._hits(part, held, seen, bars, limit))

    def _bars(self, part: _Part, held: _Held) -> tuple[Tensor, Tensor]:
        """What scores must exceed now, `[q]`, and their products as computed, `[q, groups]`."""
        bars = self._best.bars(part.rows)
        if part.rounded is None or held.rounded is None:
            return bars, bars[:, None].expand(-1, len(held.vectors) // GROUP)
        return bars, limits(bars, part.rounded, held.rounded)

    def _hits(
        self, part: _Part, held: _Held, seen: _Seen, bars: Tensor, limit: Tensor
    ) -> Iterator[Hits]:
        """Pairs of the groups seen whose score is above the bar."""
        if not len(seen):
            return
        rows, groups, near = seen.all()
        inside = _where(near > limit[rows, groups][:, None])
        for start in range(0, len(inside), _PAIRS):
            at = inside[start : start + _PAIRS]
            pair = at // GROUP
            row, reference = rows[pair], groups[pair] * GROUP + at % GROUP
            if held.rounded is None:
                scores = near.view(-1)[at]
            else:
                scores = (part.vectors[row] * held.vectors[reference]).sum(1)
            columns = held.columns[reference]
            kept = (scores > bars[row]) & (columns >= 0)
            if self._own is not None:
                kept &= columns != self._own[part.rows][row]
            kept = _where(kept)
            yield Hits(row[kept], columns[kept], scores[kept])

    def _crowded(self, part: _Part, held: _Held, block: slice) -> Iterator[Hits]:
        """The `k` best of a block, and what is as near as the last of them."""
        columns = held.columns[block]
        columns = columns[columns >= 0]
        scores = part.vectors @ held.vectors[block][: len(columns)].T
        if self._best.shared:
            columns, place = torch.unique(columns, return_inverse=True)
            best = scores.new_full((len(part), len(columns)), -math.inf)
            scores = best.scatter_reduce_(1, place.expand(len(part), -1), scores, "amax")
        if self._own is not None:
            scores.masked_fill_(self._own[part.rows][:, None] == columns, -math.inf)
        least = scores.topk(min(self._best.k, len(columns)), dim=1).values[:, -1:]
        bars = self._best.bars(part.rows)[:, None]
        rows, at = ((scores >= least) & (scores > bars)).nonzero(as_tuple=True)
        yield Hits(rows, columns[at], scores[rows, at])


class _Part:
    """Queries that are compared together; `rows` of all."""

    def __init__(self, vectors: Tensor, start: int, dtype: torch.dtype) -> None:
        self.vectors = vectors
        self.rows = slice(start, start + len(vectors))
        self.rounded = None if dtype is torch.float32 else rounded(vectors, dtype, 1)

    def __len__(self) -> int:
        return len(self.vectors)

    def products(self, held: _Held, block: slice, out: Tensor) -> Tensor:
        """Products with a block of the held references, in the precision of both."""
        if self.rounded is None or held.rounded is None:
            return products(self.vectors, held.vectors[block], out)
        return products(self.rounded.values, held.rounded.values[block], out)


class _Held:
    """References on the device, filled up to whole groups with zeros whose column is -1."""

    def __init__(self, vectors: Tensor, columns: Tensor, dtype: torch.dtype) -> None:
        missing = -len(vectors) % GROUP
        if missing:
            vectors = torch.nn.functional.pad(vectors, (0, 0, 0, missing))
            columns = torch.nn.functional.pad(columns, (0, missing), value=-1)
        self.vectors, self.columns = vectors, columns
        self.rounded: Rounded | None = None
        if dtype is not torch.float32:
            self.rounded = rounded(vectors, dtype, GROUP)


class _Seen:
    """Groups of references in which a query may have a hit, with their products."""

    def __init__(self) -> None:
        self._found: list[tuple[Tensor, Tensor, Tensor]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, places: Tensor, first: int, by_group: Tensor) -> None:
        """Take the groups at `places` of products `[q, groups, GROUP]` from group `first` on."""
        if not len(places):
            return
        width = by_group.shape[1]
        near = by_group.reshape(-1, GROUP)[places]
        self._found.append((places // width, first + places % width, near))
        self._count += len(places)

    def all(self) -> tuple[Tensor, Tensor, Tensor]:
        """Rows and groups `[m]`, and products `[m, GROUP]`."""
        rows, groups, near = zip(*self._found, strict=True)
        return torch.cat(rows), torch.cat(groups), torch.cat(near)


def nearest_others(
    vectors: npt.NDArray[Any],
    floor: float,
    k: int,
    *,
    precision: str = "auto",
    device: torch.device | None = None,
    blocks: Blocks | None = None,
    queries: int = _QUERY_ROWS,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Neighbours:
    """The `k` nearest others of each vector with a cosine of at least `floor`; exact.

    Args:
        vectors: float32 or float16 `[n, d]`, unit length; may be mapped from a file.
        precision, device, blocks: as of `Nearest`.
        queries: how many go over all vectors together.
        on_progress: called with the number of vectors that are done.
    """
    found: list[Neighbours] = []
    names = np.arange(len(vectors), dtype=np.int64)
    for start in range(0, len(vectors), queries):
        part = np.asarray(vectors[start : start + queries], np.float32)
        own = names[start : start + queries]
        search = Nearest(
            part, k, floor=floor, own=own, precision=precision, device=device, blocks=blocks
        )
        search.add(vectors, names)
        mine = search.result()
        found.append(Neighbours(mine.rows + start, mine.columns, mine.scores))
        on_progress(start + len(part))
    if not found:
        return Neighbours(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    return Neighbours(
        np.concatenate([one.rows for one in found]),
        np.concatenate([one.columns for one in found]),
        np.concatenate([one.scores for one in found]),
    )


def _parts(queries: Tensor, most: int, dtype: torch.dtype) -> list[_Part]:
    """Even parts of at most so many queries: a short last one would be slow, or too short."""
    count = -(-len(queries) // most)
    ends = [len(queries) * i // count for i in range(count + 1)] if count else []
    return [_Part(queries[a:b], a, dtype) for a, b in pairwise(ends)]


def _where(hits: Tensor) -> Tensor:
    """Places of the true values, row after row, int64 `[m]`; few are expected."""
    if hits.device.type == "cpu":  # seven times as fast as torch's
        return torch.from_numpy(np.flatnonzero(hits.numpy()))
    return hits.reshape(-1).nonzero().squeeze(1)


def _on(device: torch.device, array: npt.NDArray[Any]) -> Tensor:
    ready = np.ascontiguousarray(array)
    if not ready.flags.writeable:  # mapped from a file; torch would warn
        ready = ready.copy()
    return torch.from_numpy(ready).to(device)
