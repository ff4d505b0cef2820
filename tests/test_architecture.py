"""The rules of the house: who may import whom, and what a bare GPU machine needs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "facecore"
BASE = {"types", "errors", "config"}
MODELS = BASE | {"zoo"}
STAGES = MODELS | {"stages"}
WORK = STAGES | {"pipeline", "quality", "lifecycle", "analytics", "governance"}

# layer → the layers it may import, besides itself
ALLOWED: dict[str, set[str]] = {
    "types": {"errors"},
    "errors": set(),
    "config": {"errors"},
    "zoo": BASE,
    "stages": MODELS,
    "pipeline": STAGES,
    "quality": STAGES,
    "lifecycle": STAGES | {"pipeline", "stores"},
    "analytics": STAGES | {"pipeline"},
    "stores": BASE,
    "local": BASE,
    "samples": BASE,
    "jobs": WORK | {"stores", "local", "samples"},
    "cli": WORK | {"jobs", "local", "stores", "samples"},
}
# Packages whose parts know those before them.
ORDERED = {
    "stores/catalog": (
        "models", "images", "work", "faces", "people", "search", "reports", "pages",
    ),
    "jobs": (
        "models", "images", "faces", "reports", "training", "people", "promotion", "platform",
        "demo", "on_ray",
    ),
}  # fmt: skip
BARE = {"torch", "torchvision", "numpy", "PIL", "facecore"}


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def at_import_time(tree: ast.Module) -> list[str]:
    """Imports that run when the module is imported: not in functions, not only for types."""
    names: list[str] = []
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            names += imported(node)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting += node.orelse
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.ClassDef):
            waiting += [n for n in ast.iter_child_nodes(node) if isinstance(n, ast.stmt)]
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_follow_the_direction(path: Path) -> None:
    own = layer(path)
    for name in imported(ast.parse(path.read_text("utf-8"))):
        parts = name.split(".")
        if parts[0] != "facecore" or len(parts) < 2 or parts[1] not in ALLOWED:
            continue
        assert parts[1] == own or parts[1] in ALLOWED[own], f"{own} must not import {name}"


@pytest.mark.parametrize("package", ORDERED)
def test_parts_of_a_package_have_an_order(package: str) -> None:
    order, prefix = ORDERED[package], f"facecore.{package.replace('/', '.')}."
    parts = [path.parent for path in (PACKAGE / package).glob("*/__init__.py")]
    assert {part.name for part in parts} == set(order)
    for path in (path for part in parts for path in part.glob("*.py")):
        later = order[order.index(path.parent.name) + 1 :]
        for name in imported(ast.parse(path.read_text("utf-8"))):
            if name.startswith(prefix):
                part = name.removeprefix(prefix).split(".")[0]
                assert part not in later, f"{path.relative_to(ROOT)} must not import {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_facecore_never_imports_airflow(path: Path) -> None:
    names = imported(ast.parse(path.read_text("utf-8")))
    assert not [name for name in names if name.split(".")[0] == "airflow"] or (
        # Airflow itself executes this file, copied into its own configuration folder.
        path.name == "airflow_local_settings.py"
    )


@pytest.mark.parametrize(
    "path",
    [p for p in modules() if layer(p) in {"types", "errors", "zoo", "stages", "pipeline"}],
    ids=lambda p: str(p.relative_to(PACKAGE)),
)
def test_models_and_stages_import_on_a_bare_machine(path: Path) -> None:
    for name in at_import_time(ast.parse(path.read_text("utf-8"))):
        top = name.split(".")[0]
        assert top in BARE or top in sys.stdlib_module_names, f"{path.name} needs {top}"
        assert not name.startswith("facecore.config"), "config needs pydantic"


def test_pipeline_really_imports_without_the_rest() -> None:
    program = (
        "import sys, facecore.pipeline.load, facecore.pipeline.stream\n"
        "heavy = {'pydantic', 'psycopg2', 'mlflow', 'minio', 'pandas', 'safetensors', 'onnx',\n"
        "         'great_expectations', 'airflow', 'sklearn'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or None)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_importing_starts_no_threads_that_a_fork_would_lose() -> None:
    """Tasks are forked from a process that has imported things. OpenMP's threads do not come
    along; a child of a process that used them waits for them for ever."""
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in modules()]
    program = f"""
import importlib, os, signal, sys
import torch
for name in {names!r}:
    if name.rpartition(".")[2] not in ("__main__", "airflow_local_settings", "mlflow_app", "env"):
        importlib.import_module(name)
child = os.fork()
if child == 0:
    signal.alarm(60)
    os._exit(0 if float((torch.ones(300, 300) @ torch.ones(300, 300)).sum()) == 300.0**3 else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_plugin_brings_facecore_into_no_process_before_its_pages_are_asked_for() -> None:
    program = (
        "import sys; import airflow.plugins_manager; before = set(sys.modules);"
        "import facecore_plugin; print(sorted(set(sys.modules) - before))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "plugins")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "['facecore_plugin']"


def test_files_are_one_concept() -> None:
    sources = [*modules(), *(ROOT / "dags").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    long = {p.name: n for p in sources if (n := len(p.read_text("utf-8").splitlines())) > 350}
    assert not long
    assert not [p.name for p in sources if p.stem in {"utils", "helpers", "common", "misc"}]


def test_no_pickle_on_any_path() -> None:
    for path in modules():
        names = {name.split(".")[0] for name in imported(ast.parse(path.read_text("utf-8")))}
        assert not names & {"pickle", "dill", "joblib", "cloudpickle", "shelve"}, path
        assert "torch.load(" not in path.read_text("utf-8"), path


def test_only_config_reads_facecore_settings_from_the_environment() -> None:
    for path in modules():
        text = path.read_text("utf-8")
        if layer(path) not in {"config", "local"}:
            assert 'environ["FACECORE' not in text, path
            assert 'getenv("FACECORE' not in text, path
