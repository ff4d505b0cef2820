"""Both DAGs of a promotion run to their end by Airflow itself, with a reviewer who answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facecore.jobs.lineage import RunContext
from facecore.jobs.people.enroll import Picture, enroll
from facecore.jobs.stores import Stores
from facecore.samples.sources import Portrait, portraits
from facecore.stores.catalog import audit
from facecore.stores.catalog.models import active, models
from facecore.stores.registry import ModelVersionInfo

ROOT = Path(__file__).resolve().parents[2]
RunDags = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def challenger(
    dag_stores: Stores, register_rotated: Callable[..., ModelVersionInfo], store_faces: Any
) -> ModelVersionInfo:
    store_faces(dag_stores.objects, "patterns", {"test": 24}, 3)
    return register_rotated(dag_stores, 11)


@pytest.fixture
def first_version(dag_stores: Stores, downloads: Path) -> Stores:
    """Version 1 in use, people enrolled; afterwards as before."""

    def reset() -> None:
        with dag_stores.catalog.transaction() as tx, tx.cursor() as cursor:
            cursor.execute(
                "TRUNCATE image, sighting, shard, face, embedding, person, assignment, report, "
                "run, ingest_cursor, promotion, alias_decision RESTART IDENTITY CASCADE"
            )
            for version in models.every(tx):
                if version.version == 1:
                    models.set_active(tx, version.id)
        names = dag_stores.settings.mlflow
        for name in (names.detector, names.embedder):
            dag_stores.registry.set_alias(name, "champion", 1)

    reset()
    known: dict[str, Portrait] = {p.name: p for p in portraits(downloads)}
    gallery = [Picture(p.person, p.path) for p in known.values() if p.role == "gallery"]
    enroll(RunContext("test", "enrol", "enroll"), gallery, stores=dag_stores)
    yield dag_stores
    reset()


def in_use(stores: Stores) -> int:
    with stores.catalog.transaction() as tx:
        return active.current(tx).embedder.version


def actions(stores: Stores, subject: str) -> list[tuple[str, str, str]]:
    with stores.catalog.transaction() as tx:
        return [(e.action, e.actor, e.reason) for e in audit.newest(tx, subject=subject)]


def test_an_approved_challenger_comes_into_use_and_goes_back(
    first_version: Stores,
    challenger: ModelVersionInfo,
    run_dags: RunDags,
    review: Callable[..., dict[str, Any]],
) -> None:
    stores, subject = first_version, f"{challenger.name}/{challenger.version}"
    approved = review(challenger, "Approve", "as good, and ours")
    assert approved["state"] == "success", approved["log"][-4000:]
    assert approved["tasks"]["promote"] == ["success"]
    assert in_use(stores) == 1

    promoted, nothing, back = run_dags(
        ("reembed_faces", {}),
        ("reembed_faces", {}),
        ("reembed_faces", {"action": "roll back", "reason": "a test"}),
    )
    assert promoted["state"] == "success", promoted["log"][-6000:]
    assert promoted["tasks"] == {
        "begin": ["success"],
        "plan_shards": ["success"],
        "fill_shard": ["success"],
        "build_index": ["success"],
        "stage_shard": ["success"],
        "compare": ["success"],
        "switch": ["success"],
    }
    assert actions(stores, subject)[:3] == [
        ("promotion.active", "reviewer", "as good, and ours"),
        ("promotion.planned", "reviewer", "as good, and ours"),
        ("review.approved", "reviewer", "as good, and ours"),
    ]
    assert nothing["state"] == "success"
    assert nothing["tasks"]["switch"] == ["skipped"]
    assert back["state"] == "success", back["log"][-4000:]
    assert in_use(stores) == 1


@pytest.mark.slow
def test_a_rejection_or_nobody_promotes_nothing(
    first_version: Stores, challenger: ModelVersionInfo, review: Callable[..., dict[str, Any]]
) -> None:
    """The callables behind it are tested, with every answer, in tests/jobs/promotion."""
    rejected = review(challenger, "Reject", "not yet")
    assert rejected["tasks"]["promote"] == ["skipped"]
    ended = review(challenger, None, "")
    assert ended["state"] == "success"
    assert ended["tasks"]["promote"] == ["skipped"]
    assert in_use(first_version) == 1
    newest = actions(first_version, f"{challenger.name}/{challenger.version}")[0]
    assert newest == ("review.rejected", "time-out", "nobody answered in time")


@pytest.fixture
def review(dag_environment: dict[str, str]) -> Callable[..., dict[str, Any]]:
    """Run review_model with a reviewer who answers (option None: the time runs out)."""

    def run(challenger: ModelVersionInfo, option: str | None, reason: str) -> dict[str, Any]:
        conf = {
            "model": challenger.name,
            "version": challenger.version,
            "dataset": "patterns",
            "slowdown": None,
        }
        done = subprocess.run(
            [sys.executable, "-c", _REVIEW, json.dumps(conf), json.dumps([option, reason])],
            cwd=ROOT,
            env=dag_environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
        log = done.stdout + done.stderr
        assert done.returncode == 0, log[-6000:]
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer | {"log": log}

    return run


# What Airflow's API does with an answer, and its scheduler when the time has run out.
_REVIEW = """
import json, sys, threading, time
from airflow.dag_processing.dagbag import DagBag
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import handle_event_submit
from airflow.triggers.base import TriggerEvent
from airflow.utils import timezone
from airflow.utils.session import create_session
from airflow.utils.state import TaskInstanceState
from sqlalchemy import select
from sqlalchemy.orm import joinedload

option, reason = json.loads(sys.argv[2])

def answer():
    while True:
        time.sleep(0.2)
        with create_session() as session:
            found = session.scalars(
                select(TaskInstance).where(
                    TaskInstance.dag_id == "review_model",
                    TaskInstance.state == TaskInstanceState.AWAITING_INPUT,
                )
                .options(joinedload(TaskInstance.hitl_detail))
                .order_by(TaskInstance.queued_dttm.desc())
            ).first()
            if found is None or found.hitl_detail is None:
                continue
            detail = found.hitl_detail
            detail.responded_at = timezone.utcnow()
            if option is None:
                detail.chosen_options = list(detail.defaults)
                detail.params_input = {key: param["value"] for key, param in detail.params.items()}
                detail.responded_by = None
            else:
                detail.chosen_options = [option]
                detail.params_input = {"reason": reason}
                detail.responded_by = {"id": "reviewer", "name": "reviewer"}
            session.add(detail)
            payload = detail.as_resume_event_payload(timedout=option is None)
            handle_event_submit(TriggerEvent(payload), task_instance=found, session=session)
            return

threading.Thread(target=answer, daemon=True).start()
bag = DagBag("dags")
assert not bag.import_errors, bag.import_errors
run = bag.get_dag("review_model").test(run_conf=json.loads(sys.argv[1]))
states = {}
for instance in run.get_task_instances():
    states.setdefault(instance.task_id, []).append(str(instance.state))
print(json.dumps({"state": str(run.state), "tasks": states}))
"""
