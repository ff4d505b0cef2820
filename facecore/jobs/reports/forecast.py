"""Activity of the hours ahead, and what was not as due in the past ones.

All methods are compared on the same past days; the learned model is used only where it wins.
The same moment again replaces its forecast, with the same numbers unless the catalogue changed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np

from facecore.jobs.lineage import RunContext, recorded
from facecore.jobs.models import analysis_models
from facecore.jobs.reports.activity_series import read_counts, read_visits
from facecore.jobs.stores import Stores
from facecore.stores.catalog.reports import activity_series, alerts, forecasts
from facecore.types import HourlyCounts

if TYPE_CHECKING:
    from facecore.analytics.forecasting.flags import Flag
    from facecore.analytics.forecasting.methods import Method
    from facecore.analytics.forecasting.selection import Choice
    from facecore.zoo.lstm import ActivityLstm

logger = logging.getLogger(__name__)

_LEARNED = "LSTM"
_DAY = 24
# A clock that runs ahead by less is within what clocks do.
_AHEAD = timedelta(hours=1)
_SEVERITY = {"camera_off": "critical", "crowd_surge": "info", "clock_error": "warning"}
# A source that was silent for so long is gone: nothing is due from it any more.
_GONE = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class SourceForecast:
    """What is due of one source, and what was not as due."""

    series: HourlyCounts
    quantiles: Any  # float64 [horizon, 5]
    flags: list[Flag]


def forecast(
    context: RunContext, moment: datetime, *, stores: Stores | None = None
) -> dict[str, Any]:
    """Forecast from the last midnight before `moment` on; store it with flags and alerts.

    Returns:
        Method, reason and counts.

    Raises:
        CatalogUnavailable, RegistryUnavailable: a store is down.
    """
    from facecore.analytics.forecasting.methods import BASELINES, LEAST_HISTORY, known_hours, lstm
    from facecore.analytics.forecasting.selection import select
    from facecore.analytics.forecasting.trend import trend

    stores = stores or Stores()
    settings = stores.settings.analysis
    timezone = stores.settings.report.timezone
    origin = _midnight(moment, timezone)
    with recorded(
        stores.catalog, context, "forecast", {"origin": origin.isoformat(), "timezone": timezone}
    ) as run:
        series = read_counts(stores, origin, timezone, sources=settings.forecast_sources)
        used = analysis_models.in_use(stores, "forecast")
        learned = None if used is None else lstm(_network(stores, used.name, used.version))
        clean = [_clean(one, BASELINES["weekly mean"], settings.flag_days) for one in series]
        choice = select(clean, learned, name=_LEARNED, days=settings.backtest_days)
        method = learned if choice.learned and learned is not None else BASELINES[choice.method]
        found, left_out = [], dict(choice.left_out)
        for one, masked_one in zip(series, clean, strict=True):
            if known_hours(one, len(one)) < LEAST_HISTORY:
                days = known_hours(one, len(one)) // _DAY
                left_out[one.source] = f"{days} days are known; {LEAST_HISTORY // _DAY} are needed"
            elif silent := _silent_since(one):
                left_out[one.source] = f"silent since {silent:%Y-%m-%d %H:00}"
                own = _flagged(one, masked_one, method, settings.flag_days)
                found.append(SourceForecast(one, None, own))
            else:
                said = method(masked_one, len(one), settings.forecast_hours)
                own = _flagged(one, masked_one, method, settings.flag_days)
                found.append(SourceForecast(one, said, own))
        with stores.catalog.transaction() as tx:
            ahead = activity_series.sightings_after(tx, moment + _AHEAD)
        evidence = {
            "choice": {**choice.to_json(), "left_out": left_out},
            "trends": [trend(one).to_json() for one in clean],
            "clock_ahead": ahead,
        }
        _store(stores, run.id, origin, timezone, choice, used, found, evidence)
        run.models = {} if used is None else {"forecast": f"{used.name}/{used.version}"}
        run.counts = {
            "sources": len(series),
            "forecast": sum(one.quantiles is not None for one in found),
            "flags": sum(len(one.flags) for one in found),
            "clock_ahead": len(ahead),
        }
    return {
        "origin": origin.isoformat(),
        "method": choice.method,
        "learned": choice.learned,
        "reason": choice.reason,
        **run.counts,
    }


def newest(stores: Stores | None = None) -> dict[str, Any] | None:
    """The newest forecast with the flags of the weeks before it, as plain values; or None."""
    stores = stores or Stores()
    with stores.catalog.transaction() as tx:
        row = forecasts.newest(tx)
        if row is None:
            return None
        since = row.origin - timedelta(days=stores.settings.analysis.flag_days)
        flags = forecasts.flags_between(tx, since, row.origin)
    return {**asdict(row), "flags": [asdict(flag) for flag in flags]}


def people_due(
    moment: datetime, *, limit: int = 20, stores: Stores | None = None
) -> dict[str, Any]:
    """When people who come often are due, the most overdue first, and by which method."""
    from facecore.analytics.forecasting import visits

    stores = stores or Stores()
    timezone = stores.settings.report.timezone
    now = moment.astimezone(ZoneInfo(timezone)).replace(tzinfo=None)
    people = read_visits(stores, now, timezone)
    used = analysis_models.in_use(stores, "forecast")
    learned = None
    if used is not None:
        network = _network(stores, used.name, used.version)
        if float(network.trained_on[1]) > 0:  # it has seen gaps
            learned = visits.lstm(network)
    choice = visits.select_gap_method(people, learned, name=_LEARNED)
    methods = dict(visits.GAP_BASELINES)
    method = learned if choice.learned and learned is not None else methods[choice.method]
    due = visits.next_visits(people, method, now)
    return {
        "method": choice.method,
        "reason": choice.reason,
        "scores": [asdict(score) for score in choice.scores],
        "people": [one.to_json() for one in due[:limit]],
        "overdue": sum(one.overdue for one in due),
    }


def _clean(one: HourlyCounts, method: Method, days: int) -> HourlyCounts:
    """The series without the hours that are not as due by a method that little disturbs."""
    from facecore.analytics.forecasting.flags import masked

    return masked(one, _flagged(one, one, method, days))


def _flagged(one: HourlyCounts, history: HourlyCounts, method: Method, days: int) -> list[Flag]:
    """Flags of the last days: each day forecast from `history` before it."""
    from facecore.analytics.forecasting.flags import flags
    from facecore.analytics.forecasting.methods import LEAST_HISTORY, known_hours
    from facecore.analytics.forecasting.selection import origins

    starts = [o for o in origins(one, days, len(one)) if known_hours(history, o) >= LEAST_HISTORY]
    if not starts:
        return []
    said = np.concatenate([method(history, o, _DAY) for o in starts])
    return flags(one, starts[0], said)


def _silent_since(one: HourlyCounts) -> datetime | None:
    """When a source that is gone was last heard of; None: it is not gone."""
    heard = np.flatnonzero(np.nan_to_num(one.counts) > 0)
    last = one.at(int(heard[-1]) + 1) if len(heard) else one.start
    return last if one.at(len(one)) - last >= _GONE else None


def _store(
    stores: Stores,
    run_id: str,
    origin: datetime,
    timezone: str,
    choice: Choice,
    used: Any,
    found: Sequence[SourceForecast],
    evidence: dict[str, Any],
) -> None:
    hours: list[forecasts.Hour] = [
        (one.series.source, origin + timedelta(hours=ahead), [float(q) for q in quantiles])
        for one in found
        if one.quantiles is not None
        for ahead, quantiles in enumerate(np.asarray(one.quantiles, np.float32))
    ]
    row = forecasts.ForecastRow(
        origin=origin,
        timezone=timezone,
        method=choice.method,
        learned=choice.learned,
        model_version_id=used.id if choice.learned else None,
        evidence=evidence,
        hours=hours,
        run_id=run_id,
    )
    flags = [flag for one in found for flag in one.flags]
    since = origin - timedelta(days=stores.settings.analysis.flag_days)
    zone = ZoneInfo(timezone)
    with stores.catalog.transaction() as tx:
        forecasts.record(tx, row)
        forecasts.replace_flags(tx, (since, origin), [_row(f, timezone) for f in flags], run_id)
        for flag in flags:
            # An old flag was told when it was new.
            if origin - flag.end < timedelta(days=2):
                alerts.raise_alert(
                    tx,
                    f"activity_{flag.kind}",
                    f"source/{flag.source}",
                    _SEVERITY[flag.kind],  # type: ignore[arg-type]
                    flag.to_json(),
                    run_id,
                    period=(flag.start.replace(tzinfo=zone), flag.end.replace(tzinfo=zone)),
                )
        for source, number in evidence["clock_ahead"].items():
            said = {"sightings": number, "seen_at": datetime.now(UTC).isoformat()}
            alerts.raise_alert(
                tx, "activity_clock_ahead", f"source/{source}", "warning", said, run_id
            )


def _row(flag: Flag, timezone: str) -> forecasts.FlagRow:
    return forecasts.FlagRow(
        flag.source,
        flag.kind,
        flag.start,
        flag.end,
        timezone,
        flag.observed,
        flag.expected,
        flag.severity,
        flag.evidence,
    )


def _midnight(moment: datetime, timezone: str) -> datetime:
    local = moment.astimezone(ZoneInfo(timezone)).replace(tzinfo=None)
    return local.replace(hour=0, minute=0, second=0, microsecond=0)


def _network(stores: Stores, name: str, version: int) -> ActivityLstm:
    from facecore.zoo.lstm import ActivityLstm

    network = analysis_models.load(stores, name, version)
    assert isinstance(network, ActivityLstm)  # noqa: S101 (the only one of its task)
    return network
