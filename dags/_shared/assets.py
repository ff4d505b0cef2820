"""Every asset of the platform: the edges of the data flow.

    ingest_images → accepted_images → extract_faces → faces
    report_analytics → reports
    train_model → challengers

A DAG that finishes its part emits the asset; `extract_faces` is scheduled on accepted images.
"""

from __future__ import annotations

from airflow.sdk import Asset

ACCEPTED_IMAGES = Asset(
    name="accepted_images",
    uri="facecore://catalog/image/accepted",
    group="facecore",
)
FACES = Asset(name="faces", uri="facecore://catalog/face", group="facecore")
REPORTS = Asset(name="reports", uri="facecore://reports/activity", group="facecore")
CHALLENGERS = Asset(
    name="challengers",
    uri="facecore://registry/challenger",
    group="facecore",
)
