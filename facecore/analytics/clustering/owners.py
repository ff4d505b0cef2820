"""Whose a community is: what humans said, then what held before, else somebody new.

A full pass finds communities from scratch; people keep their ids through it by these rules:

- a face that a human gave to somebody makes its community theirs;
- a person a human decided about (named, merged, split) owns the community with most of their
  faces, of the sure ones if there are any, and each one where at least half of the faces with an
  owner are theirs: they are never dissolved, and never made one with another such person;
- a face says nothing for somebody that a human ruled out for it;
- an enrolled person owns a community of which at least half matched their pictures;
- everybody else keeps their id where most of their faces are, one community each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from facecore.analytics.clustering.belonging import NOBODY, Forbidden
from facecore.stages.neighbours import Ints

Bools = npt.NDArray[np.bool_]
Owners = dict[int, list[int]]

_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of `n` faces before a pass.

    Attributes:
        fixed: int64 `[n]`: whose each face is by a human's word or a match with the gallery;
            clustering does not touch it. `NOBODY`: unknown.
        confirmed: bool `[n]`: whether that is a human's word.
        prior: int64 `[n]`: to whom clustering gave it before.
        unsure: bool `[n]`: whether that waits for a human.
        good: bool `[n]`: whether the crop is good enough to found a person.
        forbidden: row → people it is not, by a human's word.
        required: pairs of rows that are one person, by a human's word.
        decided: people whom a human named or decided about.
        enrolled: those of them who have pictures in the gallery.
    """

    fixed: Ints
    confirmed: Bools
    prior: Ints
    unsure: Bools
    good: Bools
    forbidden: Forbidden = field(default_factory=dict)
    required: Sequence[tuple[int, int]] = ()
    decided: AbstractSet[int] = frozenset()
    enrolled: AbstractSet[int] = frozenset()

    def __len__(self) -> int:
        return len(self.fixed)

    @property
    def settled(self) -> Ints:
        """To whom clustering gave each face for sure, int64 `[n]`."""
        return np.asarray(np.where(self.unsure, NOBODY, self.prior))

    @property
    def free(self) -> Bools:
        """Whether clustering may say whose each face is."""
        return np.asarray(self.fixed == NOBODY)


def with_required(labels: Ints, known: Known) -> Ints:
    """Communities, int64 `[n]` (-1: none), with those joined that a human said are one person."""
    pairs = [(a, b) for a, b in known.required if labels[a] >= 0 and labels[b] >= 0]
    if not pairs:
        return labels
    from scipy.sparse import coo_matrix  # type: ignore[import-untyped]
    from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

    left, right = (labels[list(side)] for side in zip(*pairs, strict=True))
    count = int(labels.max()) + 1
    graph = coo_matrix((np.ones(len(left)), (left, right)), (count, count))
    _, joined = connected_components(graph, directed=False)
    return np.asarray(np.where(labels >= 0, joined[labels], -1), np.int64)


def owners(labels: Ints, known: Known) -> tuple[Ints, Owners]:
    """Owners of each community that has any: people of old, or one new one (negative numbers).

    Faces that a human ruled out for all owners of their community form another one beside it.

    Returns:
        Communities after that, int64 `[n]`, and community → owners, more than one where several
        people whom humans decided about look alike.
    """
    labels = labels.copy()
    for _ in range(_ROUNDS):
        found = _old_owners(labels, known)
        outcasts = _outcasts(labels, known, found)
        if not outcasts:
            break
        labels[outcasts] += int(labels.max()) + 1
        labels = _compact(labels)
    else:
        labels[_outcasts(labels, known, _old_owners(labels, known))] = -1
        found = _old_owners(labels, known)
    return labels, _with_new(labels, known, found)


def _outcasts(labels: Ints, known: Known, found: Owners) -> list[int]:
    """Faces that a human ruled out for all owners of their community."""
    return [
        row
        for row, ruled_out in known.forbidden.items()
        if labels[row] >= 0
        and known.fixed[row] == NOBODY
        and found.get(int(labels[row]))
        and ruled_out >= set(found[int(labels[row])])
    ]


def _old_owners(labels: Ints, known: Known) -> Owners:
    inside = labels >= 0
    sizes = np.bincount(labels[inside]) if inside.any() else np.zeros(0, np.int64)
    confirmed = _votes(labels, known.fixed, inside & known.confirmed)
    matched = _votes(labels, known.fixed, inside & ~known.confirmed & ~known.free)
    before = _votes(labels, _allowed(known.prior, known.forbidden), inside & known.free)
    surely = _votes(labels, _allowed(known.settled, known.forbidden), inside & known.free)
    lived: dict[tuple[int, int], int] = defaultdict(int)
    voters: dict[int, int] = defaultdict(int)
    for votes in (confirmed, before):
        for (community, person), count in votes.items():
            lived[community, person] += count
            voters[community] += count
    ranked = sorted(lived, key=lambda key: (-lived[key], *key))
    # What waits for a human may be shared out to others; so home is where the sure faces are.
    sure = {key: confirmed.get(key, 0) + surely.get(key, 0) for key in ranked}
    home: dict[int, int] = {}
    for community, person in sorted(ranked, key=lambda key: -sure[key]):
        home.setdefault(person, community)
    found: dict[int, set[int]] = defaultdict(set)
    for community, person in confirmed:
        found[community].add(person)
    for community, person in ranked:
        most = 2 * lived[community, person] >= voters[community]
        if person in known.decided and (home[person] == community or most):
            found[community].add(person)
    for (community, person), count in matched.items():
        if 2 * count >= sizes[community]:
            found[community].add(person)
    taken: set[int] = set()
    for community, person in ranked:
        if person not in known.decided and person not in taken and community not in found:
            found[community].add(person)
            taken.add(person)
    return {community: sorted(people) for community, people in found.items()}


def _with_new(labels: Ints, known: Known, found: Owners) -> Owners:
    """Somebody new for each community that is nobody's and has two faces that are good enough;
    and nobody for what is left of people that nobody decided about."""
    inside = (labels >= 0) & known.free & known.good
    members = np.bincount(labels[inside], minlength=int(labels.max(initial=-1)) + 1)
    lasting = {
        community: people
        for community, people in found.items()
        if members[community] > 1 or len(people) > 1 or people[0] in known.decided
    }
    fresh = [int(c) for c in np.flatnonzero(members > 1) if int(c) not in lasting]
    return lasting | {community: [-1 - place] for place, community in enumerate(fresh)}


def _allowed(people: Ints, forbidden: Forbidden) -> Ints:
    """Whose each face is, without what a human ruled out."""
    allowed = people.copy()
    for row, ruled_out in forbidden.items():
        if int(people[row]) in ruled_out:
            allowed[row] = NOBODY
    return allowed


def _votes(labels: Ints, people: Ints, rows: Bools) -> dict[tuple[int, int], int]:
    """(community, person) → faces, of the rows given."""
    chosen = rows & (people != NOBODY)
    if not chosen.any():
        return {}
    keys, counts = np.unique(
        np.stack([labels[chosen], people[chosen]], axis=1), axis=0, return_counts=True
    )
    return {
        (int(community), int(person)): int(count)
        for (community, person), count in zip(keys, counts, strict=True)
    }


def _compact(labels: Ints) -> Ints:
    numbers = np.unique(labels[labels >= 0])
    return np.asarray(np.where(labels >= 0, np.searchsorted(numbers, labels.clip(0)), -1), np.int64)
