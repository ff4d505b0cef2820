"""A client of Airflow's REST API: trigger a DAG, follow its run, say what failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from facecore.errors import CredentialsRejected, PlatformError, UsageError

_ENDED = frozenset({"success", "failed"})


@dataclass(frozen=True, slots=True)
class DagRun:
    """One run of a DAG as the API shows it; `state` is queued, running, success or failed."""

    dag_id: str
    run_id: str
    state: str

    @property
    def ended(self) -> bool:
        return self.state in _ENDED


class AirflowClient:
    """Talks to one Airflow as one user.

    Raises:
        CredentialsRejected: the login was refused.
        PlatformError: Airflow cannot be reached or answered with an error.
        UsageError: Airflow refused the parameters of a run; the message is Airflow's.
    """

    def __init__(self, url: str, username: str, password: str, *, timeout_s: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self._login = {"username": username, "password": password}
        # No proxy leads to this machine.
        self._http = httpx.Client(base_url=self.url, timeout=timeout_s, trust_env=False)
        self._http.headers["Authorization"] = f"Bearer {self._token()}"

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> AirflowClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait_for_dags(self, dag_ids: set[str], timeout_s: float = 120.0) -> None:
        """Wait until the dag-processor has parsed these DAGs.

        Raises:
            PlatformError: some are still missing; carries Airflow's import errors.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            found = {d["dag_id"] for d in self._get("/api/v2/dags", limit=200)["dags"]}
            if dag_ids <= found:
                return
            if time.monotonic() > deadline:
                errors = self._get("/api/v2/importErrors")["import_errors"]
                detail = "; ".join(f"{e['filename']}: {e['stack_trace']}" for e in errors)
                raise PlatformError(
                    "airflow", f"DAGs are missing: {', '.join(sorted(dag_ids - found))}. {detail}"
                )
            time.sleep(0.5)

    def trigger(self, dag_id: str, params: Mapping[str, Any] | None = None) -> DagRun:
        """Start a run now."""
        answer = self._request(
            "POST",
            f"/api/v2/dags/{dag_id}/dagRuns",
            json={"logical_date": None, "conf": dict(params or {})},
        )
        return _dag_run(answer)

    def run(self, run: DagRun) -> DagRun:
        """The run as it stands now."""
        return _dag_run(self._get(f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}"))

    def unfinished(self, dag_id: str) -> list[DagRun]:
        """Runs of a DAG that are queued or running."""
        runs = self._get(f"/api/v2/dags/{dag_id}/dagRuns", limit=50, order_by="-run_after")[
            "dag_runs"
        ]
        return [r for r in map(_dag_run, runs) if not r.ended]

    def newest(self, dag_id: str) -> DagRun | None:
        """The run of a DAG that was due last, if there is any."""
        runs = self._get(f"/api/v2/dags/{dag_id}/dagRuns", limit=1, order_by="-run_after")
        return _dag_run(runs["dag_runs"][0]) if runs["dag_runs"] else None

    def wait(
        self,
        run: DagRun,
        *,
        timeout_s: float,
        on_poll: Callable[[DagRun], None] = lambda _: None,
        poll_s: float = 0.5,
    ) -> DagRun:
        """Wait until a run succeeded.

        Raises:
            PlatformError: it failed (names the failed tasks) or outlasted `timeout_s`.
        """
        current = self.wait_for_end(run, timeout_s=timeout_s, on_poll=on_poll, poll_s=poll_s)
        if current.state == "failed":
            failed = ", ".join(self._failed_tasks(run)) or "no task (the run timed out)"
            raise PlatformError(
                "airflow",
                f"{run.dag_id} run {run.run_id} failed in {failed}.",
                remedy=f"Its log is at {self.run_page(run)}.",
            )
        return current

    def wait_for_end(
        self,
        run: DagRun,
        *,
        timeout_s: float,
        on_poll: Callable[[DagRun], None] = lambda _: None,
        poll_s: float = 0.5,
    ) -> DagRun:
        """Wait until a run succeeded or failed.

        Raises:
            PlatformError: it outlasted `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        while not (current := self.run(run)).ended:
            on_poll(current)
            if time.monotonic() > deadline:
                raise PlatformError(
                    "airflow",
                    f"{run.dag_id} run {run.run_id} is still {current.state} after "
                    f"{timeout_s:.0f} s.",
                    remedy=f"See {self.run_page(run)}.",
                )
            time.sleep(poll_s)
        return current

    def awaits_answer(self, run: DagRun, task_id: str) -> bool:
        """Whether a task of a run asks a person something now."""
        return any(
            task["task_id"] == task_id and task["state"] == "awaiting_input"
            for task in self._tasks(run)
        )

    def answer(self, run: DagRun, task_id: str, option: str, params: Mapping[str, Any]) -> None:
        """Answer what a task asks, as this client's user."""
        self._request(
            "PATCH",
            f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task_id}/-1/hitlDetails",
            json={"chosen_options": [option], "params_input": dict(params)},
        )

    def run_page(self, run: DagRun) -> str:
        """Where a person sees this run."""
        return f"{self.url}/dags/{run.dag_id}/runs/{run.run_id}"

    def _failed_tasks(self, run: DagRun) -> list[str]:
        return [
            t["task_id"] if t["map_index"] < 0 else f"{t['task_id']}[{t['map_index']}]"
            for t in self._tasks(run)
            if t["state"] == "failed"
        ]

    def _tasks(self, run: DagRun) -> list[dict[str, Any]]:
        tasks: list[dict[str, Any]] = self._get(
            f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances", limit=1000
        )["task_instances"]
        return tasks

    def _token(self) -> str:
        answer = self._request("POST", "/auth/token", json=self._login)
        return str(answer["access_token"])

    def _get(self, path: str, **query: Any) -> dict[str, Any]:
        return self._request("GET", path, params=query)

    def _request(self, method: str, path: str, **kwargs: Any) -> dict[str, Any]:
        try:
            answer = self._http.request(method, path, **kwargs)
        except httpx.HTTPError as error:
            raise PlatformError(
                "airflow",
                f"Airflow at {self.url} cannot be reached: {error}.",
                remedy="Start the platform with `make up`.",
            ) from error
        if answer.status_code in (401, 403):
            raise CredentialsRejected("Airflow", f"Airflow refused {method} {path}.")
        if answer.status_code in (400, 404, 409, 422):
            raise UsageError(f"Airflow refused {method} {path}: {answer.text[:500]}")
        if answer.is_error:
            raise PlatformError(
                "airflow", f"Airflow answered {answer.status_code} to {method} {path}."
            )
        body: dict[str, Any] = answer.json()
        return body


def _dag_run(answer: Mapping[str, Any]) -> DagRun:
    return DagRun(answer["dag_id"], answer["dag_run_id"], answer["state"])
