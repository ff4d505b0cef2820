"""The main job, run end to end the way a user would: deliver, trigger, wait, compare."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from facecore.config import settings
from facecore.errors import PlatformError
from facecore.jobs.demo_sets import DemoSet, dataset_set, folder_set, sample_set
from facecore.jobs.enroll import Enrolment, enroll
from facecore.jobs.lineage import command_context
from facecore.jobs.local_platform import Say, start
from facecore.jobs.report import KIND
from facecore.jobs.stores import Stores
from facecore.jobs.upload import upload
from facecore.local.airflow_client import AirflowClient, DagRun
from facecore.local.platform import Platform
from facecore.local.status import Endpoint
from facecore.stores.catalog import reports
from facecore.stores.catalog.findings import findings
from facecore.stores.catalog.summary import summarise

DAGS = {"ingest_images", "extract_faces", "report_analytics"}
_RUN_TIMEOUT_S = 4 * 3600.0
_ASSET_TIMEOUT_S = 60.0
_POLL_S = 0.5


@dataclass
class DemoOutcome:
    """What the demo did and found; `ok` says whether it met what was expected."""

    name: str
    ok: bool = True
    delivered: int = 0
    enrolled: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    catalog: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    report_url: str = ""


def run_demo(
    home: Path, repo: Path, *, images: Path | None, dataset: str | None, say: Say
) -> tuple[DemoOutcome, dict[str, Endpoint]]:
    """Start the platform, run the main job through Airflow, and judge the result.

    Returns:
        The outcome, and where the platform's parts are (with their logins).

    Raises:
        UsageError: the folder or dataset cannot be used.
        PlatformError: a part did not start, or a DAG run failed.
    """
    outcome = DemoOutcome("")
    with ThreadPoolExecutor(1, "prepare") as pool:
        preparing = pool.submit(_choose, images, dataset)
        if images is not None or dataset is not None:
            preparing.result()  # a wrong folder is told before anything is started
        with _timed(outcome, "start the platform"):
            platform = start(home, repo, say)
        with _timed(outcome, "prepare the images"):
            chosen = preparing.result()
    stores = Stores()
    outcome.name = chosen.name
    say("images", f"{chosen.name}: {chosen.size:,} to deliver, {len(chosen.gallery)} to enrol")
    with _timed(outcome, "enrol"):
        _enroll(stores, chosen, outcome, say)
    with _timed(outcome, "deliver"):
        outcome.delivered = upload(stores, chosen.deliveries(), lambda _: None)
        say("images", f"{outcome.delivered:,} new objects in the landing bucket")
    with _client(platform) as client:
        with _timed(outcome, "ingest, extract, identify"):
            _run_main_job(client, stores, chosen, outcome.delivered, say)
        with _timed(outcome, "report"):
            first, last = _period(stores, chosen)
            _run(client, "report_analytics", {"start": str(first), "end": str(last)}, say)
        outcome.report_url = _newest_report(client, stores)
    with _timed(outcome, "compare"):
        with stores.catalog.transaction() as tx:
            found = list(findings(tx, [d.key for d in chosen.deliveries()]))
            outcome.catalog = summarise(tx).as_json()
        judged = chosen.judge(stores, found)
    outcome.rows, outcome.notes, outcome.ok = judged.rows, judged.notes, judged.ok
    return outcome, platform.endpoints()


def _choose(images: Path | None, dataset: str | None) -> DemoSet:
    if images is not None:
        return folder_set(images)
    if dataset is not None:
        return dataset_set(dataset, settings())
    return sample_set(settings().cache)


def _enroll(stores: Stores, chosen: DemoSet, outcome: DemoOutcome, say: Say) -> None:
    results: Sequence[Enrolment] = enroll(
        command_context("demo.enroll"),
        chosen.gallery,
        central_face=chosen.central_face,
        stores=stores,
        on_progress=lambda done: say("enrol", f"{done:,} of {len(chosen.gallery):,} pictures"),
    )
    outcome.enrolled = {
        state: sum(r.state == state for r in results) for state in ("enrolled", "known", "refused")
    }
    outcome.refused = [f"{r.path}: {r.detail}" for r in results if r.state == "refused"]


def _client(platform: Platform) -> AirflowClient:
    endpoint = platform.endpoints()["airflow-admin"]
    return AirflowClient(endpoint.url, endpoint.username, endpoint.password.get_secret_value())


def _run_main_job(
    client: AirflowClient, stores: Stores, chosen: DemoSet, delivered: int, say: Say
) -> None:
    client.wait_for_dags(DAGS)
    pages = max(1, -(-delivered // 1000)) + 1
    _run(client, "ingest_images", {"prefix": chosen.prefix, "page_limit": pages}, say)
    _wait_for_extraction(client, stores, say)


def _run(client: AirflowClient, dag_id: str, params: dict[str, Any], say: Say) -> None:
    run = client.trigger(dag_id, params)
    say("airflow", f"{dag_id}: {client.run_page(run)}")
    client.wait(run, timeout_s=_RUN_TIMEOUT_S, poll_s=_POLL_S)


def _wait_for_extraction(client: AirflowClient, stores: Stores, say: Say) -> None:
    """Wait until the runs that the accepted images have caused are through."""
    watched: DagRun | None = None
    told = -1
    quiet_since = time.monotonic()
    while True:
        with stores.catalog.transaction() as tx:
            waiting = summarise(tx).images["accepted"]
        runs = client.unfinished("extract_faces")
        if runs:
            quiet_since = time.monotonic()
            if watched is None or watched.run_id != runs[0].run_id:
                watched = runs[0]
                say("airflow", f"extract_faces: {client.run_page(watched)}")
        elif not waiting:
            break
        elif time.monotonic() - quiet_since > _ASSET_TIMEOUT_S:
            raise PlatformError(
                "airflow",
                f"{waiting:,} accepted images wait, but no run of extract_faces has started.",
                remedy="See the DAG's page; trigger it by hand to go on.",
            )
        if waiting != told:
            say("extract", f"{waiting:,} images wait")
            told = waiting
        time.sleep(_POLL_S)
    if watched is not None:
        client.wait(watched, timeout_s=_RUN_TIMEOUT_S)


def _period(stores: Stores, chosen: DemoSet) -> tuple[date, date]:
    """First and last day on which an image of the set was captured."""
    if chosen.days is not None:
        return chosen.days
    times: list[datetime] = []
    with stores.catalog.transaction() as tx:
        for finding in findings(tx, [d.key for d in chosen.deliveries()]):
            if finding.captured_at is not None:
                times = [min([finding.captured_at, *times]), max([finding.captured_at, *times])]
    if not times:
        today = datetime.now(UTC).date()
        return today, today
    return times[0].astimezone(UTC).date(), times[-1].astimezone(UTC).date()


def _newest_report(client: AirflowClient, stores: Stores) -> str:
    with stores.catalog.transaction() as tx:
        (newest,) = reports.newest(tx, KIND, limit=1)
    return f"{client.url}/facecore/reports/{newest.html_key}"


@contextmanager
def _timed(outcome: DemoOutcome, step: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    outcome.seconds[step] = round(time.monotonic() - began, 1)
