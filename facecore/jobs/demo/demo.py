"""The main job, run end to end the way a user would: deliver, trigger, wait, compare."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from facecore.config import settings
from facecore.errors import UsageError
from facecore.jobs.demo import demo_analysis
from facecore.jobs.demo.demo_runs import Runs
from facecore.jobs.demo.demo_sets import DemoSet, dataset_set, folder_set, sample_set
from facecore.jobs.images.upload import upload
from facecore.jobs.lineage import command_context
from facecore.jobs.people.enroll import Enrolment, enroll
from facecore.jobs.platform.local_platform import Say, start
from facecore.jobs.reports.report import KIND, check_shareable, period_of
from facecore.jobs.stores import Stores
from facecore.local.airflow_client import AirflowClient
from facecore.local.platform import Platform
from facecore.local.status import Endpoint
from facecore.stores.catalog.pages.findings import findings
from facecore.stores.catalog.pages.summary import summarise
from facecore.stores.objects import addressable

_MAIN_DAGS = {"ingest_images", "extract_faces", "report_analytics"}
# Where Airflow shows the plugin's view "faces".
_FIRST_PAGE = "/plugin/faces"
_WEEK = timedelta(days=7)


@dataclass
class DemoOutcome:
    """What the demo did and found; `ok` says whether it met what was expected."""

    name: str
    ok: bool = True
    delivered: int = 0
    enrolled: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    analyses: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    catalog: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    first_page: str = ""
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
        outcome.delivered = upload(
            stores,
            chosen.deliveries(),
            on_refused=lambda refused: outcome.refused.append(str(refused)),
        )
        say("images", f"{outcome.delivered:,} new objects in the landing bucket")
    with _client(platform, "admin") as client, _client(platform, "reviewer") as reviewer:
        runs = Runs(client, say)
        client.wait_for_dags(_MAIN_DAGS | demo_analysis.DAGS)
        with _timed(outcome, "ingest, extract, identify, cluster"):
            _run_main_job(runs, stores, chosen, outcome.delivered)
        first, last = _period(stores, chosen)
        with _timed(outcome, "autoencoder, forecast, drift"):
            analysed = demo_analysis.analyse(
                runs, reviewer, stores, last, fresh=outcome.delivered > 0, say=say
            )
        with _timed(outcome, "reports"):
            _build_reports(runs, stores, first, last)
        outcome.first_page = f"{client.url}{_FIRST_PAGE}"
        outcome.report_url = f"{client.url}/facecore/reports/view/{KIND}/{first}_{last}.html"
    with _timed(outcome, "compare"):
        with stores.catalog.transaction() as tx:
            keys = [d.key for d in chosen.deliveries() if addressable(d.key)]
            found = list(findings(tx, keys))
            outcome.catalog = summarise(tx).as_json()
        judged = chosen.judge(stores, found)
    outcome.rows, outcome.notes, outcome.analyses = judged.rows, judged.notes, analysed.words
    outcome.ok = judged.ok and (analysed.complete or not chosen.known)
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
    outcome.refused += [f"{r.path}: {r.detail}" for r in results if r.state == "refused"]


def _client(platform: Platform, user: str) -> AirflowClient:
    endpoint = platform.endpoints()[f"airflow-{user}"]
    return AirflowClient(endpoint.url, endpoint.username, endpoint.password.get_secret_value())


def _run_main_job(runs: Runs, stores: Stores, chosen: DemoSet, delivered: int) -> None:
    """Take in what was delivered, and wait for the runs that this causes."""
    pages = max(1, -(-delivered // 1000)) + 1
    runs.run("ingest_images", {"prefix": chosen.prefix, "page_limit": pages})

    def accepted() -> int:
        with stores.catalog.transaction() as tx:
            return summarise(tx).images["accepted"]

    runs.settle("extract_faces", accepted, "images")
    demo_analysis.settle_people(runs, stores)


def _build_reports(runs: Runs, stores: Stores, first: date, last: date) -> None:
    """Of the whole period, for sharing where that may be, and of its last week."""
    whole = period_of(datetime.now(UTC), str(first), str(last), stores.settings.report.timezone)
    try:
        check_shareable(stores, whole)
        share = True
    except UsageError:  # not over, too short, or it overlaps one that was shared
        share = False
    started = [
        runs.start("report_analytics", {"start": str(first), "end": str(last), "share": share})
    ]
    if last - first >= _WEEK:
        week = {"start": str(last - _WEEK + timedelta(days=1)), "end": str(last)}
        started.append(runs.start("report_analytics", week))
    for run in started:
        runs.finish(run)


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


@contextmanager
def _timed(outcome: DemoOutcome, step: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    outcome.seconds[step] = round(time.monotonic() - began, 1)
