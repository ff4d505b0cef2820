"""Every asset of the platform: the edges of the data flow.

    ingest_images → accepted_images → extract_faces → faces
    faces, models_in_use → cluster_people → people
    report_analytics → reports
    train_model → challengers
    review_model → wanted_models → reembed_faces → models_in_use
    an alias set in the registry → wanted_models

A DAG that finishes its part emits the asset; `extract_faces` is scheduled on accepted images.
"""

from __future__ import annotations

from airflow.sdk import Asset, AssetWatcher

from facecore_triggers.registry_watcher import ChampionAliasTrigger

ACCEPTED_IMAGES = Asset(
    name="accepted_images",
    uri="facecore://catalog/image/accepted",
    group="facecore",
)
FACES = Asset(name="faces", uri="facecore://catalog/face", group="facecore")
PEOPLE = Asset(name="people", uri="facecore://catalog/person", group="facecore")
REPORTS = Asset(name="reports", uri="facecore://reports/activity", group="facecore")
CHALLENGERS = Asset(
    name="challengers",
    uri="facecore://registry/challenger",
    group="facecore",
)
# Approved in review_model, or set as an alias in MLflow, which the watcher notices.
WANTED_MODELS = Asset(
    name="wanted_models",
    uri="facecore://registry/champion",
    group="facecore",
    watchers=[AssetWatcher(name="champion_alias", trigger=ChampionAliasTrigger())],
)
MODELS_IN_USE = Asset(
    name="models_in_use", uri="facecore://catalog/model-version/active", group="facecore"
)
