"""Nobody is in two splits, whatever the names, shares, seeds and folds."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facecore.errors import UsageError
from facecore.lifecycle.datasets.lfw import FoldSplits
from facecore.lifecycle.datasets.splits import SPLITS, SplitPlan, require_splits, together
from facecore.lifecycle.pairs import FacePair, PairList

NAMES = st.text(min_size=1, max_size=12)
PLANS = st.builds(
    SplitPlan, val=st.floats(0, 0.49), test=st.floats(0, 0.49), seed=st.integers(0, 2**32)
)


@given(plan=PLANS, names=st.sets(NAMES), more=st.sets(NAMES))
def test_a_person_is_in_one_split_and_stays_there_when_others_come(plan, names, more):
    before = {name: plan.of(name) for name in names}
    after = {name: plan.of(name) for name in names | more}
    assert set(after.values()) <= set(SPLITS)
    assert all(after[name] == before[name] for name in names)


def test_shares_are_met_on_average_and_the_seed_changes_who():
    people = [f"person {n}" for n in range(4000)]
    plan, other = SplitPlan(0.1, 0.2), SplitPlan(0.1, 0.2, seed=1)
    chosen = [plan.of(name) for name in people]
    assert chosen.count("test") == pytest.approx(800, abs=90)
    assert chosen.count("val") == pytest.approx(400, abs=70)
    assert chosen != [other.of(name) for name in people]


PERSON = st.text(string.ascii_letters, min_size=1, max_size=3)


@st.composite
def folded(draw):
    """A pair list whose folds may share people, which the real file's do not."""
    folds = draw(st.integers(2, 4))
    people = draw(st.lists(PERSON, min_size=2, max_size=20, unique=True))
    pairs = []
    for fold in range(folds):
        for _ in range(draw(st.integers(1, 4))):
            left, right = draw(st.sampled_from(people)), draw(st.sampled_from(people))
            pairs.append(FacePair(f"{left}/1.jpg", f"{right}/2.jpg", left == right, fold))
    return PairList(folds, tuple(pairs)), people


@given(given=folded(), val=st.floats(0, 0.5), seed=st.integers(0, 99), data=st.data())
def test_people_of_test_folds_are_only_in_test(given, val, seed, data):
    listed, people = given
    test = data.draw(st.integers(1, listed.folds))
    other = [fold for fold in range(1, listed.folds + 1) if fold != test]
    val_folds = data.draw(st.lists(st.sampled_from(other), max_size=1))
    split_of = FoldSplits(listed, [test], val_folds, val=val, seed=seed)
    tested = {
        name
        for pair in listed.pairs
        if pair.fold + 1 == test
        for name in (pair.left_person, pair.right_person)
    }
    for name in people:
        assert (split_of(name) == "test") == (name in tested)
        assert split_of(name) == split_of(name)


def test_names_whose_pictures_are_mixed_up_share_a_split():
    pairs = (
        FacePair("Martha_Bowen/1.jpg", "A/1.jpg", False, 0),
        FacePair("B/1.jpg", "C/1.jpg", False, 1),
    )
    split_of = FoldSplits(PairList(2, pairs), [1])
    assert split_of("Gabrielle_Rose") == split_of("Martha_Bowen") == "test"


@given(st.lists(st.tuples(PERSON, PERSON), max_size=20), st.lists(PERSON, max_size=5))
def test_together_is_an_equivalence(pairs, others):
    root = together(pairs)
    for left, right in pairs:
        assert root(left) == root(right)
    named = {name for pair in pairs for name in pair}
    assert all(root(name) == name for name in others if name not in named)
    assert all(root(root(name)) == root(name) for name in named)


@pytest.mark.parametrize(("val", "test"), [(-0.1, 0.1), (0.5, 0.5), (0.1, 1.1)])
def test_impossible_shares_are_refused(val, test):
    with pytest.raises(UsageError, match="leave something for train"):
        SplitPlan(val, test)


def test_too_few_people_are_refused_with_a_seed_that_would_do():
    groups = {f"p{n}" for n in range(12)}
    plan = next(
        p
        for p in (SplitPlan(0.2, 0.2, seed) for seed in range(100))
        if sum(p.of(g) == "test" for g in groups) < 2
    )
    numbers = {s: sum(plan.of(g) == s for g in groups) for s in SPLITS}
    with pytest.raises(UsageError, match="too few identities") as caught:
        require_splits(numbers, plan, what="the crowd", groups=groups)
    seed = int(caught.value.remedy.split("--seed ")[1].split()[0])
    better = SplitPlan(0.2, 0.2, seed)
    require_splits({s: sum(better.of(g) == s for g in groups) for s in SPLITS}, better, what="x")


@pytest.mark.parametrize(
    ("test", "val", "message"),
    [([], [], "no test fold"), ([3], [], "no fold 3"), ([1], [1], "both test and val")],
)
def test_folds_are_checked(test, val, message):
    listed = PairList(2, (FacePair("A/1.jpg", "B/1.jpg", False, 0),))
    with pytest.raises(UsageError, match=message):
        FoldSplits(listed, test, val)
