import logging
import subprocess
import sys
from pathlib import Path

import openvino
import pytest
import torch
from torch import nn

from facecore.zoo import graph_store
from facecore.zoo.backend import make_backend
from facecore.zoo.graph_store import GraphStore
from facecore.zoo.openvino_backend import OpenVinoBackend

CPU = torch.device("cpu")
CROPS = (4, 32, 32, 3)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(Scale(), nn.Conv2d(3, 8, 3), nn.PReLU(8), nn.Flatten(), nn.Linear(7200, 5))


class Scale(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.float() / 255


def pictures(count: int = 7) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8, generator=generator)


def made(folder: Path, weights: str = "a", seed: int = 0) -> OpenVinoBackend:
    kept = GraphStore(folder, weights)
    backend = make_backend(network(seed), CPU, torch.float32, CROPS, kept=kept)
    assert isinstance(backend, OpenVinoBackend)
    return backend


def traces(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Filled whenever a network is traced."""
    from facecore.zoo import openvino_backend

    seen: list[object] = []
    export = openvino_backend._export

    def counted(*arguments: object) -> object:
        seen.append(arguments)
        return export(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(openvino_backend, "_export", counted)
    return seen


def test_a_kept_graph_gives_the_same_bits_and_is_not_traced_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = made(tmp_path)
    traced = traces(monkeypatch)
    second = made(tmp_path)
    assert not traced
    assert torch.equal(first(pictures()), second(pictures()))


def test_what_any_size_takes_is_kept_apart(tmp_path: Path) -> None:
    kept = GraphStore(tmp_path, "a")
    convolution = nn.Sequential(Scale(), nn.Conv2d(3, 4, 3))
    for _ in range(2):
        backend = make_backend(convolution, CPU, torch.float32, CROPS, any_size=True, kept=kept)
        assert backend(torch.zeros(1, 50, 40, 3, dtype=torch.uint8)).shape == (1, 4, 48, 38)
    made(tmp_path)
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_other_weights_other_code_another_processor_are_traced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path)
    traced = traces(monkeypatch)
    other = made(tmp_path, "b", seed=1)
    assert len(traced) == 1
    with torch.inference_mode():
        expected = network(1)(pictures().permute(0, 3, 1, 2))
    torch.testing.assert_close(other(pictures()), expected, atol=1e-4, rtol=1e-3)
    here = graph_store._surroundings(openvino)
    for fact in here:
        changed = {**here, fact: "another"}
        monkeypatch.setattr(graph_store, "_surroundings", lambda _, facts=changed: facts)
        made(tmp_path)
    assert len(traced) == 1 + len(here)


@pytest.mark.parametrize("kind", ["xml", "bin", "json"])
def test_a_damaged_graph_is_traced_anew_and_replaced(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = made(tmp_path)(pictures())
    (file,) = tmp_path.glob(f"*.{kind}")
    file.write_bytes(file.read_bytes()[:-9] + b"something")
    traced = traces(monkeypatch)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(made(tmp_path)(pictures()), expected)
    assert "cannot be used" in caplog.text
    assert len(traced) == 1
    made(tmp_path)
    assert len(traced) == 1


def test_a_graph_that_does_not_agree_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facecore.zoo.backend.AGREEMENT", {torch.float32: 2.0})
    with pytest.raises(Exception, match="other results"):
        made(tmp_path)
    assert not list(tmp_path.glob("*.json"))


def test_a_folder_that_cannot_be_written_costs_only_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a folder")
    backend = made(tmp_path / "file" / "below")
    assert backend(pictures()).shape == (7, 5)
    assert "could not be kept" in caplog.text


def test_processes_that_write_at_once_leave_a_whole_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "from test_graph_store import made; made(Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", program, str(Path(__file__).parent), str(tmp_path)]
    running = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(120) for process in running] == [0, 0, 0]
    traced = traces(monkeypatch)
    made(tmp_path)
    assert not traced
