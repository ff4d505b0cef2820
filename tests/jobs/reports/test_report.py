"""Reports built from real stores: the same bytes again, what may be shared, MLflow's run."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from facecore.errors import ChangeRefused, UsageError
from facecore.jobs.lineage import RunContext
from facecore.jobs.reports import report, report_tracking
from facecore.jobs.stores import Stores
from facecore.stores.catalog.images import images
from facecore.stores.catalog.reports import reports
from facecore.stores.catalog.reports.reports import ReportRow
from facecore.stores.mlflow_session import mlflow_session

MONDAY = datetime(2026, 3, 9, 2, tzinfo=UTC)
Context = Callable[[str], RunContext]


@pytest.fixture
def pictures_of_a_week(stores: Stores) -> Stores:
    """Three pictures without a face, a day each."""
    with stores.catalog.transaction() as tx:
        for day in range(3):
            at = MONDAY - timedelta(days=6 - day)
            row = images.ImageRow(f"{day}" * 64, "images", f"{day}", "gate", 10, at, "key")
            image_id = images.record_images(tx, [row])[row.sha256].id
            images.record_sightings(
                tx, [images.SightingRow(image_id, "landing", f"{day}.jpg", "1", "gate", at, "key")]
            )
            images.set_gate_result(tx, [image_id], {})
            images.mark_extracted(tx, [image_id])
    return stores


def test_a_period_that_is_over_gives_the_same_bytes_again(
    pictures_of_a_week: Stores, context: Context
) -> None:
    stores = pictures_of_a_week

    def built() -> list[bytes]:
        made = report.build(
            context("report"), MONDAY, "2026-03-02", "2026-03-08", share=True, stores=stores
        )
        keys = ("html", "json", "shared_html", "shared_json")
        return [stores.objects.get("reports", made[key]) for key in keys]

    first = built()
    assert first == built()
    numbers = json.loads(first[1])
    assert numbers["totals"]["images"] == 3
    assert numbers["lineage"]["counted_at"] is None
    assert json.loads(first[3])["images"] == 3


def test_a_period_that_is_not_over_says_when_it_was_counted(
    stores: Stores, context: Context
) -> None:
    today = datetime.now(UTC).date().isoformat()
    made = report.build(context("report"), MONDAY, today, today, stores=stores)
    numbers = json.loads(stores.objects.get("reports", made["json"]))
    assert numbers["lineage"]["counted_at"] is not None


def test_on_mondays_the_week_is_built_and_shared(
    pictures_of_a_week: Stores, context: Context
) -> None:
    stores = pictures_of_a_week
    assert report.build_week(context("week"), MONDAY + timedelta(days=1), stores) == {}
    made = report.build_week(context("week"), MONDAY, stores)
    assert made["html"] == "activity/2026-03-02_2026-03-08.html"
    assert made["shared_html"] == "activity-shared/2026-03-02_2026-03-08.html"
    page = stores.objects.get("reports", made["shared_html"]).decode()
    assert "fewer than 5 people" in page


def test_shared_reports_never_overlap(pictures_of_a_week: Stores, context: Context) -> None:
    stores = pictures_of_a_week
    report.build_week(context("week"), MONDAY, stores)
    with pytest.raises(UsageError, match="2026-03-02 to 2026-03-08 was shared"):
        report.build(context("r"), MONDAY, "2026-03-01", "2026-03-31", share=True, stores=stores)
    row = ReportRow(reports.SHARED, MONDAY - timedelta(days=30), MONDAY, "other.html", "other.json")
    with (
        pytest.raises(ChangeRefused, match="report_shared_apart"),
        stores.catalog.transaction() as tx,
    ):
        reports.record(tx, row)
    # A scheduled week is then reported without being shared.
    overlapping = datetime(2026, 3, 16, 2, tzinfo=UTC)
    report.build(context("r"), MONDAY, "2026-03-10", "2026-03-17", share=True, stores=stores)
    assert "shared_html" not in report.build_week(context("week"), overlapping, stores)


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [("2026-03-02", "2026-03-07", "at least 7 days"), ("2026-03-02", "2999-01-01", "not over")],
)
def test_what_cannot_be_shared_is_refused(
    stores: Stores, context: Context, start: str, end: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        report.build(context("report"), MONDAY, start, end, share=True, stores=stores)
    assert not list(stores.objects.list("reports"))


def test_mlflow_has_one_run_per_report_with_its_numbers(
    pictures_of_a_week: Stores, context: Context
) -> None:
    stores = pictures_of_a_week
    made = report.build_week(context("week"), MONDAY, stores)
    (run_id,) = report_tracking.record(context("record"), [made, {}], "http://airflow", stores)
    assert report_tracking.record(context("again"), [made], "http://airflow", stores) == [run_id]
    with mlflow_session(stores.settings.mlflow) as client:
        run = client.get_run(run_id)
    assert run.data.metrics["images"] == 3
    assert run.data.tags["facecore.page"] == f"http://airflow/facecore/reports/{made['html']}"
    assert "/dags/test/runs/" in run.data.tags["facecore.airflow_run"]
    assert made["html"] in run.data.tags["mlflow.note.content"]
