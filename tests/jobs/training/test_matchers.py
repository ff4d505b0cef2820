"""A learned matcher's life: trained, reviewed, in use, asked about two pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
import torch
from typer.testing import CliRunner

from facecore.cli import app
from facecore.errors import PromotionRefused, UsageError
from facecore.jobs.lineage import RunContext
from facecore.jobs.models import analysis_models
from facecore.jobs.people import compare as comparing
from facecore.jobs.people.compare import compare
from facecore.jobs.promotion import promotion, review
from facecore.jobs.promotion.registry_watch import unnoticed_alias
from facecore.jobs.stores import Stores
from facecore.jobs.training import train as training
from facecore.lifecycle import packaging
from facecore.lifecycle.datasets import Snapshot
from facecore.samples.sources import Portrait
from facecore.stores.catalog import audit
from facecore.stores.mlflow_session import mlflow_session
from facecore.stores.registry import WEIGHTS, ModelVersionInfo

NAME = "face-matcher"
CONTEXT = RunContext("test", "compare", "compare")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(ready: Stores, store_faces: Callable[..., Snapshot]) -> Snapshot:
    name = f"pairs-{uuid4().hex[:6]}"
    return store_faces(ready.objects, name, {"train": 12, "val": 10, "test": 22}, 3)


@pytest.fixture(scope="module")
def versions(ready: Stores, data: Snapshot) -> list[ModelVersionInfo]:
    """Two trained versions."""
    found = []
    for seed in (1, 2):
        (plan,) = training.plan_runs(
            {
                "model": "siamese",
                "goals": "match",
                "dataset": data.name,
                "options": {"hidden": 8},
                "epochs": 2,
                "batch_size": 8,
                "device": "cpu",
                "threads": 1,
                "augmentation": "none",
                "seed": seed,
            },
            stores=ready,
        )
        context = RunContext("test", f"matcher-{uuid4().hex[:6]}", "train")
        (version,) = training.train_challenger(context, plan, stores=ready)["versions"]
        found.append(ready.registry.version(NAME, int(version.rpartition("/")[2])))
    return found


@pytest.fixture(autouse=True)
def nobody_in_use(ready: Stores) -> None:
    with ready.catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute("UPDATE model_version SET state = 'retired' WHERE task = 'match'")
        cursor.execute("DELETE FROM alias_decision WHERE name = %s", [NAME])


def answer(option: str) -> dict[str, object]:
    return {
        "chosen_options": [option],
        "params_input": {"reason": "looks right"},
        "responded_by_user": {"id": "1", "name": "reviewer"},
    }


def in_use(stores: Stores) -> int | None:
    used = analysis_models.in_use(stores, "match")
    return None if used is None else used.version


def test_a_review_puts_it_beside_the_cosine_and_then_beside_the_one_in_use(
    ready: Stores, data: Snapshot, versions: list[ModelVersionInfo]
) -> None:
    first, second = versions
    context = RunContext("review_model", f"review-{uuid4().hex[:8]}", "task")

    def judged(info: ModelVersionInfo) -> dict:
        return review.evaluate(
            context, info.name, info.version, data.reference, override="made-up", stores=ready
        )

    beside_cosine = judged(first)
    assert beside_cosine["champion"] == "cosine of face-embedder/1"
    assert "as good as the cosine" in beside_cosine["summary"]
    page = ready.objects.get("reports", beside_cosine["evidence"]).decode()
    assert "<figure>" in page
    with mlflow_session(ready.settings.mlflow) as client:
        files = {item.path for item in client.list_artifacts(beside_cosine["run_id"])}
    assert {"evidence.html", "evaluation.json", "matcher_reliability.png"} <= files
    assert review.decide(context, beside_cosine, answer("Reject"), ready) == []
    assert in_use(ready) is None
    assert review.decide(context, beside_cosine, answer("Approve"), ready) == []
    assert in_use(ready) == first.version
    assert ready.registry.aliases(NAME)["champion"] == first.version

    beside_first = judged(second)
    assert beside_first["champion"] == f"{NAME}/{first.version}"
    assert f"of {NAME}/{first.version}" in beside_first["summary"]
    with pytest.raises(PromotionRefused, match="in use already"):
        judged(first)


def test_it_says_how_likely_two_pictures_are_of_one_person(
    ready: Stores,
    versions: list[ModelVersionInfo],
    pictures: dict[str, Portrait],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    obama, again, hopper = (
        pictures[name].path for name in ("obama.jpg", "obama2.jpg", "grace_hopper.jpg")
    )
    alone = compare(CONTEXT, obama, again, stores=ready)
    assert alone.same
    assert alone.probability is None
    assert set(alone.models) == {"detect", "embed"}

    info = versions[0]
    assert analysis_models.activate(NAME, info.version, actor="t", reason="t", stores=ready)
    same, other = (compare(CONTEXT, obama, path, stores=ready) for path in (again, hopper))
    assert same.models["match"] == f"{NAME}/{info.version}"
    assert (same.same, other.same) == (True, False)
    assert same.similarity == alone.similarity
    assert same.probability is not None
    assert other.probability is not None
    assert same.probability > other.probability
    # What it answers in MLflow for the same pictures.
    model = ready.registry.pyfunc(info)
    import pandas as pd

    (served,) = model.predict(
        pd.DataFrame({"first": [obama.read_bytes()], "second": [again.read_bytes()]})
    )
    assert served["probability"] == pytest.approx(same.probability, abs=1e-3)

    monkeypatch.setattr(comparing, "Stores", lambda: ready)
    told = CliRunner().invoke(app, ["compare", str(obama), str(hopper), "--fmr", "0.01"])
    assert told.exit_code == 0, told.output
    assert "Two people: similarity" in told.output
    assert f"{NAME}/{info.version}" in told.output
    document = CliRunner().invoke(app, ["compare", str(obama), str(again), "--json"])
    assert json.loads(document.stdout)["same"] is True


def test_pictures_that_cannot_be_compared_are_named(
    ready: Stores, pictures: dict[str, Portrait], tmp_path
) -> None:
    one = pictures["obama.jpg"].path
    with pytest.raises(UsageError, match=r"gone\.jpg cannot be read"):
        compare(CONTEXT, one, tmp_path / "gone.jpg", stores=ready)
    (tmp_path / "text.jpg").write_bytes(b"text")
    with pytest.raises(UsageError, match=r"text\.jpg cannot be used"):
        compare(CONTEXT, one, tmp_path / "text.jpg", stores=ready)
    from PIL import Image

    Image.new("RGB", (200, 200), "grey").save(tmp_path / "wall.png")
    with pytest.raises(UsageError, match=r"no face was found in .*wall\.png"):
        compare(CONTEXT, tmp_path / "wall.png", one, stores=ready)
    with pytest.raises(UsageError, match="support no false-match rate"):
        compare(CONTEXT, one, one, fmr=1e-9, stores=ready)


def test_an_alias_set_by_hand_is_noticed_and_followed(
    ready: Stores, versions: list[ModelVersionInfo]
) -> None:
    first, second = versions
    analysis_models.activate(NAME, first.version, actor="t", reason="t", stores=ready)
    assert unnoticed_alias(ready) is None
    ready.registry.set_alias(NAME, "champion", second.version)
    assert unnoticed_alias(ready) == {"name": NAME, "version": second.version}
    context = RunContext("reembed_faces", f"alias-{uuid4().hex[:8]}", "begin")
    assert promotion.begin(context, "promote", actor="ada", reason="", stores=ready) is None
    assert in_use(ready) == second.version
    assert unnoticed_alias(ready) is None
    with ready.catalog.transaction() as tx:
        entry, *_ = audit.newest(tx, subject=f"{NAME}/{second.version}")
    assert (entry.action, entry.actor) == ("promotion.active", "ada")
    assert entry.details["origin"] == "alias"
    assert ready.registry.aliases(NAME)["previous"] == first.version


def test_a_matcher_of_another_embedder_is_refused_once(
    ready: Stores, versions: list[ModelVersionInfo], register_rotated, tmp_path
) -> None:
    other = register_rotated(ready, seed=77)
    folder = ready.registry.download(versions[0])
    foreign = ready.registry.register(
        packaging.matcher_package(
            NAME,
            packaging.Weights("siamese", folder / WEIGHTS, versions[0].weights_sha256),
            other,
            ready.registry.download(other),
            packaging.Evidence(
                "# Of another embedder", tags={"embedder_version": f"{other.name}/{other.version}"}
            ),
            tmp_path,
        )
    )
    with pytest.raises(PromotionRefused, match=f"compares vectors of {other.name}"):
        analysis_models.activate(NAME, foreign.version, actor="t", reason="t", stores=ready)
    ready.registry.set_alias(NAME, "champion", foreign.version)
    assert unnoticed_alias(ready) == {"name": NAME, "version": foreign.version}
    assert analysis_models.follow_aliases(ready, actor="t") == {}
    assert unnoticed_alias(ready) is None
    assert in_use(ready) is None
    with ready.catalog.transaction() as tx:
        entry, *_ = audit.newest(tx, subject=f"{NAME}/{foreign.version}")
    assert entry.action == "promotion.refused"
    ready.registry.set_alias(NAME, "champion", versions[0].version)
