from pathlib import Path

import pytest

from facecore.errors import UsageError
from facecore.lifecycle.pairs import FacePair, image_path, read_pairs

GOOD = (
    "2\t2\n"
    "Ada\t1\t2\nBob\t3\t1\nAda\t1\tBob\t2\nBob\t1\tCy\t12\n"
    "Dee\t1\t2\nDee\t2\t3\nDee\t1\tEve\t1\nEve\t1\tDee\t4\n"
)


def write(folder: Path, text: str) -> Path:
    path = folder / "pairs.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_folds_kinds_and_file_names(tmp_path):
    found = read_pairs(write(tmp_path, GOOD))

    assert found.folds == 2
    assert found.pairs[0] == FacePair("Ada/Ada_0001.jpg", "Ada/Ada_0002.jpg", True, 0)
    assert found.pairs[3] == FacePair("Bob/Bob_0001.jpg", "Cy/Cy_0012.jpg", False, 0)
    assert [p.fold for p in found.pairs] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert [p.same for p in found.pairs] == [True, True, False, False] * 2
    assert (found.pairs[3].left_person, found.pairs[3].right_person) == ("Bob", "Cy")
    assert found.images.count("Dee/Dee_0001.jpg") == 1


def test_trailing_blank_lines_and_windows_line_ends_are_fine(tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_bytes(GOOD.replace("\n", "\r\n").encode() + b"\n\n")

    assert len(read_pairs(path).pairs) == 8


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("", 1, "number of folds"),
        ("ten\t300\n", 1, "number of folds"),
        ("1\t1\nA\t1\t2\nA\t1\tB\t1\n", 1, "at least 2 folds"),
        (GOOD.replace("Bob\t3\t1", "Bob\t3"), 3, "expected 'name<TAB>i<TAB>j'"),
        (GOOD.replace("Ada\t1\tBob\t2", "Ada\t1\tBob"), 4, "name1"),
        (GOOD.replace("Dee\t2\t3", "Dee\t0\t3"), 7, "image number"),
        (GOOD.replace("Dee\t2\t3", "Dee\ttwo\t3"), 7, "image number"),
        (GOOD.replace("Dee\t2\t3", "../Dee\t2\t3"), 7, "not the name"),
        (GOOD.replace("Dee\t2\t3", "Dee\t3\t3"), 7, "one image twice"),
        (GOOD.replace("Dee\t1\tEve\t1", "Dee\t1\tDee\t2"), 8, "one person"),
        (GOOD + "Ada\t1\tEve\t1\n", 10, "the file has 10"),
        ("".join(GOOD.splitlines(True)[:-1]), 9, "the file has 8"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, text, line, why):
    path = write(tmp_path, text)

    with pytest.raises(UsageError) as caught:
        read_pairs(path)

    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert why in str(caught.value)


def test_a_missing_or_binary_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read_pairs(tmp_path / "none.txt")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(UsageError, match="UTF-8"):
        read_pairs(tmp_path / "binary")


def test_images_are_found_under_another_suffix(tmp_path):
    (tmp_path / "Ada").mkdir()
    (tmp_path / "Ada" / "Ada_0001.png").touch()

    assert image_path(tmp_path, "Ada/Ada_0001.jpg").suffix == ".png"
    with pytest.raises(UsageError, match="Ada_0002"):
        image_path(tmp_path, "Ada/Ada_0002.jpg")
