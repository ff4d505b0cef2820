"""Every kind of deviation is seen; a perfect result is perfect."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from facecore.samples.comparison import Comparison, FoundFace, FoundImage, compare, match_boxes
from facecore.samples.ground_truth import ExpectedFace, ExpectedImage, GroundTruth

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
LEFT, RIGHT = (10.0, 10.0, 90.0, 110.0), (210.0, 10.0, 290.0, 110.0)
ANN = ExpectedFace("Ann", LEFT, True, True)
STRANGER = ExpectedFace("Eve", RIGHT, False, True)
TRUTH = GroundTruth(
    "t", 1, 1, "2026-03-04", ("Ann", "Bob"), ("Eve",), (),
    (
        ExpectedImage("a", "a", "lobby", AT, "exif", faces=(ANN, STRANGER)),
        ExpectedImage("a2", "a", "lobby", AT, "exif", faces=(ANN, STRANGER), duplicate_of="a"),
        ExpectedImage("far", "f", "lobby", AT, "exif", faces=(replace(ANN, identifiable=False),)),
        ExpectedImage("bad", "b", "lobby", AT, "key", "quarantined", ("empty",)),
    ),
)  # fmt: skip
BOTH = (FoundFace(RIGHT), FoundFace((14.0, 14.0, 94.0, 114.0), "accept", "Ann"))
PERFECT = {
    "a": FoundImage("a", "extracted", 1, faces=BOTH, captured_at=AT),
    "a2": FoundImage("a2", "extracted", 1, faces=BOTH, captured_at=AT),
    "far": FoundImage("far", "extracted", 2),
    "bad": FoundImage("bad", "quarantined", 3, ("empty", "too_dark")),
}


def changed(**images: FoundImage | None) -> Comparison:
    found = {**PERFECT, **images}
    return compare(TRUTH, [image for image in found.values() if image is not None])


def failed(result: Comparison) -> set[str]:
    return {row.name for row in result.rows if not row.ok}


def test_a_perfect_result() -> None:
    result = changed()
    assert result.ok
    assert result.wrong == ()
    assert (result.recall, result.precision) == (1.0, 1.0)
    assert result.details["faces_found"] == 2


def test_a_missing_object_is_named() -> None:
    result = changed(far=None)
    assert "landing objects taken in (sightings)" in failed(result)
    assert "far" in result.wrong[0]


def test_an_object_nobody_expects_is_named() -> None:
    result = changed(extra=FoundImage("extra", "extracted", 9))
    assert failed(result) == {"distinct images"}
    assert "extra" in result.wrong[0]


def test_a_duplicate_stored_twice_is_seen() -> None:
    assert failed(changed(a2=replace(PERFECT["a2"], image=7))) == {"distinct images"}


def test_quarantine_is_compared_by_image_and_reason() -> None:
    other_reason = changed(bad=FoundImage("bad", "quarantined", 3, ("too_dark",)))
    assert failed(other_reason) == {"  empty"}
    wrongly = changed(a=replace(PERFECT["a"], status="quarantined", reasons=("too_dark",)))
    assert "quarantined" in failed(wrongly)
    assert any("expected extracted, found quarantined" in line for line in wrongly.wrong)
    passed = changed(bad=FoundImage("bad", "extracted", 3))
    assert {"quarantined", "  empty"} <= failed(passed)


def test_a_face_that_was_not_found() -> None:
    result = changed(a=replace(PERFECT["a"], faces=BOTH[:1]))
    assert failed(result) == {"identifiable faces found", "enrolled people named rightly"}
    assert result.recall == 0.0


def test_a_face_where_nobody_is() -> None:
    stray = FoundFace((400.0, 10.0, 450.0, 60.0), "accept", "Bob")
    result = changed(a=replace(PERFECT["a"], faces=(*BOTH, stray)))
    assert failed(result) == {"faces where nobody is", "wrong names"}
    assert result.precision == 0.5


@pytest.mark.parametrize(
    ("label", "rows"),
    [
        ("Ann", {"wrong names", "faces of unknown people given no other's name"}),
        ("Eve", set()),  # only a human can have said so
    ],
)
def test_a_stranger_with_the_name_of_another_is_wrong(label: str, rows: set[str]) -> None:
    named = (FoundFace(RIGHT, "accept", label, 4), BOTH[1])
    found = changed(a=replace(PERFECT["a"], faces=named))
    assert failed(found) - {"unknown people found by clustering"} == rows


SEEN_TWICE = replace(
    TRUTH,
    images=(
        *TRUTH.images,
        ExpectedImage("b", "b2", "lobby", AT, "exif", faces=(ANN, STRANGER)),
        ExpectedImage("c", "c", "lobby", AT, "exif", faces=(STRANGER,)),
    ),
)


def grouped(*persons: int | None, ann: int | None = None) -> Comparison:
    """Eve's three faces in these groups; and one of Ann's in a group, not named."""
    named = FoundFace(LEFT, "accept", "Ann", 1)
    first = replace(named, label=None, person=ann) if ann else named
    eve = [
        FoundFace(RIGHT, "unknown" if person is None else "accept", None, person)
        for person in persons
    ]
    found = {
        **PERFECT,
        "a": replace(PERFECT["a"], faces=(first, eve[0])),
        "b": FoundImage("b", "extracted", 8, faces=(named, eve[1])),
        "c": FoundImage("c", "extracted", 9, faces=(eve[2],)),
    }
    return compare(SEEN_TWICE, found.values())


def test_unknown_people_are_to_be_grouped() -> None:
    assert grouped(4, 4, 4).ok
    assert failed(grouped(None, None, None)) == {
        "unknown people found by clustering", "faces of unknown people in their group",
    }  # fmt: skip
    assert failed(grouped(4, 4, None)) == {"faces of unknown people in their group"}
    assert failed(grouped(4, 4, 5)) == {
        "unknown people found by clustering", "faces of unknown people in their group",
    }  # fmt: skip


def test_a_group_of_two_people_is_seen() -> None:
    mixed = grouped(4, 4, 4, ann=4)
    assert "faces grouped with somebody else's" in failed(mixed)
    assert "wrong names" not in failed(mixed)
    assert any(line.startswith("a at 10, 10, 90, 110: grouped") for line in mixed.wrong)
    stray = replace(
        PERFECT["far"], faces=(FoundFace((400.0, 10.0, 450.0, 60.0), "accept", None, 7),)
    )
    assert {"unknown people found by clustering", "faces grouped with somebody else's"} <= failed(
        changed(far=stray)
    )


def test_the_wrong_name_and_the_undecided_one() -> None:
    wrong = (BOTH[0], replace(BOTH[1], label="Bob"))
    assert {"wrong names"} <= failed(changed(a=replace(PERFECT["a"], faces=wrong)))
    review = (BOTH[0], replace(BOTH[1], outcome="review"))
    result = changed(a=replace(PERFECT["a"], faces=review))
    assert failed(result) == {"enrolled people named rightly"}
    assert result.details["left_for_review"] == 1


def test_nothing_is_expected_of_people_far_away_but_a_wrong_name_counts() -> None:
    right = replace(PERFECT["far"], faces=(BOTH[1],))
    assert changed(far=right).ok
    wrong = replace(PERFECT["far"], faces=(replace(BOTH[1], label="Bob"),))
    assert failed(changed(far=wrong)) == {"wrong names"}


def test_capture_times_are_compared_when_they_are_given() -> None:
    late = replace(PERFECT["a"], captured_at=AT + timedelta(hours=1))
    assert failed(changed(a=late)) == {"capture times right"}
    untold = {key: replace(image, captured_at=None) for key, image in PERFECT.items()}
    assert "capture times right" not in {row.name for row in compare(TRUTH, untold.values()).rows}


def test_boxes_are_paired_one_to_one_by_overlap() -> None:
    assert match_boxes([LEFT, RIGHT], [RIGHT, LEFT]) == {0: 1, 1: 0}
    assert match_boxes([LEFT], [LEFT, LEFT]) == {0: 1}
    assert match_boxes([LEFT], [RIGHT]) == {}
    assert match_boxes([], [LEFT]) == {}


def test_the_readme_shows_these_rows() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    shown = text.split("facecore demo: sample stream", 1)[1].split("```", 1)[0].splitlines()
    rows = {line.split("  ")[0].strip() for line in shown if line.endswith(" ok")}
    assert len(rows) > 10
    assert rows <= {row.name for row in changed().rows}
