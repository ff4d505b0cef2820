"""A report per kind and period; a new one replaces the old."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from facecore.errors import ChangeRefused
from facecore.stores.catalog.reports import reports

DAY = datetime(2026, 3, 1, tzinfo=UTC)


def test_the_report_of_a_period_is_replaced(tx):
    row = reports.ReportRow("activity", DAY, DAY + timedelta(days=1), "a.html", "a.json")
    first = reports.record(tx, row)
    assert reports.record(tx, replace(row, html_key="b.html")) == first
    other = reports.record(tx, replace(row, kind="drift"))
    assert [report.html_key for report in reports.newest(tx, "activity")] == ["b.html"]
    assert {report.id for report in reports.newest(tx)} == {first, other}
    assert len(reports.newest(tx, limit=1)) == 1


def test_a_period_must_have_a_length(catalog):
    with pytest.raises(ChangeRefused) as caught, catalog.transaction() as tx:
        reports.record(tx, reports.ReportRow("activity", DAY, DAY, "a", "b"))
    assert caught.value.rule == "report_period"
