"""Buttons on a task's page that lead to what the task made, and Airflow's own address."""

from __future__ import annotations

from typing import Any

from airflow.configuration import conf
from airflow.sdk import BaseOperatorLink, XComArg


class ReportLink(BaseOperatorLink):
    """To the report whose key the task returned as `html`; none where it returned none."""

    name = "Report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Address of the report's page, behind Airflow's login."""
        from airflow.sdk.execution_time.xcom import XCom

        returned = XCom.get_value(key="return_value", ti_key=ti_key) or {}
        key = returned.get("html")
        return f"{airflow_url()}/facecore/reports/{key}" if key else ""


def airflow_url() -> str:
    """Where this Airflow's pages are, as its users see it, without a slash at the end."""
    return str(conf.get("api", "base_url", fallback="http://localhost:8080")).rstrip("/")


def with_link(made: Any, link: BaseOperatorLink) -> Any:
    """The same task, with a button on its page."""
    if not isinstance(made, XComArg):
        raise TypeError(f"a task's result is needed, not {type(made).__name__}")
    made.operator.operator_extra_links = (link,)
    return made
