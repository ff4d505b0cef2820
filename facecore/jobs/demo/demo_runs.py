"""DAG runs that the demo causes: triggered, told, waited for, and a review answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from facecore.errors import PlatformError
from facecore.jobs.platform.local_platform import Say
from facecore.local.airflow_client import AirflowClient, DagRun

_RUN_TIMEOUT_S = 4 * 3600.0
_ASSET_TIMEOUT_S = 60.0
_POLL_S = 0.5
_QUESTION_STANDS_S = 3.0  # the scheduler looks every half second


class Runs:
    """Runs of one Airflow, with the page of each told when it starts.

    Args:
        poll_s: between two looks at a run, which cost processor time too.
    """

    def __init__(self, client: AirflowClient, say: Say, poll_s: float = _POLL_S) -> None:
        self.client = client
        self._say = say
        self._poll_s = poll_s

    def start(self, dag_id: str, params: Mapping[str, Any]) -> DagRun:
        """Trigger a DAG."""
        return self._tell(self.client.trigger(dag_id, params))

    def finish(self, run: DagRun) -> DagRun:
        """Wait until a run succeeded. Raises `PlatformError`: it failed; names the tasks."""
        return self.client.wait(run, timeout_s=_RUN_TIMEOUT_S, poll_s=self._poll_s)

    def end(self, run: DagRun) -> DagRun:
        """Wait until a run succeeded or failed."""
        return self.client.wait_for_end(run, timeout_s=_RUN_TIMEOUT_S, poll_s=self._poll_s)

    def run(self, dag_id: str, params: Mapping[str, Any]) -> DagRun:
        """Trigger a DAG and wait until it succeeded."""
        return self.finish(self.start(dag_id, params))

    def settle(self, dag_id: str, waiting: Callable[[], int], what: str) -> None:
        """Wait until the runs that an asset causes have done all that waits for them.

        Args:
            waiting: how much is left to do; asked again and again.
            what: it is, in words.

        Raises:
            PlatformError: something waits, but no run starts; or the last run failed.
        """
        watched: DagRun | None = None
        told, quiet_since = 0, time.monotonic()
        while True:
            left = waiting()
            unfinished = self.client.unfinished(dag_id)
            if unfinished:
                quiet_since = time.monotonic()
                if watched is None or watched.run_id != unfinished[-1].run_id:
                    watched = self._tell(unfinished[-1])
            elif not left:
                break
            elif time.monotonic() - quiet_since > _ASSET_TIMEOUT_S:
                if watched is not None:
                    self.finish(watched)  # says which task failed, if that is why
                raise PlatformError(
                    "airflow",
                    f"{left:,} {what} wait, but no run of {dag_id} has started.",
                    remedy="See the DAG's page; trigger it by hand to go on.",
                )
            if left != told:
                self._say(dag_id.partition("_")[0], f"{left:,} {what} wait")
                told = left
            time.sleep(self._poll_s)
        if watched is not None:
            self.finish(watched)

    def answer(
        self, run: DagRun, task_id: str, option: str, reason: str, by: AirflowClient
    ) -> bool:
        """Answer what a task of a run asks until the run ends; False: it asked nothing.

        A question stands for a while before it is answered. Airflow takes an answer that comes
        before its scheduler noticed that the asking process ended for a failure of the task,
        loses it and asks again; that question is answered too.
        """
        answered = False
        asked_at: float | None = None

        def answer_what_stands(_: DagRun) -> None:
            nonlocal answered, asked_at
            if not self.client.awaits_answer(run, task_id):
                asked_at = None
            elif asked_at is None:
                asked_at = time.monotonic()
            elif time.monotonic() - asked_at >= _QUESTION_STANDS_S:
                by.answer(run, task_id, option, {"reason": reason})
                answered, asked_at = True, None

        self.client.wait_for_end(
            run, timeout_s=_RUN_TIMEOUT_S, on_poll=answer_what_stands, poll_s=self._poll_s
        )
        return answered

    def _tell(self, run: DagRun) -> DagRun:
        self._say("airflow", f"{run.dag_id}: {self.client.run_page(run)}")
        return run
