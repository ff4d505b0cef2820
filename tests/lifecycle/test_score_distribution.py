import numpy as np
import pytest

from facecore.lifecycle.score_distribution import (
    ImpostorScores,
    ScoredPairs,
    cross_identity_scores,
    genuine_scores,
)


def faces(n=500, people=60, d=16, seed=0):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, d)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, rng.integers(0, people, n)


@pytest.mark.parametrize("tile", [7, 128, 1000])
def test_tiles_give_every_pair_of_two_people_once(tile):
    vectors, people = faces()
    left, right = np.triu_indices(len(vectors), 1)
    different = people[left] != people[right]
    expected = (vectors @ vectors.T)[left, right][different]

    found = list(cross_identity_scores(vectors, people, tile=tile))

    scores = np.concatenate([p.scores for p in found])
    assert all((p.left != p.right).all() for p in found)
    np.testing.assert_allclose(np.sort(scores), np.sort(expected), atol=1e-6)


def test_histogram_and_tail_agree_with_the_sorted_scores():
    vectors, people = faces()
    streamed = ImpostorScores(keep=1000)
    parts = list(cross_identity_scores(vectors, people, tile=50))
    for part in parts:
        streamed.add(part)
    everything = np.sort(np.concatenate([p.scores for p in parts]))[::-1]

    assert streamed.total == len(everything)
    tail = streamed.tail()
    np.testing.assert_array_equal(tail.scores, everything[:1000])
    assert (tail.left != tail.right).all()
    for rate in (1e-1, 1e-2, 1e-3, 1e-4):
        threshold = streamed.threshold(rate)
        accepted = int((everything >= threshold).sum())
        assert accepted <= streamed.accepted(threshold) <= rate * len(everything)
        one_bin_lower = int((everything >= threshold - 2e-4).sum())
        assert one_bin_lower > rate * len(everything) or threshold == -1.0


def test_memory_stays_bounded():
    streamed = ImpostorScores(keep=100)
    rng = np.random.default_rng(0)
    people = np.zeros(1000, np.int64)
    for _ in range(50):
        part = ScoredPairs(rng.uniform(-1, 1, 1000).astype(np.float32), people, people + 1)
        streamed.add(part)
        assert streamed._held <= 200 + 1000

    assert streamed.total == 50_000
    assert len(streamed.tail()) == 100


def test_genuine_pairs_are_all_pairs_of_one_person_up_to_the_limit():
    vectors, people = faces()
    left, right = np.triu_indices(len(vectors), 1)
    same = people[left] == people[right]

    found = genuine_scores(vectors, people, per_person=10**6)

    np.testing.assert_allclose(
        np.sort(found.scores), np.sort((vectors @ vectors.T)[left, right][same]), atol=1e-6
    )
    limited = genuine_scores(vectors, people, per_person=5)
    assert np.bincount(limited.left).max() == 5
    assert (limited.left == limited.right).all()


def test_scores_at_the_ends_of_the_range_are_counted():
    people = np.zeros(3, np.int64)
    streamed = ImpostorScores()
    streamed.add(ScoredPairs(np.array([-1.0, 1.0, 1.0000002], np.float32), people, people + 1))

    assert streamed.total == 3
    assert streamed.accepted(1.0) == 2
    assert streamed.accepted(-1.0) == 3
