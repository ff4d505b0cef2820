"""`facecore anomalies` and `facecore forecast`, as a user calls them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

Facecore = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_new_platform_has_nothing_to_say_and_says_so(
    facecore: Facecore, ready: dict[str, str]
) -> None:
    scored = facecore("anomalies", "--json", **ready)
    assert scored.returncode == 0, scored.stderr
    assert json.loads(scored.stdout) == {
        "scored": {"shards": 0},
        "published": None,
        "unusual": [],
    }
    assert "train one with" in scored.stderr
    due = facecore("forecast", "--json", **ready)
    assert due.returncode == 0, due.stderr
    answer = json.loads(due.stdout)
    assert not answer["learned"]
    assert answer["forecast"] == 0
    people = facecore("forecast", "--people", **ready)
    assert people.returncode == 0, people.stderr
    assert "nobody came often enough" in people.stdout
    page = facecore("anomalies", "--publish", **ready)
    assert page.returncode == 2
    assert "Train and promote one" in page.stderr


def test_the_models_and_goals_are_offered(facecore: Facecore, ready: dict[str, str]) -> None:
    refused = facecore(
        "train", "--model", "lstm", "--goal", "reconstruct", "--dataset", "x", **ready
    )
    assert refused.returncode == 2
    assert "Goals for it: forecast" in refused.stderr
