"""Expected versus found: how the platform did on a sample set whose truth is known.

Pure functions over plain values, so that the demo's summary and the tests state the same
figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from facecore.samples.ground_truth import Box, ExpectedFace, ExpectedImage, GroundTruth
from facecore.samples.grouping import Groups

_ACCEPTED = "accept"
_MIN_OVERLAP = 0.3  # intersection over union; detectors draw foreheads differently
_MAX_SENTENCES = 50


@dataclass(frozen=True, slots=True)
class FoundFace:
    """One face the platform found.

    Attributes:
        label: the name it gave; None when it gave none.
        person: number of the person it took it for, named or not; None: nobody.
    """

    box: Box
    outcome: str = "unknown"
    label: str | None = None
    person: int | None = None


@dataclass(frozen=True, slots=True)
class FoundImage:
    """What the platform says of one landing object.

    Attributes:
        key: the object key it was delivered under.
        status: stored, accepted, quarantined, extracted.
        image: identity of the stored content (id or digest); equal for exact duplicates.
        reasons: codes of the quarantine.
        faces: those found on it.
        captured_at: capture time in the catalogue, if it is to be compared.
    """

    key: str
    status: str
    image: str | int = ""
    reasons: tuple[str, ...] = ()
    faces: tuple[FoundFace, ...] = ()
    captured_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the comparison. `tolerance` says in words what `ok` demands."""

    name: str
    expected: float
    found: float
    ok: bool
    tolerance: str = "exact"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Expected versus found.

    Attributes:
        rows: one line per figure, for a table.
        wrong: what went wrong, one sentence each (at most 50).
        recall, precision: of naming enrolled people whose faces are identifiable; precision
            counts every name given, whoever it was given to. 1.0 when there was nothing to name.
            That clustering made a person without a name of somebody is not a name.
    """

    rows: tuple[Row, ...]
    wrong: tuple[str, ...]
    recall: float
    precision: float
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Every row is within its tolerance."""
        return all(row.ok for row in self.rows)


def compare(expected: GroundTruth, found: Iterable[FoundImage]) -> Comparison:
    """Hold what was found against the truth.

    A face counts as found when a box overlaps it by at least 0.3 (intersection over union).
    Images that are not in the truth are counted and listed, never ignored.
    """
    by_key = {image.key: image for image in found}
    tally = _Tally(expected.enrolled)
    for image in expected.images:
        tally.delivered(image, by_key.get(image.key))
    known = {image.key for image in expected.images}
    for key in sorted(by_key.keys() - known):
        tally.say("objects", f"{key}: not part of the sample set")
    for image in expected.distinct:
        if (seen := by_key.get(image.key)) is not None and image.status == "extracted":
            tally.faces_of(image, seen)
    return tally.result(expected, by_key)


class _Tally:
    """Counts while walking over the images."""

    def __init__(self, enrolled: Sequence[str]) -> None:
        self._enrolled = frozenset(enrolled)
        self.count: Counter[str] = Counter()
        self.by_reason: Counter[str] = Counter()
        self.groups = Groups()
        self.wrong: list[str] = []

    def say(self, what: str, sentence: str) -> None:
        self.count[f"wrong {what}"] += 1
        if len(self.wrong) < _MAX_SENTENCES:
            self.wrong.append(sentence)

    def delivered(self, image: ExpectedImage, seen: FoundImage | None) -> None:
        if seen is None:
            self.say("objects", f"{image.key}: not in the catalogue")
            return
        self.count["sightings"] += 1
        if seen.captured_at is not None and image.captured_at is not None:
            self.count["times compared"] += 1
            if abs((seen.captured_at - image.captured_at).total_seconds()) < 1:
                self.count["times right"] += 1
            else:
                self.say("times", f"{image.key}: captured {image.captured_at.isoformat()}, "
                         f"found {seen.captured_at.isoformat()}")  # fmt: skip
        if image.duplicate_of:
            return
        if seen.status != image.status:
            reasons = f" ({', '.join(seen.reasons)})" if seen.reasons else ""
            self.say(
                "status", f"{image.key}: expected {image.status}, found {seen.status}{reasons}"
            )
        if seen.status == "quarantined":
            self.count["quarantined"] += 1
            if image.status == "quarantined":
                self.by_reason.update(set(image.reasons) & set(seen.reasons))
                for code in sorted(set(image.reasons) - set(seen.reasons)):
                    self.say("reasons", f"{image.key}: {code} is not among the reasons found "
                             f"({', '.join(seen.reasons) or 'none'})")  # fmt: skip

    def faces_of(self, image: ExpectedImage, seen: FoundImage) -> None:
        pairs = match_boxes([f.box for f in image.faces], [f.box for f in seen.faces])
        self.count["faces found"] += len(seen.faces)
        self.count["stray faces"] += len(seen.faces) - len(pairs)
        for index, face in enumerate(image.faces):
            matched = seen.faces[pairs[index]] if index in pairs else None
            if face.identifiable:
                self.count["clear"] += 1
                self.count["clear found"] += matched is not None
                if matched is None:
                    self.say("faces", f"{image.key}: the face of {face.person} was not found")
            self._naming(image, face, matched)
            self._grouping(image, face, matched)
        for index, stray in enumerate(seen.faces):
            if index not in pairs.values():
                self.say("faces", f"{image.key}: a face where nobody is, at {_rounded(stray.box)}")
                self._grouping(image, None, stray)
                if stray.outcome == _ACCEPTED:
                    self.count["named"] += 1
                    self.count["named wrongly"] += 1

    def _naming(self, image: ExpectedImage, face: ExpectedFace, seen: FoundFace | None) -> None:
        named = seen.label if seen is not None and seen.outcome == _ACCEPTED else None
        if face.identifiable and face.enrolled:
            self.count["nameable"] += 1
            self.count["nameable right"] += named == face.person
            self.count["review"] += seen is not None and seen.outcome == "review"
        if not face.enrolled and seen is not None:
            self.count["strangers found"] += 1
            self.count["strangers unnamed"] += named in (None, face.person)
        if named is not None:
            self.count["named"] += 1
            if named != face.person:
                self.count["named wrongly"] += 1
                self.say("names", f"{image.key}: {face.person} was named {named}")

    def _grouping(
        self, image: ExpectedImage, face: ExpectedFace | None, seen: FoundFace | None
    ) -> None:
        """Whose group a face is in; faces that got the name of somebody enrolled are in none."""
        enrolled = seen is not None and seen.label in self._enrolled
        group = seen.person if seen and seen.outcome == _ACCEPTED and not enrolled else None
        where = "" if seen is None else f"{image.key} at {_rounded(seen.box)}"
        self.groups.add(
            None if face is None else face.person,
            group,
            where=where,
            counts=face is not None and face.identifiable and not face.enrolled,
        )

    def result(self, truth: GroundTruth, found: Mapping[str, FoundImage]) -> Comparison:
        totals, count = truth.totals(), self.count
        identities = {image.image or key for key, image in found.items()}
        clear, nameable = count["clear"], count["nameable"]
        recall = count["nameable right"] / nameable if nameable else 1.0
        wrong = count["named wrongly"]
        precision = 1 - wrong / count["named"] if count["named"] else 1.0
        rows = [
            _exact("landing objects taken in (sightings)", totals["sightings"], count["sightings"]),
            _exact("distinct images", totals["images"], len(identities)),
            _exact("quarantined", totals["quarantined"], count["quarantined"]),
            *(
                _exact(f"  {code}", number, self.by_reason[code])
                for code, number in totals["quarantined_by_reason"].items()
            ),
            _share("identifiable faces found", clear, count["clear found"], 0.98),
            _most("faces where nobody is", count["stray faces"], 0.02 * totals["faces"]),
            _share("enrolled people named rightly", nameable, count["nameable right"], 0.95),
            _most("wrong names", wrong, 0.01 * count["named"]),
            _share("faces of unknown people given no other's name", count["strangers found"],
                   count["strangers unnamed"], 1.0),
            *self._of_groups(),
        ]  # fmt: skip
        if count["times compared"]:
            rows.append(
                _exact("capture times right", count["times compared"], count["times right"])
            )
        details = {
            "recall": recall,
            "precision": precision,
            "faces_found": count["faces found"],
            "left_for_review": count["review"],
            "wrong": {k.removeprefix("wrong "): n for k, n in count.items() if k[:6] == "wrong "},
        }
        return Comparison(tuple(rows), tuple(self.wrong), recall, precision, details)

    def _of_groups(self) -> list[Row]:
        """Unknown people must be there as people of their own, whole and unmixed."""
        found = self.groups.found()
        for where in found.strays:
            self.say("groups", f"{where}: grouped with somebody else's faces")
        return [
            _exact("unknown people found by clustering", found.expected_people, found.people),
            _share("faces of unknown people in their group", found.expected_faces, found.faces,
                   0.95),
            _exact("faces grouped with somebody else's", 0, len(found.strays)),
        ]  # fmt: skip


def _exact(name: str, expected: int, found: int) -> Row:
    return Row(name, expected, found, expected == found)


def _share(name: str, expected: int, found: int, share: float) -> Row:
    ok = found <= expected and found >= share * expected
    return Row(name, expected, found, ok, "exact" if share == 1 else f"at least {share:.0%}")


def _most(name: str, found: int, limit: float) -> Row:
    return Row(name, 0, found, found <= limit, f"at most {int(limit)}")


def _rounded(box: Box) -> str:
    return ", ".join(f"{value:.0f}" for value in box)


def match_boxes(expected: Sequence[Box], found: Sequence[Box]) -> dict[int, int]:
    """Pairs expected with found boxes one to one, largest overlap first: expected → found."""
    overlaps = [
        (_overlap(one, other), i, j)
        for i, one in enumerate(expected)
        for j, other in enumerate(found)
    ]
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for overlap, i, j in sorted(overlaps, reverse=True):
        if overlap >= _MIN_OVERLAP and i not in pairs and j not in taken:
            pairs[i] = j
            taken.add(j)
    return pairs


def _overlap(one: Box, other: Box) -> float:
    """Intersection over union of two x1 y1 x2 y2 boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return common / (areas - common)
