"""Neighbours against brute force; communities; fragments; what a calibration says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facecore.analytics.clustering.communities import communities, join_fragments
from facecore.analytics.clustering.evidence import Evidence
from facecore.analytics.clustering.neighbours import NearestAbove, Neighbours, nearest_above
from facecore.errors import ShapeError, UsageError


def as_pairs(found: Neighbours):
    return list(zip(found.rows.tolist(), found.columns.tolist(), strict=True))


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_neighbours_are_those_of_brute_force(made, kind):
    vectors, _ = made.people([7] * 40)
    found = nearest_above(vectors.astype(kind), 0.3, 5)
    scores = vectors.astype(kind).astype(np.float32)
    scores = scores @ scores.T
    np.fill_diagonal(scores, -2)
    for row in range(len(vectors)):
        order = np.argsort(-scores[row], kind="stable")[:5]
        expected = [int(c) for c in order if scores[row, c] >= 0.3]
        mine = found.columns[found.rows == row]
        assert mine.tolist() == expected
        assert np.allclose(found.scores[found.rows == row], scores[row, expected], atol=1e-5)


def test_blocks_make_no_difference(made, monkeypatch):
    from facecore.analytics.clustering import neighbours

    vectors, _ = made.people([9] * 30)
    whole = nearest_above(vectors, 0.4, 6)
    monkeypatch.setattr(neighbours, "_QUERY_ROWS", 37)
    monkeypatch.setattr(neighbours, "_REFERENCE_ROWS", 11)
    parts = nearest_above(vectors, 0.4, 6)
    assert as_pairs(whole) == as_pairs(parts)


def test_one_person_on_every_picture_keeps_k_pairs_each(made):
    vectors = made.unit(np.ones((3000, 8)) + np.random.default_rng(0).normal(size=(3000, 8)) * 1e-3)
    found = nearest_above(vectors, 0.5, 10)
    assert np.bincount(found.rows, minlength=3000).tolist() == [10] * 3000
    assert not (found.rows == found.columns).any()
    labels = communities(3000, found, made.evidence)
    assert len(np.unique(join_fragments(vectors, labels, made.evidence))) == 1


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_faces(made, count):
    vectors = made.unit(np.eye(3)[:count] + 0.0) if count else np.zeros((0, 3), np.float32)
    found = nearest_above(vectors, 0.5, 4)
    assert len(found) == 0
    labels = communities(count, found, made.evidence)
    assert labels.tolist() == list(range(count))
    assert join_fragments(vectors, labels, made.evidence).tolist() == list(range(count))


def test_vectors_that_are_no_vectors_are_refused():
    with pytest.raises(ShapeError):
        NearestAbove(np.array([[np.nan, 1.0]], np.float32), 0.5, 3)
    search = NearestAbove(np.eye(2, dtype=np.float32), 0.5, 3, torch.device("cpu"))
    with pytest.raises(ShapeError):
        search.add(np.eye(3, dtype=np.float32), np.arange(3))


def test_references_may_arrive_in_parts_under_any_name(made):
    vectors, _ = made.people([4, 4])
    search = NearestAbove(vectors[:2], 0.4, 8)
    names = np.arange(8) * 10 + 100
    for start in (0, 3, 6):
        search.add(vectors[start : start + 3], names[start : start + 3], names[:2])
    found = search.result()
    assert found.columns[found.rows == 0].min() >= 100
    assert set(found.columns[found.rows == 0].tolist()) == {110, 120, 130}


def test_people_are_found_and_strangers_stay_alone(made):
    vectors, owner = made.people([1] * 50 + [2] * 20 + [12] * 8 + [90])
    labels = communities(len(owner), nearest_above(vectors, 0.4, 20), made.evidence)
    assert made.same_groups(join_fragments(vectors, labels, made.evidence), owner)


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
