"""`facecore dataset` as people call it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image


def test_build_list_and_show(facecore, ready: dict[str, str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = []
    for number in range(6):
        name = f"{number}.png"
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(tmp_path / name)
        lines += [name, "1", "2 3 20 30 0 0 0 0 0 0"]
    (tmp_path / "boxes.txt").write_text("\n".join(lines))
    call = ("dataset", "build", "wider", "--name", "parade", "--images", str(tmp_path))
    call += ("--annotations", str(tmp_path / "boxes.txt"), "--val", "0", "--test", "0")
    built = json.loads(facecore(*call, "--json", **ready).stdout)
    assert (built["rows"], built["new"], built["version"]) == (6, True, 1)

    listed = json.loads(facecore("dataset", "list", "--json", **ready).stdout)
    assert [one["reference"] for one in listed] == [built["reference"]]
    shown = facecore("dataset", "show", built["reference"], "--verify", **ready)
    assert shown.returncode == 0, shown.stderr
    assert "6 rows, 6 faces" in shown.stdout

    unknown = facecore("dataset", "show", "parades", **ready)
    assert unknown.returncode == 2
    assert "Known: parade." in unknown.stderr
