"""Registered versions measured on stored snapshots, as the commands do it."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from facecore.cli import app
from facecore.errors import NotFound, UsageError
from facecore.jobs.models.champions import default_extractor
from facecore.jobs.models.measured_models import find_version
from facecore.jobs.training import evaluate_model as job
from facecore.lifecycle.datasets import Destination, SplitPlan
from facecore.lifecycle.datasets.compose import compose_scenes
from facecore.lifecycle.datasets.composing.scene import Style


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def patterns(ready, store_faces):
    """Colour patterns instead of faces: told apart well enough to be counted."""
    return store_faces(ready.objects, f"made-{uuid4().hex[:6]}", {"test": 20}, 3)


@pytest.fixture(scope="module")
def scenes(ready, pictures, tmp_path_factory):
    """Composed scenes of the sample portraits."""
    folder = tmp_path_factory.mktemp("people")
    for portrait in pictures.values():
        target = folder / portrait.person.replace(" ", "_")
        target.mkdir(exist_ok=True)
        with Image.open(portrait.path) as picture:
            picture.convert("RGB").save(target / f"{portrait.path.stem}.jpg")
    return compose_scenes(
        Destination(ready.objects, f"scenes-{uuid4().hex[:6]}", tmp_path_factory.mktemp("work")),
        folder,
        default_extractor(ready),
        count=24,
        style=Style(size=256, least_face_px=40),
        plan=SplitPlan(val=0, test=0.5),
    ).snapshot


@pytest.fixture
def command(ready, monkeypatch):
    """`facecore evaluate …` on the session's services."""
    monkeypatch.setattr(job, "Stores", lambda: ready)
    return lambda *args: CliRunner().invoke(app, ["evaluate", *map(str, args)])


def test_a_challenger_that_is_as_good_passes_and_its_evidence_is_written(
    ready, patterns, register_rotated, tmp_path
):
    info = register_rotated(ready, seed=41)
    name = f"{info.name}/{info.version}"

    found = job.evaluate_model(name, patterns.name, stores=ready)

    assert (found.evaluation.model, found.champion.model) == (name, "face-embedder/1")
    assert found.evaluation.digest == patterns.digest
    assert found.comparison.primary.difference.value == pytest.approx(0, abs=0.02)
    assert not found.evaluation.calibrated_here  # the threshold that it was registered with
    assert found.cost.challenger.parameters == found.cost.champion.parameters == 9_629_632
    assert found.cost.challenger.flops == pytest.approx(1.148e9, rel=0.01)
    accuracy = next(gate for gate in found.gates if gate.name == "accuracy")
    assert accuracy.passed, accuracy.reason

    written = {path.name for path in found.write(tmp_path / "evidence", {"Asked by": "a test"})}
    assert {"evidence.html", "evaluation.json", "det.png", "scores.png"} <= written
    document = json.loads((tmp_path / "evidence" / "evaluation.json").read_text())
    assert document["comparison"]["primary"]["measure"].startswith("TAR at FAR")
    page = (tmp_path / "evidence" / "evidence.html").read_text()
    assert "Asked by" in page
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write into"):
        found.write(tmp_path / "file" / "folder")


def test_a_detector_is_measured_on_scenes_it_never_saw(ready, scenes, command, tmp_path):
    found = job.evaluate_model(
        "face-detector/1", scenes.name, against="nobody", with_plots=False, stores=ready
    )
    assert found.evaluation.ap_50.value > 0.8
    assert found.evaluation.landmarks.mean.value < 0.2
    assert found.evaluation.score_threshold == ready.settings.extract.score_threshold
    # unsure detections are in the average precision, and not in the recall
    assert found.evaluation.detections > found.evaluation.precision.trials
    assert found.cost.challenger.flops > 1e7
    assert found.cost.speed_ratio is None

    answer = command("detection", "--dataset", scenes.reference, "--json", "--out", tmp_path / "d")
    assert answer.exit_code == 0, answer.output
    assert (tmp_path / "d" / "precision_recall.png").is_file()
    assert json.loads(answer.stdout)["evaluation"]["ap_50"]["value"] == pytest.approx(
        found.evaluation.ap_50.value
    )


def test_commands_answer_in_words_and_in_json(ready, patterns, command):
    answer = command(
        "model", "face-embedder", "--dataset", patterns.name, "--no-cost", "--slices", "source"
    )
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.count("face-embedder/1") == 1  # the champion is not beside itself
    assert "Equal error rate" in answer.stdout
    assert "fairness: FMR by source" in answer.stdout
    answer = command(
        "identification", "--dataset", patterns.name, "--sizes", "5,10", "--fpir", "0.1", "--json"
    )
    assert answer.exit_code == 0, answer.output
    document = json.loads(answer.stdout)
    assert [point["gallery_size"] for point in document["open_set"]] == [5, 10]
    assert document["closed_set"]["gallery_size"] == 20


def test_wrong_calls_name_what_there_is(ready, patterns, scenes):
    def refused(kind, *args, **options):
        with pytest.raises(kind) as caught:
            job.evaluate_model(*args, stores=ready, with_cost=False, **options)
        return str(caught.value)

    assert "face-embedder/3" in refused(UsageError, "face-embedder/three", patterns.name)
    assert "face-embedder/999" in refused(NotFound, "face-embedder/999", patterns.name)
    assert "face-embedder@nobody" in refused(NotFound, "face-embedder@nobody", patterns.name)
    assert patterns.name in refused(NotFound, "face-embedder", "no-such-data")
    assert "scenes are needed" in refused(UsageError, "face-detector", patterns.name)
    assert "faces are needed" in refused(UsageError, "face-embedder", scenes.name)
    assert "no faces in split 'val'" in refused(
        UsageError, "face-embedder", patterns.name, split="val", against="nobody"
    )
    assert "one detects" in refused(
        UsageError, "face-embedder", patterns.name, against="face-detector/1"
    )
    assert find_version(ready, "face-embedder@champion").version == 1

    with pytest.raises(UsageError, match="needs an embedder"):
        job.identification("face-detector", scenes.name, stores=ready)
    with pytest.raises(UsageError, match="start at 1"):
        job.identification("face-embedder", patterns.name, sizes=[0], stores=ready)
    with pytest.raises(UsageError, match="too few for galleries"):
        job.identification("face-embedder", patterns.name, sizes=[500], stores=ready)
