"""Where Labeled Faces in the Wild comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from facecore.errors import DownloadFailed
from facecore.samples.lfw import IMAGES, lfw


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_data_that_is_there_is_used(tmp_path: Path) -> None:
    (tmp_path / "lfw" / "images").mkdir(parents=True)
    assert lfw(tmp_path / "cache", tmp_path) == tmp_path / "lfw" / "images"
    assert not (tmp_path / "cache").exists()


def test_a_complete_download_is_used_again(tmp_path: Path) -> None:
    folder = tmp_path / "scikit-learn" / "lfw_home" / "lfw"
    (folder / "Ann").mkdir(parents=True)
    for number in range(IMAGES):
        (folder / "Ann" / f"Ann_{number}.jpg").touch()
    assert lfw(tmp_path, tmp_path / "no-such-folder") == folder


@pytest.mark.usefixtures("offline")
def test_offline_says_what_to_do_and_drops_an_incomplete_download(tmp_path: Path) -> None:
    folder = tmp_path / "scikit-learn" / "lfw_home" / "lfw"
    (folder / "Ann").mkdir(parents=True)
    (folder / "Ann" / "Ann_0001.jpg").touch()
    with pytest.raises(DownloadFailed, match="scikit-learn") as caught:
        lfw(tmp_path)
    assert "FACECORE_DATA_DIR" in caught.value.remedy
    assert not folder.exists()
