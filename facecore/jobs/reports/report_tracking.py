"""Published reports in MLflow: one run each, with the numbers and the way to the page.

The documents themselves stay in the bucket `reports`: they show names and faces, and there is
one place to erase them from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from facecore.errors import ObjectMissing
from facecore.jobs.lineage import RunContext
from facecore.jobs.stores import Stores
from facecore.stores.mlflow_session import experiment_id, mlflow_session

EXPERIMENT = "facecore-reports"
_KEY = "facecore.report"
_DIGEST = "facecore.sha256"


def record(
    context: RunContext,
    published: Sequence[Mapping[str, str]],
    airflow_url: str = "",
    stores: Stores | None = None,
) -> list[str]:
    """Log reports that were published; returns the ids of their runs.

    The same report again (same key, same numbers) is found, not logged twice.

    Args:
        published: what `jobs.report.build` returned; empty ones are left out.
        airflow_url: where Airflow's pages are, for links; empty: links begin at its root.

    Raises:
        ObjectMissing: a report is not there any more.
        RegistryUnavailable, CredentialsRejected: see `mlflow_session`.
    """
    stores = stores or Stores()
    documents = [_read(stores, one) for one in published if one]
    if not documents:
        return []
    with mlflow_session(stores.settings.mlflow) as client:
        experiment = experiment_id(client, EXPERIMENT)
        return [_record(client, experiment, one, context, airflow_url) for one in documents]


def _read(stores: Stores, published: Mapping[str, str]) -> dict[str, Any]:
    data = stores.objects.get("reports", published["json"])
    if not data:
        raise ObjectMissing("reports", published["json"])
    numbers = json.loads(data)
    return {
        **published,
        "digest": hashlib.sha256(data).hexdigest(),
        "totals": numbers["totals"],
        "summary": numbers["summary"],
    }


def _record(
    client: Any, experiment: str, report: Mapping[str, Any], context: RunContext, airflow_url: str
) -> str:
    from mlflow.entities import Metric, RunTag

    key, digest = report["html"], report["digest"]
    found = client.search_runs(
        [experiment],
        f"tags.`{_KEY}` = '{key}' AND tags.`{_DIGEST}` = '{digest}' "
        "AND attributes.status = 'FINISHED'",
        max_results=1,
    )
    if found:
        return str(found[0].info.run_id)
    run = client.create_run(experiment, run_name=key.removesuffix(".html"))
    run_id, now = str(run.info.run_id), int(run.info.start_time)
    status = "FAILED"
    try:
        page = f"{airflow_url}/facecore/reports/{quote(key)}"
        made_by = (
            f"{airflow_url}/dags/{quote(context.dag_id)}/runs/{quote(context.dag_run_id, safe='')}"
        )
        tags = {
            _KEY: key,
            _DIGEST: digest,
            "facecore.page": page,
            "facecore.airflow_run": made_by,
            "mlflow.note.content": _note(report, page, made_by),
        }
        if "shared_html" in report:
            tags["facecore.shared_page"] = (
                f"{airflow_url}/facecore/reports/{quote(report['shared_html'])}"
            )
        client.log_batch(
            run_id,
            metrics=[
                Metric(name, float(value), now, 0) for name, value in report["totals"].items()
            ],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )
        status = "FINISHED"
    finally:
        client.set_terminated(run_id, status)
    return run_id


def _note(report: Mapping[str, Any], page: str, made_by: str) -> str:
    lines = [f"[Report]({page}) · [Airflow run]({made_by})", ""]
    return "\n".join([*lines, *(f"- {sentence}" for sentence in report["summary"])])
