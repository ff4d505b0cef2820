import numpy as np
import pytest

from facecore.errors import UsageError
from facecore.lifecycle.evaluate import (
    calibrate_faces,
    calibrate_folder,
    evaluate_verification,
    impostor_scores,
    judge_pairs,
    labelled_images,
)
from facecore.lifecycle.main_face import MainFaces
from facecore.lifecycle.pairs import read_pairs

PAIRS = (
    "2\t1\n"
    "Barack_Obama\t1\t2\nBarack_Obama\t1\tJoe_Biden\t1\n"
    "Barack_Obama\t2\t3\nBarack_Obama\t3\tGrace_Hopper\t1\n"
)


def people(count=200, images=4, noise=0.05, seed=2):
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(count, 64)), images, axis=0)
    vectors = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    vectors = vectors + noise * rng.normal(size=vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = [f"P{p}/P{p}_{i:04d}.jpg" for p in range(count) for i in range(1, images + 1)]
    return names, vectors.astype(np.float32), np.repeat(np.arange(count), images)


def pairs_file(folder, count=200, each=50):
    lines = [f"2\t{each}"]
    for fold in range(2):
        base = fold * (count // 2)
        lines += [f"P{base + k}\t1\t2" for k in range(each)]
        lines += [f"P{base + k}\t1\tP{base + k + 1}\t3" for k in range(each)]
    path = folder / "pairs.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_real_faces_of_one_person_are_told_from_others(extractor, people_folder, tmp_path):
    names = sorted(p.name for p in people_folder.iterdir())
    assert {"Barack_Obama", "Joe_Biden", "Grace_Hopper"} <= set(names)
    pairs = tmp_path / "pairs.txt"
    pairs.write_text(PAIRS)

    found = evaluate_verification(extractor, people_folder, pairs)

    assert (found.images, found.faces_not_found, found.pairs) == (5, (), 4)
    assert found.auc == 1.0
    assert not any(p.supported for p in found.operating_points)


def test_true_accept_rates_are_stated_against_both_kinds_of_impostors(tmp_path):
    listed = read_pairs(pairs_file(tmp_path))
    names, vectors, _ = people()
    chosen = [names.index(name) for name in listed.images]

    found = judge_pairs(
        listed, listed.images, MainFaces(vectors[chosen], np.ones(len(chosen), np.bool_))
    )

    kinds = {(p.impostors, p.target_far): p for p in found.operating_points}
    assert not kinds["pairs", 1e-2].supported  # 100 impostor pairs support 3 %
    across = kinds["cross-identity", 1e-3]
    assert across.supported
    assert across.impostor_count > 30_000
    assert across.far.value <= 1e-3
    assert across.tar.value == 1.0
    assert found.accuracy == 1.0


def test_a_face_not_found_counts_as_an_error_and_is_reported(tmp_path):
    listed = read_pairs(pairs_file(tmp_path))
    every, all_vectors, _ = people()
    names = listed.images
    vectors = all_vectors[[every.index(name) for name in names]]
    found_mask = np.ones(len(names), np.bool_)
    lost = names.index("P3/P3_0002.jpg")  # right side of one genuine pair
    found_mask[lost] = False
    vectors[lost] = 0
    missing = names.index("P2/P2_0003.jpg")  # right side of one impostor pair
    found_mask[missing] = False
    vectors[missing] = 0

    found = judge_pairs(listed, names, MainFaces(vectors, found_mask))

    assert found.faces_not_found == ("P2/P2_0003.jpg", "P3/P3_0002.jpg")
    assert found.pairs_without_a_face == 2
    assert found.accuracy == pytest.approx(1 - 1 / 200)  # the genuine one only


def test_calibration_counts_what_it_used():
    _, vectors, owners = people()
    mask = np.ones(len(vectors), np.bool_)
    mask[5] = False

    made = calibrate_faces(
        MainFaces(vectors, mask),
        [f"P{owner}" for owner in owners],
        contract="c" * 64,
        dataset="made",
        provenance={"a": "b"},
    )

    left_out = 800 - 4  # comparisons of the faceless image with other people
    assert made.impostors == 800 * 799 // 2 - 200 * 6 - left_out
    assert made.genuine == 200 * 6 - 3
    assert (made.images, made.people, made.faces_not_found) == (800, 200, 1)
    assert made.supported_fmr == 3 / made.impostors
    assert made.points[-1].fnmr < 0.01
    assert made.provenance["a"] == "b"
    assert {"facecore", "date"} <= set(made.provenance)


def test_two_names_of_one_person_are_not_compared():
    _, vectors, owners = people()
    vectors[owners == 7] = vectors[owners == 150]
    faces = MainFaces(vectors, np.ones(len(vectors), np.bool_))
    names = [f"P{owner}" for owner in owners]

    def made(**options):
        return calibrate_faces(faces, names, contract="c" * 64, dataset="made", **options)

    wrong, right = made(), made(one_person=[("P7", "P150"), ("P7", "not in this set")])

    assert right.impostors == wrong.impostors - 16
    assert wrong.points[-1].threshold > 0.9 > right.points[-1].threshold
    assert right.provenance["not_compared"] == "P7 = P150"
    assert "not_compared" not in wrong.provenance


def test_doubles_who_are_not_among_the_faces_exclude_nobody():
    _, vectors, owners = people(count=20, images=2)

    def compared(*doubles):
        return impostor_scores(vectors, owners.astype(np.int64), doubles).total

    every = 40 * 39 // 2 - 20
    # Counted to 20, 3 and 37 would be 4 and 17.
    assert compared() == compared((3, 37)) == compared((37, 3)) == compared((21, 37)) == every
    assert compared((4, 17), (3, 37)) == every - 4


def test_too_small_a_folder_is_refused(extractor, people_folder, tmp_path):
    with pytest.raises(UsageError, match="too few"):
        calibrate_folder(extractor, people_folder, dataset="portraits")
    with pytest.raises(UsageError, match="at least two people"):
        labelled_images(tmp_path)
    with pytest.raises(UsageError, match="not a folder"):
        labelled_images(tmp_path / "absent")


def test_only_images_in_visible_folders_are_taken(tmp_path):
    for name in ("Ada/1.jpg", "Ada/notes.txt", "Ada/.hidden.png", "Bob/2.PNG", ".cache/3.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "stray.jpg").touch()

    assert [(p, f.name) for p, f in labelled_images(tmp_path)] == [
        ("Ada", "1.jpg"),
        ("Bob", "2.PNG"),
    ]
