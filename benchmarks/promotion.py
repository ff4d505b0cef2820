"""A promotion and a rollback over Airflow's REST API, while searches go on.

    facecore up; make demo IMAGES=DIR        # a catalogue whose people are known
    python -m benchmarks.promotion --images DIR --version 2 --dataset NAME [--override WHY]

`DIR` holds person/*.jpg as it was given to the demo. What a reviewer would click is done through
the same API that the pages use: `review_model` is triggered as admin, its question answered as
reviewer, `reembed_faces` follows by itself, and is then triggered with "roll back".

All the while one search after another asks who is on a picture of DIR. Reported for each phase:
searches, errors, answers that name the right person, a wrong one or nobody, and their times.
"Mixed" counts answers of vectors of two models, which must be 0: a score above 1, or a search
whose recorded model is neither the old nor the new one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from facecore.config import settings
from facecore.errors import FacecoreError, UsageError
from facecore.jobs.lineage import command_context
from facecore.jobs.models.champions import champions
from facecore.jobs.people.search import search
from facecore.jobs.stores import Stores
from facecore.local.platform import Platform
from facecore.local.status import Endpoint
from facecore.stores.catalog.pages.summary import summarise
from facecore.zoo.device import use_threads

_POLL_S = 0.5
_ENDED = {"success", "failed"}


class Api:
    """Airflow's REST API as one user."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._http = httpx.Client(base_url=endpoint.url, timeout=60.0)
        login = {
            "username": endpoint.username,
            "password": endpoint.password.get_secret_value(),
        }
        token = self.call("POST", "/auth/token", json=login)["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        answer = self._http.request(method, path, **more)
        if answer.is_error:
            raise UsageError(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        body: dict[str, Any] = answer.json()
        return body

    def trigger(self, dag: str, params: dict[str, Any]) -> str:
        self.call("PATCH", f"/api/v2/dags/{dag}", json={"is_paused": False})
        body = {"logical_date": None, "conf": params}
        return str(self.call("POST", f"/api/v2/dags/{dag}/dagRuns", json=body)["dag_run_id"])

    def state(self, dag: str, run: str) -> str:
        return str(self.call("GET", f"/api/v2/dags/{dag}/dagRuns/{run}")["state"])

    def newest(self, dag: str) -> str | None:
        query = {"limit": 1, "order_by": "-run_after"}
        runs = self.call("GET", f"/api/v2/dags/{dag}/dagRuns", params=query)["dag_runs"]
        return str(runs[0]["dag_run_id"]) if runs else None

    def wait(self, dag: str, run: str) -> None:
        until(lambda: self.state(dag, run) in _ENDED)
        if (state := self.state(dag, run)) != "success":
            raise UsageError(f"run {run} of {dag} ended as {state}.")


def until(done: Callable[[], bool]) -> None:
    while not done():
        time.sleep(_POLL_S)


@dataclass
class Searches:
    """Searches one after another in a thread of their own, counted by phase."""

    photos: list[tuple[str, Path]]
    stores: Stores
    phase: str = "before"
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    errors: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        number = 0
        while not self.stopped.is_set():
            person, photo = self.photos[number % len(self.photos)]
            number, phase, began = number + 1, self.phase, time.monotonic()
            try:
                faces = search(command_context("benchmark.search"), photo, stores=self.stores)
            except FacecoreError as error:
                self.errors.append(f"{phase}: {type(error).__name__}: {error}")
                self.outcomes[phase]["error"] += 1
                continue
            self.seconds[phase].append(time.monotonic() - began)
            self.outcomes[phase][outcome_of(faces, person)] += 1

    def report(self) -> dict[str, Any]:
        return {
            phase: {
                "searches": len(times),
                **dict(self.outcomes[phase]),
                "p50_s": round(statistics.median(times), 3),
                "slowest_s": round(max(times), 3),
            }
            for phase, times in self.seconds.items()
        }


def outcome_of(faces: list[Any], person: str) -> str:
    named = [f.match for f in faces if f.match.outcome == "accept"]
    if any(one.score > 1.001 for one in named):
        return "mixed"
    if any(one.label == person for one in named):
        return "right"
    return "wrong" if named else "nobody"


def models_of_searches(stores: Stores, since: float) -> dict[str, int]:
    """Embedder version → searches that were recorded with it since then (seconds since 1970)."""
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute(
            "SELECT models ->> 'embed', count(*) FROM run WHERE task_id = 'benchmark.search' "
            "AND started_at >= to_timestamp(%s) GROUP BY 1",
            (since,),
        )
        return {str(name): int(count) for name, count in cursor.fetchall()}


def promote_and_roll_back(
    admin: Api, reviewer: Api, searches: Searches, wanted: argparse.Namespace, model: str
) -> dict[str, float]:
    """Seconds of each step."""
    seconds: dict[str, float] = {}
    clock = time.monotonic()

    def step(name: str, phase: str) -> None:
        nonlocal clock
        seconds[name] = round(time.monotonic() - clock, 1)
        clock, searches.phase = time.monotonic(), phase

    asked = {"model": model, "version": wanted.version, "dataset": wanted.dataset}
    searches.phase = "review"
    run = admin.trigger("review_model", {**asked, "override": wanted.override, "slowdown": None})
    question = f"/api/v2/dags/review_model/dagRuns/{run}/taskInstances/ask/-1/hitlDetails"
    pending = "/api/v2/dags/~/dagRuns/~/hitlDetails?response_received=false"

    def asks() -> bool:
        if admin.state("review_model", run) == "failed":
            raise UsageError(f"review_model failed; see its run {run}.")
        waiting = admin.call("GET", pending)["hitl_details"]
        return any(one["task_instance"]["dag_run_id"] == run for one in waiting)

    until(asks)
    step("judge both models", "review")
    before = admin.newest("reembed_faces")
    answer = {"chosen_options": ["Approve"], "params_input": {"reason": wanted.reason}}
    reviewer.call("PATCH", question, json=answer)
    admin.wait("review_model", run)
    step("record the approval", "promotion")
    until(lambda: admin.newest("reembed_faces") != before)
    admin.wait("reembed_faces", str(admin.newest("reembed_faces")))
    step("re-embed, compare, switch", "promoted")
    time.sleep(wanted.pause)
    step("pause", "rollback")
    back = {"action": "roll back", "reason": "benchmark: and back"}
    admin.wait("reembed_faces", admin.trigger("reembed_faces", back))
    step("roll back", "rolled back")
    time.sleep(wanted.pause)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--version", type=int, required=True, help="of the embedder")
    parser.add_argument("--dataset", required=True, help="snapshot that judges")
    parser.add_argument("--override", default="", help="why failed gates are not to stop it")
    parser.add_argument("--reason", default="benchmark")
    parser.add_argument("--photos", type=int, default=200, help="pictures to search with")
    parser.add_argument("--pause", type=float, default=20.0, help="seconds between the steps")
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()

    use_threads(1)  # one search at a time, beside the work of the platform
    stores, home = Stores(), settings().home
    ends = Platform(home, Path(__file__).parents[1]).endpoints()
    admin, reviewer = Api(ends["airflow-admin"]), Api(ends["airflow-reviewer"])
    people = sorted(p for p in wanted.images.iterdir() if len(list(p.glob("*.jpg"))) > 2)
    step = max(1, len(people) // wanted.photos)
    photos = [(p.name.replace("_", " "), sorted(p.glob("*.jpg"))[2]) for p in people[::step]]
    model, began = stores.settings.mlflow.embedder, time.time()
    with stores.catalog.transaction() as tx:
        catalogue = summarise(tx).as_json()
    old = champions(stores).names
    searches = Searches(photos, stores)
    thread = threading.Thread(target=searches.run, daemon=True)
    thread.start()
    time.sleep(wanted.pause)
    try:
        seconds = promote_and_roll_back(admin, reviewer, searches, wanted, model)
    finally:
        searches.stopped.set()
        thread.join()
    result = {
        "faces": catalogue["faces"],
        "champion": old["embed"],
        "challenger": f"{model}/{wanted.version}",
        "in use again": champions(stores).names["embed"],
        "seconds": seconds,
        "searches": searches.report(),
        "errors": searches.errors[:10],
        "models of the searches": models_of_searches(stores, began),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if wanted.json:
        wanted.json.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
