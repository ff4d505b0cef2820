"""`score_anomalies` and `forecast_activity` on a new platform: nothing to do is no failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facecore.jobs.stores import Stores
from facecore.stores.catalog.reports import forecasts

RunDags = Callable[..., list[dict[str, Any]]]


def test_without_a_model_in_use_and_without_activity_nothing_fails(
    dag_stores: Stores, run_dags: RunDags
) -> None:
    with dag_stores.catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute(
            "UPDATE model_version SET state = 'retired' WHERE task IN ('reconstruct', 'forecast')"
        )
    scored, forecast = run_dags(("score_anomalies", {}), ("forecast_activity", {}))
    assert scored["state"] == "success", scored["log"][-6000:]
    assert scored["tasks"] == {
        "plan_shards": ["success"],
        "score_shard": ["skipped"],
        "publish": ["skipped"],
    }
    assert "no face-autoencoder is in use yet" in scored["log"]
    assert forecast["tasks"] == {"forecast": ["success"]}, forecast["log"][-6000:]
    with dag_stores.catalog.transaction() as tx:
        kept = forecasts.newest(tx)
    assert kept is not None
    assert not kept.learned
