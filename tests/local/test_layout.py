from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from facecore.errors import PlatformError, UsageError
from facecore.local.layout import Layout, open_to_others, write_private


def test_a_private_file_is_replaced_at_once_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["secret"]


def test_state_survives_and_foreign_state_is_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert layout.load_state() == {}
    layout.save_state({"ports": {"s3": 1}})
    assert layout.load_state()["ports"] == {"s3": 1}
    for text in ("{", json.dumps({"format": "other"}), "[]"):
        layout.state_file.write_text(text)
        with pytest.raises(PlatformError, match="damaged"):
            layout.load_state()


def test_a_folder_that_is_not_ours_is_not_removed(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"dear")
    with pytest.raises(UsageError, match="nothing was removed"):
        Layout(tmp_path).remove()
    assert photo.read_bytes() == b"dear"


def test_the_socket_fits_the_kernel_limit_even_under_a_long_home(tmp_path: Path) -> None:
    layout = Layout(tmp_path / ("x" * 100))
    assert len(str(layout.socket)) < 104
    layout.create()
    assert stat.S_IMODE(layout.socket.parent.stat().st_mode) == 0o700
    layout.save_state({})
    layout.remove()
    assert not layout.home.exists()
    assert not layout.socket.parent.exists()


def test_a_home_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PlatformError, match="FACECORE_HOME"):
        Layout(tmp_path / "file" / "home").create()


def test_open_to_others_looks_at_every_folder_above(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "a").chmod(0o700)
    inner.chmod(0o755)
    assert not open_to_others(inner)
    assert open_to_others(Path("/usr"))
