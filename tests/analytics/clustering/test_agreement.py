"""Pairwise F, BCubed and NMI against scikit-learn and against counting."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score, pair_confusion_matrix

from facecore.analytics.clustering.agreement import agreement
from facecore.errors import ShapeError


@pytest.mark.parametrize("seed", range(4))
def test_as_counted_and_as_scikit_learn_says(seed):
    rng = np.random.default_rng(seed)
    people, clusters = rng.integers(0, 9, 60), rng.integers(0, 7, 60)
    found = agreement(people, clusters)
    (_, wrong), (missed, right) = pair_confusion_matrix(people, clusters)
    assert found.pair_precision == pytest.approx(right / (right + wrong))
    assert found.pair_recall == pytest.approx(right / (right + missed))
    assert found.nmi == pytest.approx(normalized_mutual_info_score(people, clusters))
    together = sum(
        people[a] == people[b] and clusters[a] == clusters[b] for a, b in combinations(range(60), 2)
    )
    assert together == right / 2
    same = clusters[:, None] == clusters[None]
    alike = people[:, None] == people[None]
    assert found.bcubed_precision == pytest.approx(((same & alike).sum(1) / same.sum(1)).mean())
    assert found.bcubed_recall == pytest.approx(((same & alike).sum(1) / alike.sum(1)).mean())


def test_perfect_and_names_do_not_matter():
    found = agreement(np.array(["a", "a", "b"]), np.array([7, 7, -1]))
    values = (found.pair_f, found.bcubed_f, found.nmi)
    assert values == pytest.approx((1, 1, 1))
    assert (found.clusters, found.people) == (2, 2)


@pytest.mark.parametrize("count", [1, 5])
def test_everybody_once_or_one_person_on_all_is_no_division_by_zero(count):
    once, all_one = np.arange(count), np.zeros(count, int)
    for people, clusters in [(once, once), (all_one, all_one), (once, all_one), (all_one, once)]:
        found = agreement(people, clusters)
        values = np.array([found.pair_f, found.bcubed_f, found.nmi])
        assert np.isfinite(values).all()
        assert (values >= 0).all()
        assert (values <= 1 + 1e-12).all()
        assert (found.pair_f == 1) == (count == 1 or people is clusters)


def test_labels_must_belong_together():
    for people, clusters in [(np.arange(3), np.arange(2)), (np.arange(0), np.arange(0))]:
        with pytest.raises(ShapeError):
            agreement(people, clusters)
