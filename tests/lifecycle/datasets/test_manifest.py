from __future__ import annotations

import pytest

from facecore.lifecycle.datasets.manifest import Provenance, Rows, decode, digest_of, encode

SOURCE = {"kind": "folder", "name": "here"}


def rows(**changes):
    made = Rows("faces", ["site"])
    made.add([{"split": "train", "identity": "A", "index": 0, "site": "door", **changes}])
    made.add([{"split": "train", "identity": None, "index": 1}])
    return made.table()


def test_equal_rows_make_equal_bytes():
    one, other = (encode(rows(), Provenance("faces", SOURCE)) for _ in range(2))
    assert one == other
    assert digest_of(encode(rows(index=2), Provenance("faces", SOURCE))) != digest_of(one)
    assert digest_of(encode(rows(), Provenance("faces", {**SOURCE, "seed": 1}))) != digest_of(one)


def test_what_was_written_is_read():
    table, document = decode(encode(rows(), Provenance("faces", SOURCE, {"a": 1, "b": 0})))
    assert table["site"].to_pylist() == ["door", None]
    assert table["object"].null_count == 2
    assert document["left_out"] == {"a": 1}
    assert document["splits"] == {"train": {"rows": 2, "identities": 1, "unlabelled": 1}}


@pytest.mark.parametrize("data", [b"", b"PAR1 not really PAR1", b"x" * 1000])
def test_other_files_are_refused(data):
    with pytest.raises(ValueError, match="no snapshot manifest"):
        decode(data)
