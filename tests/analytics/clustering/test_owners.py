"""Whose communities are, whatever humans and earlier passes said."""

from __future__ import annotations

import numpy as np

from facecore.analytics.clustering.belonging import ambiguous, belonging
from facecore.analytics.clustering.joining import join
from facecore.analytics.clustering.owners import Known, owners, with_required
from facecore.analytics.clustering.settling import group, settle
from facecore.stages.nearest import nearest_others
from facecore.stages.neighbours import Neighbours


def known(count, **changes):
    values = {
        "fixed": np.zeros(count, np.int64),
        "confirmed": np.zeros(count, np.bool_),
        "prior": np.zeros(count, np.int64),
        "unsure": np.zeros(count, np.bool_),
        "good": np.ones(count, np.bool_),
    }
    made = {
        name: np.array(value, values[name].dtype) if name in values else value
        for name, value in changes.items()
    }
    return Known(**{**values, **made})


def labels(*values):
    return np.array(values, np.int64)


def test_new_people_need_two_good_faces():
    found, whose = owners(labels(0, 0, 1, 2, 2), known(5, good=[1, 1, 1, 1, 0]))
    assert found.tolist() == [0, 0, 1, 2, 2]
    assert whose == {0: [-1]}


def test_most_faces_keep_the_id_and_one_community_each():
    _, whose = owners(labels(0, 0, 0, 0, 1, 1, 2, 2), known(8, prior=[5, 5, 5, 6, 5, 5, 6, 6]))
    assert whose == {0: [5], 2: [6], 1: [-1]}


def test_a_single_face_left_of_somebody_undecided_is_nobody():
    assert owners(labels(0, 1), known(2, prior=[5, 6], decided={6}))[1] == {1: [6]}


def test_people_whom_humans_decided_about_keep_home_and_halves():
    # 5 has most faces in 0, where 6 has more; and half of 1. 6 was never decided about.
    prior = [5, 5, 5, 6, 6, 6, 6, 5, 5, 6, 6]
    _, whose = owners(labels(0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1), known(11, prior=prior, decided={5}))
    assert whose == {0: [5], 1: [5]}
    _, whose = owners(
        labels(0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1), known(11, prior=prior, decided={5, 6})
    )
    assert whose == {0: [5, 6], 1: [5, 6]}


def test_home_is_where_the_sure_faces_are(made):
    # Two faces of 5 in community 0 wait for a human; the one that is sure is in 1, 6's home.
    prior, unsure = [5, 5, 6, 6, 6, 5, 6, 6, 6, 6], [1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    before = known(10, prior=prior, unsure=unsure, decided={5, 6})
    found = labels(0, 0, 0, 0, 0, 1, 1, 1, 1, 1)
    assert owners(found, before)[1] == {0: [6], 1: [5, 6]}
    alone = nearest_others(np.eye(10, dtype=np.float32), made.evidence.fragment, 5)
    assert settle(found, alone, before, made.evidence).people[5] == 5


def test_a_humans_word_makes_the_community_theirs_and_a_lone_match_does_not():
    fixed = [9, 0, 0, 0]
    assert owners(labels(0, 0, 0, 0), known(4, fixed=fixed, decided={9}))[1] == {0: [-1]}
    confirmed = known(4, fixed=fixed, confirmed=[1, 0, 0, 0], decided={9})
    assert owners(labels(0, 0, 0, 0), confirmed)[1] == {0: [9]}
    half = known(4, fixed=[9, 9, 0, 0], decided={9})
    assert owners(labels(0, 0, 0, 0), half)[1] == {0: [9]}


def test_outcasts_are_somebody_else_together():
    found, whose = owners(
        labels(0, 0, 0, 0, 0), known(5, prior=[5, 5, 5, 0, 0], forbidden={3: {5}, 4: {5}})
    )
    assert found[:3].tolist() == [0, 0, 0]
    assert found[3] == found[4] != 0
    assert whose == {0: [5], int(found[3]): [-1]}


def test_faces_do_not_speak_for_somebody_they_are_not():
    found, whose = owners(
        labels(0, 0, 0, 1), known(4, prior=[5, 5, 0, 5], decided={5}, forbidden={0: {5}, 1: {5}})
    )
    assert found.tolist() == [0, 0, 0, 1]
    assert whose == {0: [-1], 1: [5]}


def test_only_those_left_without_a_community_are_nobodys():
    # Each of the rows 3 to 9 is cast out by one owner more than the one before.
    prior = [1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 0]
    forbidden = {row: set(range(1, row - 1)) for row in range(3, 10)} | {12: {1}}
    found, whose = owners(
        labels(*[0] * 10, 1, 1, 1), known(13, prior=prior, decided={9}, forbidden=forbidden)
    )
    assert (found[8:10] == -1).all()
    assert (found[:8] >= 0).all()
    assert found[12] == found[10]
    assert whose[int(found[12])] == [9]


def test_required_pairs_are_one_community():
    joined = with_required(labels(0, 1, 2, -1), known(4, required=[(0, 2), (1, 3)]))
    assert joined[0] == joined[2] != joined[1]
    assert joined[3] == -1


def test_a_full_pass_finds_people_and_says_the_same_again(made):
    vectors, owner = made.people([1] * 20 + [5] * 6)
    pairs = nearest_others(vectors, made.evidence.fragment, 20)
    nothing = known(len(owner))
    found = group(vectors, pairs, nothing.good, made.evidence)
    settled = settle(found, pairs, nothing, made.evidence)
    assert settled.newcomers == 6
    assert (settled.people[:20] == 0).all()
    assert made.same_groups(settled.people[20:], owner[20:])
    assert np.isfinite(settled.scores).all()
    prior = np.where(settled.people < 0, 100 - settled.people, 0)
    again = settle(found, pairs, known(len(owner), prior=prior), made.evidence)
    assert again.people.tolist() == prior.tolist()
    assert again.newcomers == 0


def test_without_faces_a_pass_finds_nobody(made):
    nobody = known(0)
    pairs = nearest_others(np.zeros((0, 4), np.float32), 0.4, 5)
    settled = settle(
        group(np.zeros((0, 4)), pairs, nobody.good, made.evidence), pairs, nobody, made.evidence
    )
    assert (len(settled.people), settled.newcomers) == (0, 0)
    assert join(pairs, nobody, nobody.good, made.evidence).newcomers == 0


def test_two_named_lookalikes_share_a_community_by_who_is_nearer(made):
    rng = np.random.default_rng(1)
    base = rng.normal(size=64)
    left, right = base + rng.normal(size=64) * 0.5, base + rng.normal(size=64) * 0.5
    noise = rng.normal(size=(20, 64)) * 0.15
    vectors = made.unit(np.concatenate([left + noise[:10], right + noise[10:]]))
    pairs = nearest_others(vectors, made.evidence.fragment, 20)
    prior = [5] * 6 + [0] * 4 + [6] * 6 + [0] * 4
    settled = settle(
        np.zeros(20, np.int64), pairs, known(20, prior=prior, decided={5, 6}), made.evidence
    )
    assert settled.people.tolist() == [5] * 10 + [6] * 10
    assert not settled.review[[*range(6), *range(10, 16)]].any()


def test_one_chance_resemblance_to_many_faces_says_little(made):
    pairs = Neighbours(np.array([0, 0]), np.array([1, 5]), np.array([0.6, 0.55], np.float32))
    whose = np.array([0, 7, 7, 7, 7, 8])
    found = belonging(pairs, whose, made.evidence, {}, np.zeros(6, np.int64))
    assert found.people.tolist() == [8, 7]
    assert np.allclose(found.scores, [0.55, (0.6 + 2 * 0.4) / 3])
    assert not len(belonging(pairs, whose, made.evidence, {0: {7, 8}}, np.zeros(6, np.int64)).rows)
    assert not ambiguous(found, np.array([8]), made.evidence).any()
    close = Neighbours(np.array([0, 0]), np.array([1, 2]), np.array([0.6, 0.58], np.float32))
    both = belonging(close, np.array([0, 7, 8]), made.evidence, {}, np.zeros(3, np.int64))
    assert ambiguous(both, np.array([7]), made.evidence).all()


def test_joining_moves_nobody_and_needs_somebody_new(made):
    vectors, owner = made.people([6, 6, 2])
    settled_before = np.where(owner < 2, owner + 50, 0)
    new = np.zeros(len(owner), np.bool_)
    new[[5, 13]] = True
    prior = np.where(new, 0, settled_before)
    prior[0] = 51  # wrong, but settled
    pairs = nearest_others(vectors, made.evidence.fragment, 20)
    rows = new[pairs.rows]
    of_new = Neighbours(pairs.rows[rows], pairs.columns[rows], pairs.scores[rows])
    found = join(of_new, known(len(owner), prior=prior), new, made.evidence)
    assert found.people[0] == 51
    assert found.people[5] == 50
    assert found.people[12] == found.people[13] == -1  # the older one was nobody's
    assert (found.people[6:12] == 51).all()
    none_new = join(of_new, known(len(owner), prior=prior), np.zeros_like(new), made.evidence)
    assert none_new.newcomers == 0
