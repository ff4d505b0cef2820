"""Communities of a neighbour graph; fragments; what a calibration says."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch

from facecore.analytics.clustering.communities import communities, join_fragments
from facecore.analytics.clustering.evidence import Evidence
from facecore.errors import UsageError
from facecore.stages.nearest import nearest_others
from facecore.stages.neighbours import Neighbours


def test_one_person_on_every_picture_keeps_k_pairs_each(made):
    vectors = made.unit(np.ones((3000, 8)) + np.random.default_rng(0).normal(size=(3000, 8)) * 1e-3)
    found = nearest_others(vectors, 0.5, 10)
    assert np.bincount(found.rows, minlength=3000).tolist() == [10] * 3000
    assert not (found.rows == found.columns).any()
    labels = communities(3000, found, made.evidence)
    assert len(np.unique(join_fragments(vectors, labels, made.evidence))) == 1


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_faces(made, count):
    vectors = made.unit(np.eye(3)[:count] + 0.0) if count else np.zeros((0, 3), np.float32)
    found = nearest_others(vectors, 0.5, 4)
    assert len(found) == 0
    labels = communities(count, found, made.evidence)
    assert labels.tolist() == list(range(count))
    assert join_fragments(vectors, labels, made.evidence).tolist() == list(range(count))


def test_people_are_found_and_strangers_stay_alone(made):
    vectors, owner = made.people([1] * 50 + [2] * 20 + [12] * 8 + [90])
    labels = communities(len(owner), nearest_others(vectors, 0.4, 20), made.evidence)
    assert made.same_groups(join_fragments(vectors, labels, made.evidence), owner)


@pytest.mark.parametrize(("similar", "expected"), [(0.6, [0, 0, 1, 1, 0]), (0.9, [0, 0, 1, 1, 1])])
def test_votes_weigh_what_their_own_links_say(made, similar, expected):
    """Two people of two faces, and a face between them, in every order."""
    links = {(0, 1): 0.9, (2, 3): 0.9, (4, 0): 0.51, (4, 1): 0.51, (4, 2): similar}
    both = {**links, **{(b, a): score for (a, b), score in links.items()}}
    for order in permutations(range(5)):
        ends = np.array(order)[np.array(list(both)).T]
        pairs = Neighbours(*ends, np.array(list(both.values()), np.float32))
        found = communities(5, pairs, made.evidence)[list(order)]
        assert made.same_groups(found, np.array(expected)), order


def test_other_work_keeps_its_threads(made):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        vectors, owner = made.people([3] * 10)
        communities(len(owner), nearest_others(vectors, 0.4, 20), made.evidence)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("strangers", [1, 20, 5000])
def test_few_who_are_alike_among_many_who_are_not(made, strangers):
    ends = strangers + np.array([[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]])
    pairs = Neighbours(*ends, np.array([0.65, 0.61, 0.65, 0.7, 0.61, 0.7], np.float32))
    found = communities(strangers + 3, pairs, made.evidence)
    assert found.tolist() == [*range(strangers), strangers, strangers, strangers]


def test_the_order_of_the_faces_does_not_matter(made):
    vectors, owner = made.people([1] * 50 + [2] * 20 + [12] * 8 + [90])
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(owner))
        pairs = nearest_others(vectors[order], 0.4, 20)
        labels = communities(len(owner), pairs, made.evidence)
        joined = join_fragments(vectors[order], labels, made.evidence)
        assert made.same_groups(joined, owner[order])


def test_fragments_of_a_person_are_joined_but_not_two_people(made):
    vectors, owner = made.people([20, 20])
    halves = owner * 2 + np.arange(40) % 2  # as if the graph had missed what links them
    assert made.same_groups(join_fragments(vectors, halves, made.evidence), owner)
    nobody = halves.copy()
    nobody[:4] = -1
    joined = join_fragments(vectors, nobody, made.evidence)
    assert (joined[:4] == -1).all()
    assert made.same_groups(joined[4:], owner[4:])
    assert join_fragments(vectors, np.full(40, -1), made.evidence).tolist() == [-1] * 40


def test_weights_are_decades_of_false_matches(made):
    weights = made.evidence.weight(np.array([0.36, 0.46, 0.5, 0.54, 0.1], np.float32))
    assert np.allclose(weights, [3, 5, 6, 7, 1], atol=1e-4)
    one = Evidence.from_table([(0.01, 0.3)], edge=0.3, fragment=0.2, review_margin=0.0)
    assert np.isfinite(one.weight(np.array([0.1, 0.9], np.float32))).all()


def test_groups_need_less_the_more_pairs_there_are(made):
    needed = made.evidence.needed(np.array([1, 1, 10]), np.array([1, 4, 10]))
    assert np.allclose(needed, [0.5, 0.425, 0.401])


def test_a_calibration_that_is_none_is_refused():
    for table in ([], [(1e-3, 0.4), (1e-2, 0.5)], [(1e-2, 0.5), (1e-3, 0.4)]):
        with pytest.raises(UsageError, match="rates that fall"):
            Evidence.from_table(table, edge=0.5, fragment=0.4, review_margin=0.05)
    with pytest.raises(UsageError, match="groups cannot need more"):
        Evidence(0.4, 0.5, 0.05, (0.3,), (0.1,))
