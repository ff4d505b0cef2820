from __future__ import annotations

import pytest

from facecore.errors import UsageError
from facecore.lifecycle.datasets.labels import read_labels


def written(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text, "utf-8")
    return path


def test_columns_by_picture_or_person(tmp_path):
    by_image = read_labels(written(tmp_path, "group,image\na,P/1.jpg\n,P/2.jpg\n\n"), "faces")
    assert (by_image.key, by_image.columns) == ("image", ("group",))
    assert by_image.of("P/1.jpg", "P") == {"group": "a"}
    assert by_image.of("P/2.jpg", "P") == by_image.of("Q/1.jpg", "Q") == {}

    by_person = read_labels(written(tmp_path, "\ufeffidentity,age,site\nP,30,door\n"), "faces")
    assert by_person.of("P/9.jpg", "P") == {"age": "30", "site": "door"}
    assert by_person.of("Q/9.jpg", None) == {}
    by_person.require_some(["Q", "P"])
    with pytest.raises(UsageError, match="name no identity of this dataset; they name 'P'"):
        by_person.require_some(["Q", None])


def test_no_file_is_no_column():
    assert read_labels(None, "faces").columns == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must name a column 'image'"),
        ("name,group\nP,a\n", "must name a column 'image'"),
        ("image\nP\n", "further ones"),
        ("image,split\nP,a\n", "cannot be named 'split'"),
        ("image,a,a\nP,1,2\n", "cannot be named 'a'"),
        ("image,a\nP\n", ":2: 2 cells expected, got 1"),
        ("image,a\nP,1\nP,2\n", ":3: image 'P' was already given other values"),
        ("image,a\n", "holds no row"),
        ('image,a\n"P,1\n', "is not a CSV file"),
    ],
)
def test_bad_files_are_refused(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        read_labels(written(tmp_path, text), "faces")


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot read"):
        read_labels(tmp_path / "none.csv", "faces")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not a CSV file in UTF-8"):
        read_labels(tmp_path / "binary.csv", "faces")
