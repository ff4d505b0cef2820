"""A review answered by the demo, on an Airflow that loses an answer and asks again."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from facecore.jobs.demo import demo_runs
from facecore.jobs.demo.demo_runs import Runs
from facecore.local.airflow_client import AirflowClient, DagRun

RUNNING, ENDED = DagRun("review", "run", "running"), DagRun("review", "run", "success")


class Airflow(AirflowClient):
    """What it says poll by poll: w(orks), a(sks) or e(nded). The real one loses an answer once in
    some runs only, depending on when its scheduler looks."""

    def __init__(self, polls: str) -> None:
        self.polls, self.now, self.answers = iter(polls), "w", list[int]()
        self._poll = -1

    def run(self, run: DagRun) -> DagRun:
        self.now = next(self.polls)
        self._poll += 1
        return ENDED if self.now == "e" else RUNNING

    def awaits_answer(self, run: DagRun, task_id: str) -> bool:
        return self.now == "a"

    def answer(self, run: DagRun, task_id: str, option: str, params: Mapping[str, object]) -> None:
        assert (task_id, option, params) == ("ask", "Approve", {"reason": "why"})
        self.answers.append(self._poll)


@pytest.mark.parametrize(
    ("polls", "answers"),
    [
        ("wwaawe", [3]),
        ("waawwwaawe", [2, 7]),  # the first one was lost, and it asked again
        ("wwe", []),
        ("wawe", []),  # somebody else was quicker
    ],
)
def test_every_question_is_answered_once_it_stands(
    polls: str, answers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_runs, "_QUESTION_STANDS_S", 0.0)
    monkeypatch.setattr(demo_runs, "_POLL_S", 0.0)
    airflow = Airflow(polls)
    runs = Runs(airflow, lambda _part, _words: None)
    assert runs.answer(RUNNING, "ask", "Approve", "why", by=airflow) == bool(answers)
    assert airflow.answers == answers
