"""The published pages stand alone: no scripts, nothing remote, names escaped."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from facecore.config import GateSettings
from facecore.quality.frame import gate_frame
from facecore.quality.gate import run_gate

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SETTINGS = GateSettings()
HOSTILE = "<img src=x onerror=alert(1)> & &amp; ${x} {{ 6*7 }} %s <script>alert(2)</script>"


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.local: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            if name in ("href", "src") and value and not value.startswith("#"):
                self.local.append(value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, row, undecoded) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    rows = [row(n, source=HOSTILE) for n in range(40)] + [undecoded(99, "truncated")]
    rows[0]["sharpness"] = 0.1
    for stuck in rows[:40]:
        stuck["phash"] = 5
    result = run_gate(gate_frame(rows), SETTINGS, folder, now=NOW, run_name="../shard 7/<b>")
    assert result.data_docs == folder / "index.html"
    assert result.batch_failures == {"stuck_camera": {HOSTILE: 1.0}}
    return folder


def test_pages(folder: Path):
    assert sorted(p.name for p in folder.iterdir()) == [
        "expectations-batch.html",
        "expectations-images.html",
        "index.html",
        "validations-batch.html",
        "validations-images.html",
    ]
    assert sum(p.stat().st_size for p in folder.iterdir()) < 300_000


def test_nothing_is_run_or_loaded_from_elsewhere(folder: Path):
    for path in folder.iterdir():
        page = Links()
        text = path.read_text()
        page.feed(text)
        assert not {"script", "link", "iframe"} & set(page.tags), path.name
        assert "url(" not in text
        for link in page.local:
            assert (folder / link.split("#")[0]).is_file(), (path.name, link)


def test_the_index_tells_what_happened(folder: Path):
    text = (folder / "index.html").read_text()
    assert "The batch looks broken" in text
    assert "stuck_camera" in text
    assert "sharpness 0.1 is below 0.32" in text
    assert "The file ends before the image does." in text
    assert HOSTILE not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text


def test_result_pages_keep_what_great_expectations_found(folder: Path):
    text = re.sub(r"<[^>]+>", " ", (folder / "validations-images.html").read_text())
    assert re.search(r"1 unexpected values? found", text)
    rules = (folder / "expectations-images.html").read_text()
    assert "too_blurred" in rules
    assert "There is too little fine detail" in rules


def test_publishing_again_replaces_the_pages_and_nothing_else(tmp_path: Path, row):
    (tmp_path / "notes.txt").write_text("mine")
    run_gate(gate_frame([row(n) for n in range(30)]), SETTINGS, tmp_path, now=NOW)
    assert (tmp_path / "validations-batch.html").exists()
    run_gate(gate_frame([row(1)]), SETTINGS, tmp_path, now=NOW)
    assert not (tmp_path / "validations-batch.html").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert "they were skipped" in (tmp_path / "index.html").read_text()
