"""Whose faces lie together: what clustering made of people whom nobody enrolled.

Pure counting over who a face shows and which group it was put into.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

LEAST_FACES = 2  # whoever was seen clearly once is nobody to a clustering


@dataclass(frozen=True, slots=True)
class Grouping:
    """Expected and found.

    Attributes:
        expected_people: with at least two faces that count; `people` is the number of groups.
        expected_faces: of these people; `faces` are those in their person's largest group.
        strays: where the faces are that lie in a group which is mostly somebody else's, or whose
            faces nobody's are.
    """

    expected_people: int
    people: int
    expected_faces: int
    faces: int
    strays: tuple[str, ...]


class Groups:
    """Counts faces, one after the other."""

    def __init__(self) -> None:
        self._due: Counter[str] = Counter()
        self._counted: Counter[tuple[str, int]] = Counter()
        self._members: defaultdict[int, list[tuple[str | None, str]]] = defaultdict(list)

    def add(self, person: str | None, group: int | None, *, where: str, counts: bool) -> None:
        """Add a face.

        Args:
            person: whom it shows; None: no face is there.
            group: the group it was put into; None: it is in none, or was not found.
            where: for people.
            counts: whether it must be in the group of its person.
        """
        if counts and person is not None:
            self._due[person] += 1
            if group is not None:
                self._counted[person, group] += 1
        if group is not None:
            self._members[group].append((person, where))

    def found(self) -> Grouping:
        """Held against what is there."""
        expected = {person: n for person, n in self._due.items() if n >= LEAST_FACES}
        largest = {
            person: max(
                (n for (whose, _), n in self._counted.items() if whose == person), default=0
            )
            for person in expected
        }
        strays = []
        for members in self._members.values():
            ((owner, _),) = Counter(person for person, _ in members).most_common(1)
            strays += [where for person, where in members if person is None or person != owner]
        return Grouping(
            len(expected),
            len(self._members),
            sum(expected.values()),
            sum(largest.values()),
            tuple(sorted(strays)),
        )
