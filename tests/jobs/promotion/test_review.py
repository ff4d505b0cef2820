"""Evidence, gates, and what a reviewer's answer does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from facecore.errors import PromotionRefused, UsageError
from facecore.jobs.lineage import RunContext
from facecore.jobs.models.champions import champions
from facecore.jobs.models.measured_models import MeasuredEmbedder
from facecore.jobs.promotion import review
from facecore.jobs.reports.published import newest
from facecore.jobs.stores import Stores
from facecore.lifecycle import evaluation
from facecore.lifecycle.datasets import Snapshot
from facecore.lifecycle.review import Answer, Review
from facecore.stores.catalog import audit
from facecore.stores.catalog.models import promotions
from facecore.stores.mlflow_session import mlflow_session

InUse = Callable[[], tuple[int, int]]
LIMITS = {"slowdown": None}  # times on a busy machine decide nothing here


@pytest.fixture(scope="session")
def snapshot(template: Stores, store_faces: Callable[..., Snapshot]) -> Snapshot:
    return store_faces(template.objects, "patterns", {"test": 24}, 3)


@pytest.fixture
def context() -> RunContext:
    from uuid import uuid4

    return RunContext("review_model", f"review-{uuid4().hex[:8]}", "task")


def answer(option: str, reason: str = "as good", user: str | None = "reviewer") -> dict:
    return {
        "chosen_options": [option],
        "params_input": {"reason": reason},
        "responded_by_user": {"id": "1", "name": user} if user else None,
    }


@pytest.fixture(scope="session", autouse=True)
def one_round() -> Iterator[None]:
    """Time the models once: what it says is not what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "measure_cost", partial(evaluation.measure_cost, rounds=1))
        yield


@pytest.fixture(scope="session")
def judged(
    judging_stores: Stores, challengers: Any, snapshot: Snapshot, one_round: None
) -> dict[str, Any]:
    info = challengers.rotated
    made = RunContext("review_model", "judged-once", "evaluate")
    asked = (info.name, info.version, snapshot.reference)
    return review.evaluate(made, *asked, limits=LIMITS, stores=judging_stores)


def test_approval_promotes_and_is_recorded_everywhere(
    stores: Stores,
    judging_stores: Stores,
    steps,
    challengers,
    judged: dict,
    context: RunContext,
    in_use: InUse,
) -> None:
    info = challengers.rotated
    assert judged["failed"] == []
    assert "| difference (95 % interval) |" in judged["summary"]
    json.dumps(judged)  # travels through XCom
    page = stores.objects.get("reports", judged["evidence"]).decode()
    assert f"{info.name}/{info.version}" in page
    published = newest(kind="review", stores=judging_stores).reports
    assert judged["evidence"] in {key for report in published for _, key in report.files}
    with mlflow_session(stores.settings.mlflow) as client:
        run = client.get_run(judged["run_id"])
        files = {item.path for item in client.list_artifacts(judged["run_id"])}
    assert {"evidence.html", "evaluation.json"} < files
    assert any(file.endswith(".png") for file in files)
    assert run.inputs.dataset_inputs[0].dataset.name == "patterns"

    (promotion_id,) = review.decide(context, judged, answer("Approve"), stores)
    assert review.decide(context, judged, answer("Approve"), stores) == [promotion_id]
    assert in_use() == (1, 1)
    assert steps.aliases()[0] == info.version
    tags = stores.registry.version(info.name, info.version).tags
    assert (tags["review.decision"], tags["review.reviewer"], tags["review.reason"]) == (
        "approved", "reviewer", "as good",
    )  # fmt: skip
    with stores.catalog.transaction() as tx:
        actions = [e.action for e in audit.newest(tx, subject=f"{info.name}/{info.version}")]
        found = promotions.get(tx, promotion_id)
    assert actions.count("review.approved") == 1
    assert (found.origin, found.actor, found.reason) == ("review", "reviewer", "as good")
    assert steps.start() == promotion_id
    steps.until_compared(promotion_id)
    steps.switch(promotion_id)
    assert in_use() == (1, info.version)
    assert review.decide(context, judged, answer("Approve"), stores) == []


def test_an_approved_detector_comes_with_the_embedder_in_use(
    stores: Stores, steps, challengers, context: RunContext
) -> None:
    """The one it was paired with in training is not, or no longer, in use."""
    info, used = challengers.detector, champions(stores).embedder
    assert challengers.paired.weights_sha256 != used.weights_sha256
    judged = Review(
        name=info.name,
        version=info.version,
        dataset="scenes",
        champion=f"{info.name}/1",
        failed=(),
        override="",
        evidence="review/scenes.html",
        run_id="",
        summary="",
    ).to_json()
    before = steps.names_by_picture()
    (promotion_id,) = review.decide(context, judged, answer("Approve"), stores)
    assert review.decide(context, judged, answer("Approve"), stores) == [promotion_id]
    steps.do(promotion_id)
    chosen = champions(stores)
    assert chosen.detector.version == info.version
    assert chosen.embedder.weights_sha256 == used.weights_sha256
    assert steps.names_by_picture() == before
    assert review.decide(context, judged, answer("Approve"), stores) == []


@pytest.mark.parametrize(
    ("response", "decision", "reviewer"),
    [
        (answer("Reject", "too slow"), "rejected", "reviewer"),
        (answer("Ask for more", "show children"), "more evidence wanted", "reviewer"),
        (answer("Reject", "", None), "rejected", "time-out"),
        (answer("Approve", "", None), "rejected", "time-out"),
    ],
    ids=["rejected", "asked", "time-out", "never approved by nobody"],
)
def test_anything_else_promotes_nothing(
    stores: Stores, steps, challengers, judged, context, response, decision, reviewer
) -> None:
    info = challengers.rotated
    assert review.decide(context, judged, response, stores) == []
    assert steps.aliases()[0] == 1
    assert steps.start() is None
    tags = stores.registry.version(info.name, info.version).tags
    assert (tags["review.decision"], tags["review.reviewer"]) == (decision, reviewer)
    with stores.catalog.transaction() as tx:
        (entry,) = audit.newest(tx)
    assert entry.action == f"review.{decision.replace(' ', '_')}"
    assert entry.actor == reviewer


def test_a_person_gives_a_reason() -> None:
    with pytest.raises(UsageError, match="reason"):
        Answer.read(answer("Approve", "  "))
    with pytest.raises(UsageError, match="none of"):
        Answer.read({"chosen_options": ["Perhaps"]})


@pytest.mark.parametrize("override", ["", pytest.param("a test", marks=pytest.mark.slow)])
def test_a_failed_gate_blocks_unless_it_is_overridden(
    stores: Stores, challengers, snapshot, context, monkeypatch: pytest.MonkeyPatch, override: str
) -> None:
    """A challenger that cannot tell anybody apart: its embedder is replaced by a blind one."""

    info = challengers.again
    embed = MeasuredEmbedder.embed
    rng = np.random.default_rng(5)

    def blind(model, pixels):
        if model.name != f"{info.name}/{info.version}":
            return embed(model, pixels)
        drawn = rng.normal(size=(len(pixels), 128)).astype(np.float32)
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    monkeypatch.setattr(MeasuredEmbedder, "embed", blind)
    arguments = (info.name, info.version, snapshot.reference)
    if not override:
        with pytest.raises(PromotionRefused, match="accuracy") as caught:
            review.evaluate(context, *arguments, limits=LIMITS, stores=stores)
        assert "accuracy" in caught.value.failed
        tags = stores.registry.version(info.name, info.version).tags
        assert (tags["review.decision"], tags["review.reviewer"]) == ("blocked", "gates")
        return
    judged = review.evaluate(context, *arguments, limits=LIMITS, override=override, stores=stores)
    assert judged["override"] == "a test"
    assert "overridden: a test" in judged["summary"]
    review.decide(context, judged, answer("Approve"), stores)
    with stores.catalog.transaction() as tx:
        planned = next(e for e in audit.newest(tx) if e.action == "promotion.planned")
    assert planned.details["override"] == "a test"
    assert "accuracy" in planned.details["failed_gates"]


def test_what_could_not_come_into_use_is_not_put_to_a_reviewer(
    stores: Stores, challengers, snapshot, context
) -> None:
    bad = challengers.uncalibrated
    with pytest.raises(PromotionRefused, match="no calibrated threshold"):
        review.evaluate(context, bad.name, bad.version, snapshot.reference, stores=stores)
    with pytest.raises(UsageError, match="scenes are needed"):
        review.evaluate(
            context, challengers.detector.name, challengers.detector.version,
            snapshot.reference, stores=stores,
        )  # fmt: skip
