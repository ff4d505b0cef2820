"""The documentation speaks of things that exist: settings, commands, targets, files, numbers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel, SecretStr
from typer.core import TyperGroup

from facecore.cli import app
from facecore.config import Settings
from facecore.lifecycle.default_pack import default_calibration, default_verification
from facecore.lifecycle.thresholds import threshold_for_gallery

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
COMMANDS = typer.main.get_command(app)
UsageError = typer.BadParameter.__mro__[1]  # of the click that typer brings

page = pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))


def code(text: str) -> list[str]:
    """Every line of code in a page: fenced blocks line by line, and inline spans."""
    fence = re.compile(r"^\s*```.*?\n(.*?)^\s*```\s*?$", re.DOTALL | re.MULTILINE)
    blocks = [block.replace("\\\n", " ") for block in fence.findall(text)]
    spans = re.findall(r"`([^`\n]+)`", fence.sub("", text))
    return [line for block in blocks for line in block.splitlines()] + spans


def calls(text: str, program: str) -> Iterator[list[str]]:
    """The arguments of each call of `program` in the page's code."""
    for line in code(text):
        found = re.match(rf"(?:\w+=\S+ )*(?:\$ )?(?:\.venv/bin/)?{program}(?= |$)([^|>]*)", line)
        if found is not None:
            yield shlex.split(found[1], comments=True)


def settings() -> dict[str, Any]:
    """Name of each setting → its default."""
    found: dict[str, Any] = {}
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, BaseModel):
            group = type(field.default).model_fields.items()
            found |= {f"FACECORE_{name}__{sub}".upper(): part.default for sub, part in group}
        else:
            found[f"FACECORE_{name}".upper()] = field.default
    return found


def as_documented(value: Any) -> str:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value in (None, ""):
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{list(value)}`" if isinstance(value, tuple) else f"`{value}`"


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def test_every_setting_is_in_the_table_with_its_default() -> None:
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `(FACECORE_\w+)` \| (.+?) \|", text, re.MULTILINE))
    assert rows == {name: as_documented(value) for name, value in settings().items()}


@page
def test_settings_that_are_named_exist(path: Path) -> None:
    known = settings()
    # Set by docker-compose.yml and the Makefile's own variables, not settings of facecore.
    others = set(re.findall(r"FACECORE_\w+", (ROOT / "deploy" / ".env.example").read_text("utf-8")))
    for name in re.findall(r"FACECORE_[A-Z0-9_]*[A-Z0-9]", path.read_text("utf-8")):
        group = any(setting.startswith(f"{name}__") for setting in known)
        assert name in known or name in others or group, f"{path.name} names {name}"


@page
def test_make_targets_exist(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for arguments in calls(path.read_text("utf-8"), "make"):
        target = next((a for a in arguments if "=" not in a), None)
        assert target is None or target in targets, f"{path.name}: make {target}"


@page
def test_commands_are_calls_that_the_program_takes(path: Path) -> None:
    for arguments in calls(path.read_text("utf-8"), "facecore"):
        said = f"{path.name}: facecore {' '.join(arguments)}"
        remaining = [a for a in arguments if a != "-v"]
        if not remaining or not re.fullmatch(r"[a-z-]+", remaining[0]):
            continue  # `facecore …`, and what the program prints
        command: Any = COMMANDS
        while isinstance(command, TyperGroup) and remaining and remaining[0][0] != "-":
            command = command.get_command(typer.Context(command), remaining.pop(0))
            assert command is not None, said
        if remaining and remaining != ["--help"]:  # a bare name is a name, not a call
            try:
                command.make_context(command.name, remaining)
            except UsageError as error:
                raise AssertionError(f"{said}: {error}") from None


@page
def test_relative_links_resolve(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        assert linked.exists(), f"{path.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text("utf-8"), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, f"{path.name}: {target}"


@page
def test_files_that_are_named_exist(path: Path) -> None:
    own = r"(?:facecore|dags|plugins|deploy|docs|tests|benchmarks)"
    for line in code(path.read_text("utf-8")):
        for name in re.findall(rf"(?:^|\s)({own}/[\w./-]+)", line):
            assert (ROOT / name.rstrip(".")).exists(), f"{path.name} names {name}"


def test_every_package_is_in_the_module_table() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    for package in (p.parent for p in (ROOT / "facecore").glob("*/__init__.py")):
        assert f"`facecore/{package.name}`" in text, package.name
    for package in (p.parent for p in (ROOT / "facecore/stores/catalog").glob("*/__init__.py")):
        assert f"`facecore/stores/catalog/{package.name}`" in text, package.name
    jobs = ROOT / "facecore" / "jobs"
    for module in (path.relative_to(ROOT) for path in jobs.rglob("[a-z]*.py")):
        if module.parent.name != "on_ray":
            assert f"`{module}`" in text, module


def test_the_calibration_table_is_the_shipped_one() -> None:
    text = (ROOT / "docs" / "models.md").read_text("utf-8")
    calibration = default_calibration()
    for p in calibration.points:
        assert (
            f"| {p.fmr:.1e} | {p.threshold:.4f} | {p.low:.4f}–{p.high:.4f} "
            f"| {p.fnmr:.4f} | {p.fnmr_low:.4f}–{p.fnmr_high:.4f} |"
        ) in text
    galleries = re.findall(
        r"^\| ([\d,]+) \| [\de.-]+ \| (0\.\d{4}) \| (\w*) \|", text, re.MULTILINE
    )
    assert len(galleries) == 7
    for size, threshold, extrapolated in galleries:
        found = threshold_for_gallery(calibration, 0.01, int(size.replace(",", "")))
        assert f"{found.threshold:.4f}" == threshold
        assert found.extrapolated == bool(extrapolated)


@pytest.mark.parametrize("name", ["README.md", "docs/models.md"])
def test_the_accuracy_is_the_measured_one(name: str) -> None:
    measured = default_verification()
    interval = measured["accuracy_interval"]
    text = (ROOT / name).read_text("utf-8")
    assert f"{measured['accuracy']:.4f}" in text
    assert f"{interval['low']:.4f}–{interval['high']:.4f}" in text
    assert f"{measured['images']:,}" in text
    assert not measured["faces_not_found"]
