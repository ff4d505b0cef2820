"""Every asset of the platform: the edges of the data flow.

    landing → accepted_images → faces → reports

A DAG that finishes its part emits the asset; the next one is scheduled on it.
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
