import logging
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from facecore.errors import ConfigError
from facecore.zoo import backend as backends
from facecore.zoo import registry
from facecore.zoo.backend import TorchBackend, make_backend
from facecore.zoo.openvino_backend import NotExportable, OpenVinoBackend

CPU = torch.device("cpu")
CROPS = (4, 112, 112, 3)


class Small(nn.Module):
    """Two layers and a head; `scale` makes what bfloat16 cannot hold."""

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.PReLU(8), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        )
        self.head = nn.Linear(32, 5)
        self.offset = offset

    def forward(self, x):
        x = self.layers(x.to(self.head.weight.dtype) / 255)
        return self.head(x + self.offset - self.offset).float()


def pictures(count, side=112, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("name", [spec.name for spec in registry.list_models("embed")])
def test_every_embedder_has_a_backend_that_agrees(name, caplog):
    torch.manual_seed(0)
    narrow = {"width": 0.25} if "width" in registry.spec(name).options else {}
    if name == "facenet":
        narrow["repeats"] = (1, 1, 1)
    network = registry.create(name, **narrow)
    made = make_backend(network, CPU, torch.float32, CROPS)
    assert made.name == getattr(network, "cpu_backend", "openvino")
    batch = pictures(7)
    with torch.inference_mode():
        expected = network(batch.permute(0, 3, 1, 2))
    torch.testing.assert_close(made(batch), expected, atol=1e-4, rtol=1e-3)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize("count", [1, 3, 4, 11])
def test_any_number_of_pictures(count):
    made = OpenVinoBackend(Small(), torch.float32, CROPS)
    batch = pictures(count)
    with torch.inference_mode():
        torch.testing.assert_close(made(batch), Small()(batch.permute(0, 3, 1, 2)))


def test_any_size():
    made = OpenVinoBackend(Small(), torch.float32, (2, 64, 64, 3), any_size=True)
    for side in (64, 33, 80):
        batch = pictures(3, side)
        with torch.inference_mode():
            torch.testing.assert_close(made(batch), Small()(batch.permute(0, 3, 1, 2)))


def test_results_belong_to_the_caller_whichever_thread_calls():
    """No buffer of a request is handed out: later calls change nothing."""
    made = OpenVinoBackend(Small(), torch.float32, CROPS)
    found = {}

    def call(seed):
        found[seed] = [made(pictures(6, seed=seed)) for _ in range(5)]

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, results in found.items():
        expected = made(pictures(6, seed=seed))
        assert all(torch.equal(result, expected) for result in results)


def test_it_computes_in_the_thread_that_calls():
    """Handed to a thread of OpenVINO's, a batch would wait for a core while another idles."""
    made = OpenVinoBackend(Small(), torch.float32, (8, 224, 224, 3))
    batch = pictures(8, 224)
    made(batch)
    here, everywhere = time.thread_time(), time.process_time()
    while time.process_time() - everywhere < 0.5:
        made(batch)
    here, everywhere = time.thread_time() - here, time.process_time() - everywhere
    assert here > 0.8 * everywhere


def test_as_many_requests_as_threads_call_at_once():
    made = OpenVinoBackend(Small(), torch.float32, CROPS)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(made, [pictures(6) for _ in range(20)]))
    assert all(1 <= len(idle) <= 2 for idle in made._requests.values())


def test_a_forked_child_computes_too():
    made = OpenVinoBackend(Small(), torch.float32, CROPS)
    expected = made(pictures(3))
    child = os.fork()
    if child == 0:  # whatever happens, the child must not return into pytest
        status = 1
        try:
            status = int(not torch.equal(made(pictures(3)), expected))
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_precision_that_costs_accuracy_is_not_used(caplog):
    """bfloat16 has 8 bits: 10,000 is added and taken away, and little of the picture is left."""
    made = make_backend(Small(offset=10_000.0), CPU, torch.bfloat16, CROPS, wanted="torch")
    assert made.dtype == torch.float32
    assert "bfloat16 agrees with float32 to a cosine of" in caplog.text
    assert make_backend(Small(), CPU, torch.bfloat16, CROPS).dtype == torch.bfloat16


def test_a_network_that_is_not_exportable_is_computed_by_torch_and_said(caplog):
    class Deciding(Small):
        def forward(self, x):
            # Traced with one batch, it would decide the same for every other.
            flipped = x.flip(3) if len(x) == 3 else x
            return super().forward(flipped)

    made = make_backend(Deciding(), CPU, torch.float32, CROPS)
    assert isinstance(made, TorchBackend)
    assert "openvino" in caplog.text
    with pytest.raises(ConfigError, match="OpenVINO cannot compute Deciding"):
        make_backend(Deciding(), CPU, torch.float32, CROPS, wanted="openvino")
    with pytest.raises(NotExportable):
        OpenVinoBackend(nn.Sequential(nn.LSTM(3, 4)), torch.float32, CROPS)


def test_without_openvino_torch_computes_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(backends, "cpu_engine", lambda: ("torch", "OpenVINO is not installed"))
    backends._tell_absence.cache_clear()
    assert make_backend(Small(), CPU, torch.float32, CROPS).name == "torch"
    assert "OpenVINO is not installed" in caplog.text
    with pytest.raises(ConfigError, match="not installed"):
        make_backend(Small(), CPU, torch.float32, CROPS, wanted="openvino")


def test_wrong_names():
    with pytest.raises(ConfigError, match="auto, torch, openvino"):
        make_backend(Small(), CPU, torch.float32, CROPS, wanted="onnx")
    with pytest.raises(ConfigError, match="on a CPU"):
        make_backend(Small(), torch.device("cuda"), torch.float32, CROPS, wanted="openvino")


def test_nothing_reports_home():
    program = (
        "import sys, torch; from facecore.zoo.openvino_backend import OpenVinoBackend;"
        "b = OpenVinoBackend(torch.nn.Flatten(), torch.float32, (1, 4, 4, 3));"
        "b(torch.zeros(1, 4, 4, 3, dtype=torch.uint8));"
        "sys.exit(sys.modules['openvino_telemetry'] is not None)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


class Rotating(nn.Module):
    """An operator that OpenVINO has no rule for."""

    def forward(self, x):
        return torch.linalg.matrix_exp(x[:, 0, :4, :4].float() / 255).flatten(1)


def test_an_operator_that_openvino_lacks_is_left_to_torch(caplog):
    made = make_backend(Rotating(), CPU, torch.float32, CROPS)
    assert made.name == "torch"
    assert "matrix_exp" in caplog.text
