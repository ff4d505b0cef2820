import math

import numpy as np
import pytest

from facecore.errors import ShapeError
from facecore.stages.identify import best_people, identify, matches
from facecore.types import Outcome


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def at(degrees):
    return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]


GALLERY = unit([at(0), at(80), at(90), at(180)])
PEOPLE, LABELS = [7, 9, 7, 3], ["Ada", "Bob", "Ada", "Cyd"]


def ask(degrees, **options):
    (match,) = identify(unit([at(degrees)]), GALLERY, PEOPLE, LABELS, threshold=0.5, **options)
    return match


def test_the_best_face_of_each_person_counts():
    match = ask(10)
    assert (match.person_id, match.label, match.outcome) == (7, "Ada", Outcome.ACCEPT)
    assert match.score == pytest.approx(math.cos(math.radians(10)), abs=1e-6)
    second = math.cos(math.radians(70))  # Bob; Ada's other face at 80° does not compete
    assert match.margin == pytest.approx(match.score - second, abs=1e-6)
    assert [label for _, label, _ in match.candidates] == ["Ada", "Bob", "Cyd"]


def test_a_close_rival_asks_for_a_human():
    assert ask(86, review_margin=0.01).outcome is Outcome.REVIEW
    assert ask(86, review_margin=0.0).outcome is Outcome.ACCEPT
    assert ask(86).label == "Ada"


def test_below_the_threshold_nobody_is_named_but_the_best_is_told():
    match = ask(290)
    assert match.outcome is Outcome.UNKNOWN
    assert match.person_id == 7
    assert match.threshold == 0.5


def test_the_threshold_itself_accepts():
    (match,) = identify(GALLERY[:1], GALLERY[:1], [1], ["x"], threshold=1.0)
    assert match.outcome is Outcome.ACCEPT
    assert match.margin == math.inf
    assert match.candidates == ((1, "x", 1.0),)


def test_top_k_limits_the_candidates_not_the_margin():
    match = ask(10, top_k=1)
    assert len(match.candidates) == 1
    assert match.margin < 1


def test_an_empty_gallery_knows_nobody():
    empty = np.zeros((0, 2), np.float32)
    (match,) = identify(unit([at(0)]), empty, [], [], threshold=0.5)
    assert (match.outcome, match.person_id, match.label) == (Outcome.UNKNOWN, None, None)
    assert identify(empty, GALLERY, PEOPLE, LABELS, threshold=0.5) == []


def test_every_person_is_judged_by_their_best_face():
    rng = np.random.default_rng(1)
    probes, gallery = unit(rng.normal(size=(37, 16))), unit(rng.normal(size=(200, 16)))
    people = rng.integers(100, 130, 200)
    labels = [f"p{i}" for i in people]
    scores = probes @ gallery.T
    known = np.unique(people)
    best = np.stack([scores[:, people == p].max(1) for p in known], 1)
    for row, match in zip(
        best, identify(probes, gallery, people.tolist(), labels, threshold=0.3), strict=True
    ):
        order = np.argsort(-row)
        assert [p for p, _, _ in match.candidates] == known[order[:5]].tolist()
        assert match.label == f"p{known[order[0]]}"
        assert match.score == pytest.approx(row[order[0]], abs=1e-6)
        assert match.margin == pytest.approx(row[order[0]] - row[order[1]], abs=1e-6)


def test_arrays_that_do_not_belong_together():
    with pytest.raises(ShapeError, match="one person"):
        identify(GALLERY, GALLERY, [1], ["x"], threshold=0.5)
    with pytest.raises(ShapeError):
        identify(np.ones((1, 3), np.float32), GALLERY, PEOPLE, LABELS, threshold=0.5)


def test_a_gallery_in_blocks_and_people_who_are_ruled_out():
    blocks = [(np.array(PEOPLE[:2]), GALLERY[:2]), (np.array(PEOPLE[2:]), GALLERY[2:])]
    probes = unit([at(5), at(85), at(5)])
    found = best_people(probes, blocks, 3)
    labels = dict(zip(PEOPLE, LABELS, strict=True))
    said = matches(found, 3, labels, threshold=0.5, top_k=2, ruled_out={2: {7}})
    assert [match.label for match in said] == ["Ada", "Bob", "Bob"]
    assert [len(match.candidates) for match in said] == [2, 2, 2]
    assert said[2].outcome is Outcome.UNKNOWN  # Bob is 75° away
    alone = matches(found, 3, labels, threshold=0.5, ruled_out={0: {3, 7, 9}})
    assert (alone[0].outcome, alone[0].person_id) == (Outcome.UNKNOWN, None)
