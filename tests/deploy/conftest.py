"""What the deployment's tests share: scripts of `deploy/` as modules, a filled-in `.env`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture(scope="session")
def script() -> Callable[[str], ModuleType]:
    """Import `deploy/NAME.py`, which is no package, by its path."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"deploy_{name}", DEPLOY / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def new_env_file(script, tmp_path) -> Path:
    """The `.env` that `deploy/new_env.py` writes."""
    target = tmp_path / "new.env"
    assert script("new_env").main(target) == 0
    return target
