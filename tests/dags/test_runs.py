"""Each DAG run to its end by Airflow itself, on real stores and real faces."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facecore.jobs.lineage import RunContext
from facecore.jobs.people.enroll import Picture, enroll
from facecore.jobs.stores import Stores
from facecore.samples.sources import Portrait, portraits
from facecore.stores.catalog.pages.findings import findings
from facecore.stores.catalog.pages.summary import summarise
from facecore.stores.catalog.reports import reports

RunDags = Callable[..., list[dict[str, Any]]]
KEY = "door/2026/11/02/083000-{}"


@pytest.fixture(scope="module")
def pictures(downloads: Path) -> dict[str, Portrait]:
    return {portrait.name: portrait for portrait in portraits(downloads)}


@pytest.fixture
def delivered(dag_stores: Stores, pictures: dict[str, Portrait]) -> list[str]:
    """People enrolled, probes and a broken file in the landing bucket."""
    with dag_stores.catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute(
            "TRUNCATE image, sighting, shard, face, embedding, person, assignment, report, run, "
            "ingest_cursor RESTART IDENTITY CASCADE"
        )
    gallery = [Picture(p.person, p.path) for p in pictures.values() if p.role == "gallery"]
    enroll(RunContext("test", "enrol", "enroll"), gallery, stores=dag_stores)
    keys = []
    for name in ("obama2.jpg", "obama3.jpg", "grace_hopper.jpg"):
        keys.append(KEY.format(name))
        dag_stores.objects.put("landing", keys[-1], pictures[name].path.read_bytes())
    keys.append(KEY.format("broken.jpg"))
    dag_stores.objects.put("landing", keys[-1], b"not a picture")
    return keys


def test_the_dags_do_the_main_job(
    dag_stores: Stores, delivered: list[str], run_dags: RunDags
) -> None:
    ingested, extracted, clustered, reported = run_dags(
        ("ingest_images", {"prefix": "door/"}),
        ("extract_faces", {}),
        ("cluster_people", {"full": True}),
        # The photographs carry their own dates.
        ("report_analytics", {"start": "2000-01-01", "end": "2026-12-31"}),
    )
    for outcome in (ingested, extracted, clustered, reported):
        assert outcome["state"] == "success", outcome["log"][-6000:]
    assert ingested["tasks"] == {
        "plan_shards": ["success"],
        "ingest_shard": ["success"],
        "validate_images": ["success"],
    }
    assert extracted["tasks"] == {
        "plan_shards": ["success"],
        "shard.extract_shard": ["success"],
        "shard.identify_shard": ["success"],
        "publish_faces": ["success"],
    }
    assert clustered["tasks"] == {"cluster": ["success"]}
    _named_as_expected(dag_stores, delivered)
    _reported_as_found(dag_stores)
    secrets = [
        dag_stores.settings.database.password.get_secret_value(),
        dag_stores.settings.s3.secret_key.get_secret_value(),
        dag_stores.settings.mlflow.password.get_secret_value(),
    ]
    assert not [secret for secret in secrets if secret in ingested["log"]]

    with dag_stores.catalog.transaction() as tx:
        before = summarise(tx)
    again, nothing_new = run_dags(("ingest_images", {"prefix": "door/"}), ("extract_faces", {}))
    assert (again["state"], nothing_new["state"]) == ("success", "success")
    assert again["tasks"]["validate_images"] == ["skipped"]
    with dag_stores.catalog.transaction() as tx:
        assert summarise(tx) == before


def _named_as_expected(stores: Stores, delivered: list[str]) -> None:
    with stores.catalog.transaction() as tx:
        found = {f.key: f for f in findings(tx, delivered)}
    named = {key: [face.label for face in f.faces] for key, f in found.items()}
    assert named == {
        KEY.format("obama2.jpg"): ["Barack Obama"],
        KEY.format("obama3.jpg"): ["Barack Obama"],
        KEY.format("grace_hopper.jpg"): [None],
        KEY.format("broken.jpg"): [],
    }
    assert found[KEY.format("broken.jpg")].reasons == ("not_an_image",)


def _reported_as_found(stores: Stores) -> None:
    with stores.catalog.transaction() as tx:
        (newest,) = reports.newest(tx, limit=1)
    totals = json.loads(stores.objects.get("reports", newest.json_key))["totals"]
    assert (totals["images"], totals["quarantined"], totals["faces"]) == (4, 1, 3)
    assert (totals["accept"], totals["unknown"]) == (2, 1)
    assert "Barack Obama" in stores.objects.get("reports", newest.html_key).decode()
