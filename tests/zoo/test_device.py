import subprocess
import sys

import pytest
import torch

from facecore.errors import ConfigError, DeviceUnavailable
from facecore.zoo import device


def test_auto_takes_what_is_there():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert device.resolve_device("auto").type == expected
    assert device.resolve_device("cpu").type == "cpu"


def test_an_absent_device_fails_at_once():
    absent = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(DeviceUnavailable) as caught:
        device.resolve_device(absent)
    assert caught.value.device == absent
    assert "CUDA_VISIBLE_DEVICES" in str(caught.value)


@pytest.mark.parametrize("name", ["gpu", "mps", "", "meta"])
def test_other_names_are_refused(name):
    with pytest.raises(ConfigError, match="auto, cpu, cuda"):
        device.resolve_device(name)


def test_precisions():
    cpu = torch.device("cpu")
    assert device.resolve_precision("fp32", cpu) == torch.float32
    assert device.resolve_precision("bf16", cpu) == torch.bfloat16
    assert device.resolve_precision("auto", cpu) in (torch.float32, torch.bfloat16)
    with pytest.raises(ConfigError, match="needs CUDA"):
        device.resolve_precision("fp16", cpu)
    with pytest.raises(ConfigError, match="int4"):
        device.resolve_precision("int4", cpu)


def test_timing_leaves_the_thread_count_alone():
    before = torch.get_num_threads()
    device._time_convolution(torch.float32)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "250000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 1 << 16),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1 << 16),
        ({}, 1 << 16),
    ],
)
def test_container_quotas(tmp_path, files, cores):
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    assert device._quota(tmp_path) == cores


def test_cores_and_threads():
    code = (
        "import os, torch; from facecore.zoo.device import usable_cores, use_threads;"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "print(usable_cores(), use_threads(), torch.get_num_threads(), use_threads(3))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1", "1", "3"]
