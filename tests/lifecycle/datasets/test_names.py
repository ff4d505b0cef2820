from __future__ import annotations

import pytest

from facecore.errors import NotFound, SnapshotDamaged, UsageError
from facecore.lifecycle.datasets import names

ONE, OTHER = "ab" * 32, "ab" * 8 + "cd" * 24
SUMMARY = {"kind": "faces", "source": "folder", "rows": 3, "splits": {"train": {"rows": 3}}}


def test_versions_of_a_name(objects):
    first, new = names.record(objects, "people", ONE, SUMMARY)
    assert (first.number, new) == (1, True)
    second, new = names.record(objects, "people", OTHER, SUMMARY)
    assert (second.number, new) == (2, True)
    assert names.record(objects, "people", ONE, SUMMARY) == (first, False)

    assert names.resolve(objects, "people") == second
    assert names.resolve(objects, f"people@{ONE[:20]}") == first
    assert names.resolve(objects, f"people@{OTHER.upper()}") == second
    listed = [one for one in names.every(objects) if one.name == "people"]
    assert [(one.number, one.digest, one.rows) for one in listed] == [(1, ONE, 3), (2, OTHER, 3)]

    with pytest.raises(UsageError, match="ambiguous"):
        names.resolve(objects, f"people@{ONE[:16]}")
    with pytest.raises(UsageError, match="at least 6"):
        names.resolve(objects, "people@ab")
    with pytest.raises(NotFound) as caught:
        names.resolve(objects, "people@ffffff")
    assert first.reference in caught.value.remedy
    assert second.reference in caught.value.remedy


@pytest.mark.parametrize("unknown", ["nobody", "../people", "People", ""])
def test_unknown_names_list_the_known(objects, unknown):
    names.record(objects, "zoo", ONE, SUMMARY)
    with pytest.raises(NotFound) as caught:
        names.resolve(objects, unknown)
    assert "zoo" in caught.value.remedy


def test_two_builders_at_once_both_get_a_version(objects):
    key = f"names/both/000001-{ONE}.json"
    names.record(objects, "both", OTHER, SUMMARY)
    objects.put("snapshots", key, objects.get("snapshots", f"names/both/000001-{OTHER}.json"))
    assert {v.digest for v in names.versions(objects, "both")} == {ONE, OTHER}


def test_an_altered_entry_is_named(objects):
    version, _ = names.record(objects, "broken", ONE, SUMMARY)
    objects.put("snapshots", version.key, b"{")
    with pytest.raises(SnapshotDamaged, match=version.key):
        names.every(objects)
    objects.delete("snapshots", version.key)


@pytest.mark.parametrize("name", ["", "Upper", "a/b", "-a", "a b", "x" * 65, "ä", "a@b"])
def test_names_that_cannot_be(name):
    with pytest.raises(UsageError, match="cannot name a snapshot"):
        names.require_name(name)
