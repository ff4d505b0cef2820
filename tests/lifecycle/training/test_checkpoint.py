"""Training state without pickle."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from facecore.errors import WeightsError
from facecore.lifecycle.training.checkpoint import SafetensorsCheckpoint

STATE = {
    "state_dict": OrderedDict(weight=torch.arange(6.0).reshape(2, 3), count=torch.tensor(4)),
    "optimizer_states": [
        {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"betas": (0.9, 0.999)}]}
    ],
    "loops": {"fit_loop": {"total": {"ready": 2, "best": float("-inf")}, "flag": True}},
    "lr_schedulers": [],
    "nothing": None,
}


def test_everything_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    files = SafetensorsCheckpoint()
    files.save_checkpoint(STATE, path)
    found = files.load_checkpoint(path)
    assert str(found) == str({**STATE, "state_dict": dict(STATE["state_dict"])})
    assert torch.equal(found["state_dict"]["weight"], STATE["state_dict"]["weight"])
    files.remove_checkpoint(path)
    assert not path.exists()


def test_what_is_not_plain_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="Path"):
        SafetensorsCheckpoint().save_checkpoint({"where": tmp_path}, tmp_path / "a")
    assert not (tmp_path / "a").exists()


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('executed')",)


def test_a_pickle_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "state.ckpt"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(WeightsError, match=r"state\.ckpt is not a training checkpoint"):
        SafetensorsCheckpoint().load_checkpoint(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(WeightsError, match=r"state\.ckpt is not a training checkpoint"):
        SafetensorsCheckpoint().load_checkpoint(path)
