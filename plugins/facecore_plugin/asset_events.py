"""Tells Airflow what a page did, so that the DAGs that wait for it start."""

from __future__ import annotations

from typing import Any

from airflow.assets.manager import asset_manager
from airflow.models.asset import AssetModel
from airflow.utils.session import create_session
from sqlalchemy import select

# As in dags/_shared/assets.py, which the api-server does not load.
ACCEPTED_IMAGES = "accepted_images"


def announce(name: str, extra: dict[str, Any]) -> bool:
    """An event of an asset, as a task or Airflow's API sends it.

    Returns:
        False where Airflow does not know the asset yet: no DAG that has it was read.
    """
    with create_session() as session:
        asset = session.scalar(select(AssetModel).where(AssetModel.name == name).limit(1))
        if asset is None:
            return False
        asset_manager.register_asset_change(
            asset=asset, extra=extra, source_is_api=True, session=session
        )
    return True
