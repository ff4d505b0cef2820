"""The extraction pipeline judged on folders of labelled faces: `person/*.jpg`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from facecore import __version__
from facecore.errors import UsageError
from facecore.lifecycle.label_errors import ONE_PERSON
from facecore.lifecycle.main_face import MainFaces, Progress, embed_main_faces
from facecore.lifecycle.pairs import IMAGE_SUFFIXES, PairList, image_path, read_pairs
from facecore.lifecycle.score_distribution import (
    ImpostorScores,
    Ints,
    ScoredPairs,
    cross_identity_scores,
    genuine_scores,
)
from facecore.lifecycle.thresholds import Calibration, calibrate, require_enough
from facecore.lifecycle.verification import (
    NOT_FOUND_SCORE,
    TARGET_FARS,
    Verification,
    operating_point_across,
    verify,
)
from facecore.pipeline.extract import FaceExtractor
from facecore.types import Floats


def evaluate_verification(
    extractor: FaceExtractor,
    images: Path,
    pairs: Path,
    *,
    target_fars: Sequence[float] = TARGET_FARS,
    progress: Progress | None = None,
) -> Verification:
    """Verification accuracy on a pairs file (see `pairs` and `verification`).

    True-accept rates are stated twice: against the file's impostor pairs, as publications do,
    and against all pairs of different people among the same images, which support much lower
    false-accept rates.

    Raises:
        UsageError: the pairs file is malformed, or an image it names is missing.
    """
    listed = read_pairs(pairs)
    names = listed.images
    faces = embed_main_faces(extractor, [image_path(images, n) for n in names], progress=progress)
    return judge_pairs(listed, names, faces, target_fars=target_fars)


def judge_pairs(
    listed: PairList,
    names: Sequence[str],
    faces: MainFaces,
    *,
    target_fars: Sequence[float] = TARGET_FARS,
) -> Verification:
    """As `evaluate_verification`, from the embedded faces of the images `listed.images`."""
    position = {name: index for index, name in enumerate(names)}
    left = np.array([position[p.left] for p in listed.pairs])
    right = np.array([position[p.right] for p in listed.pairs])
    same = np.array([p.same for p in listed.pairs])
    folds = np.array([p.fold for p in listed.pairs])
    comparable = faces.found[left] & faces.found[right]
    cosine = np.einsum("nd,nd->n", faces.vectors[left], faces.vectors[right])
    scores = np.where(comparable, cosine, NOT_FOUND_SCORE).astype(np.float32)

    person_of = {p.left: p.left_person for p in listed.pairs} | {
        p.right: p.right_person for p in listed.pairs
    }
    people = _numbered([person_of[name] for name in names])
    impostors = impostor_scores(faces.vectors[faces.found], people[faces.found])
    result = verify(scores, same, folds, target_fars=target_fars)
    return replace(
        result,
        operating_points=(
            *result.operating_points,
            *(operating_point_across(scores[same], impostors, far) for far in target_fars),
        ),
        images=len(names),
        faces_not_found=tuple(np.array(names)[~faces.found].tolist()),
        pairs_without_a_face=int((~comparable).sum()),
    )


def calibrate_folder(
    extractor: FaceExtractor,
    folder: Path,
    *,
    dataset: str,
    provenance: Mapping[str, str] | None = None,
    one_person: Collection[tuple[str, str]] = tuple(ONE_PERSON),
    progress: Progress | None = None,
) -> Calibration:
    """Thresholds from all images of a folder of folders (`person/*.jpg`).

    Every pair of images of two different people is an impostor comparison; genuine pairs are
    limited per person. Other errors in the folder's labels count as errors of the model.

    Args:
        dataset: what the images are, for the record.
        provenance: more for the record: command, precision …
        one_person: pairs of folder names that show one person; they are not compared.

    Raises:
        UsageError: the folder holds too few people or images.
    """
    files = labelled_images(folder)
    require_enough(_per_person([person for person, _ in files]))  # before the long work
    faces = embed_main_faces(extractor, [path for _, path in files], progress=progress)
    names = [person for person, _ in files]
    return calibrate_faces(
        faces,
        names,
        contract=extractor.contract.digest,
        dataset=dataset,
        provenance=provenance,
        one_person=one_person,
    )


def calibrate_faces(
    faces: MainFaces,
    names: Sequence[str],
    *,
    contract: str,
    dataset: str,
    provenance: Mapping[str, str] | None = None,
    one_person: Collection[tuple[str, str]] = tuple(ONE_PERSON),
) -> Calibration:
    """As `calibrate_folder`, from embedded faces and the name of the person on each."""
    known, people = np.unique(np.array(names), return_inverse=True)
    vectors, owners = faces.vectors[faces.found], people[faces.found].astype(np.int64)
    index = {str(name): position for position, name in enumerate(known)}
    same = [pair for pair in one_person if set(pair) <= set(index)]
    impostors = impostor_scores(vectors, owners, [(index[a], index[b]) for a, b in same])
    genuine = genuine_scores(vectors, owners)
    points = calibrate(genuine, impostors, np.bincount(owners, minlength=len(known)))
    not_compared = {"not_compared": ", ".join(f"{a} = {b}" for a, b in same)} if same else {}
    return Calibration(
        contract=contract,
        dataset=dataset,
        images=len(names),
        people=len(known),
        faces_not_found=int((~faces.found).sum()),
        genuine=len(genuine),
        impostors=impostors.total,
        supported_fmr=points[-1].fmr,
        points=points,
        provenance={
            "facecore": __version__,
            "date": datetime.now(UTC).date().isoformat(),
            **not_compared,
            **(provenance or {}),
        },
    )


def labelled_images(folder: Path) -> list[tuple[str, Path]]:
    """(person, file) of every image in a folder of folders, sorted.

    Raises:
        UsageError: there is no such folder, or fewer than two people in it.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.")
    found = [
        (person.name, path)
        for person in sorted(folder.iterdir())
        if person.is_dir() and not person.name.startswith(".")
        for path in sorted(person.iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    ]
    if len({person for person, _ in found}) < 2:
        raise UsageError(
            f"{folder} does not hold images of at least two people.",
            remedy="One folder per person is expected, with that person's images in it.",
        )
    return found


def impostor_scores(
    vectors: Floats, people: Ints, one_person: Collection[tuple[int, int]] = ()
) -> ImpostorScores:
    """All comparisons of different people, without those of `one_person`, who may be absent."""
    impostors = ImpostorScores()
    # A pair's key is no other pair's only if this is above both of its numbers.
    beyond = max(int(people.max(initial=0)), *(max(pair) for pair in one_person), 0) + 1
    excluded = np.array([min(pair) * beyond + max(pair) for pair in one_person], np.int64)
    for part in cross_identity_scores(vectors, people):
        if len(excluded):
            key = np.minimum(part.left, part.right) * beyond + np.maximum(part.left, part.right)
            kept = ~np.isin(key, excluded)
            impostors.add(ScoredPairs(part.scores[kept], part.left[kept], part.right[kept]))
        else:
            impostors.add(part)
    return impostors


def _per_person(names: Sequence[str]) -> Ints:
    return np.bincount(_numbered(names)).astype(np.int64)


def _numbered(names: Sequence[str]) -> Ints:
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)
