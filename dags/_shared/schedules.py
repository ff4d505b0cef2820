"""When DAGs run by the clock: at hours of the timezone that the reports' days are in."""

from __future__ import annotations

from airflow.sdk import CronTriggerTimetable

from facecore.config import settings


def local_time(cron: str) -> CronTriggerTimetable:
    """At these times of `FACECORE_REPORT__TIMEZONE`: what looks at a day starts after it ended."""
    return CronTriggerTimetable(cron, timezone=settings().report.timezone)
