"""Labeled Faces in the Wild: splits by the folds of its pairs file, with its own test pairs.

Huang et al., UMass Amherst technical report 07-49, 2007. The folds of "View 2" share no person,
so who is in a test fold is in no training fold; people whose pictures got mixed up
(`label_errors`) stay together all the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from facecore.errors import UsageError
from facecore.lifecycle.datasets.building import Built, Destination, encode_pairs, positions
from facecore.lifecycle.datasets.face_set import build_face_set
from facecore.lifecycle.datasets.faces import Picture
from facecore.lifecycle.datasets.folder import list_pictures
from facecore.lifecycle.datasets.splits import Split, SplitPlan, together
from facecore.lifecycle.datasets.spool import Spool
from facecore.lifecycle.label_errors import ONE_PERSON
from facecore.lifecycle.pairs import FacePair, PairList, image_path, read_pairs
from facecore.pipeline.extract import FaceExtractor


def build_from_lfw(
    destination: Destination,
    images: Path,
    pairs: Path,
    extractor: FaceExtractor,
    *,
    test_folds: Collection[int],
    val_folds: Collection[int] = (),
    val: float = 0.1,
    seed: int = 0,
    labels: Path | None = None,
) -> Built:
    """One face per picture of `images/person/*.jpg`.

    Args:
        test_folds: numbers (from 1) of the folds whose people are the test split; their pairs
            are stored with it.
        val_folds: folds whose people and pairs are the val split; without, `val` of the people
            that no test fold names.

    Raises:
        UsageError: no such fold, one is both test and val, the pairs name a picture that is not
            there, or too few people are left. Nothing was written.
    """
    listed = read_pairs(pairs)
    split_of = FoldSplits(listed, test_folds, val_folds, val=val, seed=seed)
    pictures = []
    for person, path in list_pictures(images):
        if person is not None:
            name = path.relative_to(images).as_posix()
            pictures.append(Picture(name, path, person, split_of(person)))
    scored = _scored_pairs(listed, images, test_folds, val_folds)
    return build_face_set(
        destination,
        pictures,
        extractor,
        what=f"{images} with {pairs.name}",
        source={"kind": "lfw", "name": "lfw", **split_of.parameters},
        plan=split_of.wanted,
        labels=labels,
        add_pairs=lambda table, spool, left_out: _add_pairs(table, spool, left_out, scored),
    )


class FoldSplits:
    """Person → split, by the folds of a pairs file.

    Raises:
        UsageError: no test fold, a fold that does not exist, or one that is both test and val.
    """

    def __init__(
        self,
        listed: PairList,
        test_folds: Collection[int],
        val_folds: Collection[int] = (),
        *,
        val: float = 0.1,
        seed: int = 0,
    ) -> None:
        require_folds(listed, test_folds, val_folds)
        self._plan = SplitPlan(val=0.0 if val_folds else val, test=0.0, seed=seed)
        self._together = together(ONE_PERSON)
        self._test = self._people(listed, test_folds)
        self._val = self._people(listed, val_folds) - self._test
        self.parameters = {
            "folds": listed.folds,
            "test_folds": sorted(test_folds),
            "val_folds": sorted(val_folds),
            "val": self._plan.val,
            "seed": seed,
        }
        # Only says which splits must not be empty.
        self.wanted = SplitPlan(val=0.1 if val_folds or val else 0.0, test=0.1, seed=seed)

    def __call__(self, person: str) -> Split:
        """The split of a person; who is in no fold of test or val is split by hash."""
        group = self._together(person)
        if group in self._test:
            return "test"
        return "val" if group in self._val else self._plan.of(group)

    def _people(self, listed: PairList, folds: Collection[int]) -> set[str]:
        chosen = [pair for pair in listed.pairs if pair.fold + 1 in folds]
        people = {p.left_person for p in chosen} | {p.right_person for p in chosen}
        return {self._together(person) for person in people}


def require_folds(listed: PairList, test: Collection[int], val: Collection[int]) -> None:
    """Raise `UsageError` unless the folds exist and differ."""
    wrong = sorted(fold for fold in {*test, *val} if not 1 <= fold <= listed.folds)
    if wrong or not test:
        given = f"there is no fold {wrong[0]}" if wrong else "no test fold is given"
        raise UsageError(f"{given}; the pairs file has the folds 1 to {listed.folds}.")
    if both := sorted(set(test) & set(val)):
        raise UsageError(f"fold {both[0]} cannot be both test and val.")


def _scored_pairs(
    listed: PairList, images: Path, test: Collection[int], val: Collection[int]
) -> list[tuple[FacePair, Split, str, str]]:
    """Pairs of test and val with the names of their pictures; refuses missing pictures."""
    scored: list[tuple[FacePair, Split, str, str]] = []
    for pair in listed.pairs:
        if pair.fold + 1 in {*test, *val}:
            split: Split = "test" if pair.fold + 1 in test else "val"
            left, right = (
                image_path(images, image).relative_to(images).as_posix()
                for image in (pair.left, pair.right)
            )
            scored.append((pair, split, left, right))
    return scored


def _add_pairs(
    table: pa.Table,
    spool: Spool,
    left_out: dict[str, int],
    scored: Sequence[tuple[FacePair, Split, str, str]],
) -> Mapping[str, str]:
    row = positions(table, ("val", "test"))
    kept = []
    for pair, split, left, right in scored:
        if {row.get(left, ("", 0))[0], row.get(right, ("", 0))[0]} != {split}:
            left_out["pairs: a picture is not in the split"] = (
                left_out.get("pairs: a picture is not in the split", 0) + 1
            )
            continue
        kept.append((split, row[left][1], row[right][1], pair.same, pair.fold + 1))
    key, sha256 = spool.add("pairs", encode_pairs(kept), "parquet")
    return {"object": key, "sha256": sha256}
