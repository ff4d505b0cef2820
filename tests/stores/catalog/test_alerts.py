"""Alerts: one open per kind and subject, dealt with by somebody, for a reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from facecore.errors import ChangeRefused, NotFound, UsageError
from facecore.stores.catalog import Catalog, audit, runs
from facecore.stores.catalog.reports import alerts

DAY = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def two_runs(catalog: Catalog) -> Catalog:
    with catalog.transaction() as tx:
        for name in ("one", "two"):
            runs.start(tx, runs.RunRow(name, "watch_drift", name, "measure", 1, "drift", "0.1.0"))
    return catalog


def test_an_alert_keeps_its_evidence(two_runs: Catalog) -> None:
    period = (DAY, DAY + timedelta(days=7))
    with two_runs.transaction() as tx:
        number = alerts.raise_alert(
            tx, "drift", "source/gate", "warning", {"psi": 0.4}, "one", period=period
        )
    with two_runs.transaction() as tx:
        (alert,) = alerts.open_alerts(tx)
    assert (alert.id, alert.kind, alert.subject) == (number, "drift", "source/gate")
    assert (alert.severity, alert.evidence, alert.run_id) == ("warning", {"psi": 0.4}, "one")
    assert (alert.period_start, alert.period_end) == period
    assert alert.is_open
    assert alert.times == 1


def test_seen_again_the_open_one_is_renewed_and_never_weakened(two_runs: Catalog) -> None:
    with two_runs.transaction() as tx:
        first = alerts.raise_alert(tx, "drift", "all", "critical", {"psi": 0.9}, "one")
    with two_runs.transaction() as tx:
        again = alerts.raise_alert(tx, "drift", "all", "info", {"psi": 0.3}, "two")
        other = alerts.raise_alert(tx, "drift", "source/yard", "info", {}, "two")
    with two_runs.transaction() as tx:
        one = alerts.get(tx, first)
        assert alerts.count_open(tx) == {"info": 1, "warning": 0, "critical": 1}
        assert [a.id for a in alerts.open_alerts(tx)] == [other, first]
    assert again == first
    assert (one.severity, one.evidence, one.times) == ("critical", {"psi": 0.3}, 2)
    assert one.seen_at > one.raised_at


def test_the_same_run_counts_once(two_runs: Catalog) -> None:
    with two_runs.transaction() as tx:
        number = alerts.raise_alert(tx, "drift", "all", "info", {}, "one")
        alerts.raise_alert(tx, "drift", "all", "info", {}, "one")
        assert alerts.get(tx, number).times == 1


def test_dealt_with_it_is_closed_audited_and_may_come_back(two_runs: Catalog) -> None:
    with two_runs.transaction() as tx:
        number = alerts.raise_alert(tx, "drift", "all", "warning", {"psi": 0.4}, "one")
        alerts.acknowledge(tx, number, "ada", "the camera was replaced")
    with two_runs.transaction() as tx:
        assert alerts.open_alerts(tx) == []
        (closed,) = alerts.newest(tx, kind="drift")
        (entry,) = audit.newest(tx, subject=f"alert/{number}", limit=1)
        anew = alerts.raise_alert(tx, "drift", "all", "warning", {"psi": 0.5}, "two")
    assert (closed.acknowledged_by, closed.acknowledged_for) == ("ada", "the camera was replaced")
    assert (entry.actor, entry.action) == ("ada", "alert.acknowledged")
    assert anew != number


def test_what_was_acknowledged_does_not_change(two_runs: Catalog) -> None:
    with two_runs.transaction() as tx:
        number = alerts.raise_alert(tx, "drift", "all", "warning", {}, "one")
        alerts.acknowledge(tx, number, "ada", "seen")
    with pytest.raises(ChangeRefused, match="by ada"), two_runs.transaction() as tx:
        alerts.acknowledge(tx, number, "bob", "me too")
    for statement in ("UPDATE alert SET evidence = '{}'", "DELETE FROM alert"):
        with pytest.raises(ChangeRefused), two_runs.transaction() as tx:
            tx.cursor().execute(statement)


def test_wrong_calls_are_told(two_runs: Catalog) -> None:
    with two_runs.transaction() as tx:
        number = alerts.raise_alert(tx, "drift", "all", "warning", {}, None)
        with pytest.raises(UsageError, match="reason"):
            alerts.acknowledge(tx, number, "ada", " ")
        with pytest.raises(UsageError, match="urgent"):
            alerts.raise_alert(tx, "drift", "all", "urgent", {}, None)  # type: ignore[arg-type]
        with pytest.raises(NotFound, match="alert"):
            alerts.get(tx, 987_654)


def test_pages_go_on_after_an_id(two_runs: Catalog) -> None:
    with two_runs.transaction() as tx:
        ids = [alerts.raise_alert(tx, "drift", f"{n}", "info", {}, "one") for n in range(5)]
        first = alerts.open_alerts(tx, limit=2)
        rest = alerts.open_alerts(tx, before=first[-1].id)
    assert [a.id for a in [*first, *rest]] == ids[::-1]
