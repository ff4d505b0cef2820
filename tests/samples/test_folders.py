"""The user's folders: who is enrolled, what is a probe, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from facecore.errors import UsageError
from facecore.samples.folders import ProbeResult, accuracy, natural_order, read_folder


def fill(root: Path, **people: int) -> Path:
    for person, count in people.items():
        (root / person).mkdir(parents=True)
        for number in range(1, count + 1):
            (root / person / f"{person}_{number}.jpg").touch()
    return root


def test_first_images_are_enrolled_and_at_least_one_stays_a_probe(tmp_path: Path) -> None:
    folder = read_folder(fill(tmp_path / "set", ann=11, bob=3, cid=2, dee=1))
    gallery = [image.path.name for image in folder.gallery()]
    assert gallery == ["ann_1.jpg", "ann_2.jpg", "bob_1.jpg", "bob_2.jpg", "cid_1.jpg"]
    probes = list(folder.probes())
    assert [p.path.name for p in probes][:9] == [f"ann_{n}.jpg" for n in range(3, 12)]
    assert [p.path.name for p in probes][9:] == ["bob_3.jpg", "cid_2.jpg", "dee_1.jpg"]
    assert probes[0].key == "set/ann/ann_3.jpg"
    assert [(p.person, p.images_of_person, p.enrolled) for p in probes[9:]] == [
        ("bob", 3, True),
        ("cid", 2, True),
        ("dee", 1, False),
    ]


def test_the_number_enrolled_and_the_name_can_be_chosen(tmp_path: Path) -> None:
    folder = read_folder(fill(tmp_path / "set", ann=4), 1, name="my/set")
    assert len(list(folder.gallery())) == 1
    assert next(folder.probes()).key == "my-set/ann/ann_2.jpg"


def test_a_flat_folder_has_probes_only(tmp_path: Path) -> None:
    for name in ("b 2.PNG", "b 10.jpg", "ü.webp", "notes.txt", ".hidden.jpg", "new.heic"):
        (tmp_path / name).touch()
    folder = read_folder(tmp_path)
    assert list(folder.gallery()) == []
    probes = list(folder.probes())
    assert [p.path.name for p in probes] == ["b 2.PNG", "b 10.jpg", "new.heic", "ü.webp"]
    assert {(p.person, p.enrolled) for p in probes} == {(None, False)}
    assert probes[0].key == f"{tmp_path.name}/b 2.PNG"


def test_images_below_a_person_are_found_and_loops_end(tmp_path: Path) -> None:
    fill(tmp_path, ann=2)
    deeper = tmp_path / "ann" / "2024"
    deeper.mkdir()
    (deeper / "z.jpg").touch()
    (deeper / "again").symlink_to(tmp_path / "ann")
    (tmp_path / "ann" / "dangling.jpg").symlink_to(tmp_path / "nothing")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "thumb.jpg").touch()
    folder = read_folder(tmp_path)
    found = [*folder.gallery(), *folder.probes()]
    assert [f.path.name for f in found] == ["ann_1.jpg", "ann_2.jpg", "z.jpg"]
    assert found[-1].key.endswith("/ann/2024/z.jpg")


def test_links_to_folders_elsewhere_are_followed(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", ann=3)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "Ann").symlink_to(tmp_path / "elsewhere" / "ann")
    folder = read_folder(tmp_path / "set")
    assert [p.key for p in folder.probes()] == ["set/Ann/ann_3.jpg"]


@pytest.mark.parametrize("kind", ["missing", "file", "empty", "no images", "gallery"])
def test_what_cannot_work_is_refused(tmp_path: Path, kind: str) -> None:
    path, gallery, words = tmp_path / "x", 2, "holds no images"
    if kind == "missing":
        words = "does not exist"
    elif kind == "file":
        path.touch()
        words = "not a folder"
    elif kind == "empty":
        path.mkdir()
    elif kind == "no images":
        (path / "ann").mkdir(parents=True)
        (path / "ann" / "notes.txt").touch()
    else:
        fill(path, ann=2)
        gallery, words = 0, "at least 1"
    with pytest.raises(UsageError, match=words):
        read_folder(path, gallery)


def test_natural_order() -> None:
    names = ["a10", "a2", "A1", "b", "a", "10", "9"]
    assert sorted(names, key=natural_order) == ["9", "10", "a", "A1", "a2", "a10", "b"]


def test_accuracy_counts_what_it_says() -> None:
    result = accuracy(
        [
            ProbeResult("ann", True, 5, "ann", "accept"),
            ProbeResult("ann", True, 5, "ann", "unknown"),  # right, but under the threshold
            ProbeResult("ann", True, 5, "bob", "accept"),
            ProbeResult("bob", True, 3, None, "none"),  # no face found: wrong
            ProbeResult("bob", True, 3, "bob", "review"),
            ProbeResult("cid", True, 2, "ann", "accept"),  # too few images to count
            ProbeResult("dee", False, 1, "ann", "accept"),
            ProbeResult("eve", False, 1, "bob", "unknown"),
            ProbeResult(None, False, 0, "bob", "accept"),
        ]
    )
    assert (result.probes, result.people, result.not_found) == (9, 5, 1)
    assert (result.closed_probes, result.rank1) == (5, pytest.approx(3 / 5))
    assert (result.accepted_right, result.accepted_wrong) == (pytest.approx(0.2),) * 2
    assert result.to_review == pytest.approx(0.2)
    assert (result.open_probes, result.false_accepts) == (2, 0.5)


def test_accuracy_of_nothing_is_not_zero() -> None:
    result = accuracy([])
    assert (result.probes, result.rank1, result.false_accepts) == (0, None, None)
