"""The values for the official Helm chart, held against what is known without a cluster: facecore's
settings, Airflow's options, the DAGs' queues, and docker-compose.yml, which is tested with them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from facecore.config import Settings

ROOT = Path(__file__).parents[2]
HELM = ROOT / "deploy" / "helm"
POLICY = ROOT / "deploy" / "airflow" / "airflow_local_settings.py"
# Fields of a Secret reference and addresses of other services: names, no secrets.
NAMES = {"name", "key", "secretKeyRef"}
QUEUES = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
assert not bag.import_errors, bag.import_errors
tasks = [task for dag in bag.dags.values() for task in dag.tasks]
print(json.dumps([[task.task_id, task.queue, task.pool, task.executor] for task in tasks]))
"""


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((HELM / name).read_text())


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    return load("values.yaml")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture(scope="module")
def tasks(tmp_path_factory) -> Iterator[Any]:
    """Every task's id, queue, pool and executor, by the executors that are configured."""
    home = tmp_path_factory.mktemp("airflow")
    (home / "config").mkdir()
    shutil.copy(POLICY, home / "config")
    found: dict[str, list[list[str]]] = {}

    def parsed(executors: str) -> list[list[str]]:
        if executors not in found:
            answer = subprocess.run(
                [sys.executable, "-c", QUEUES, str(ROOT / "dags")],
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(home),
                    "AIRFLOW_HOME": str(home),
                    "FACECORE_HOME": str(home),
                    "AIRFLOW__CORE__EXECUTOR": executors,
                    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
                    "PYTHONPATH": os.pathsep.join(
                        str(path) for path in (ROOT / "dags", ROOT / "plugins", home / "config")
                    ),
                },
                capture_output=True,
                text=True,
                check=False,
            )
            assert answer.returncode == 0, answer.stderr[-3000:]
            found[executors] = json.loads(answer.stdout.splitlines()[-1])
        return found[executors]

    return parsed


def walk(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from walk(value, (*path, str(key)))
    elif isinstance(node, list):
        for value in node:
            yield from walk(value, path)
    else:
        yield path, node


def variables(node: Any) -> dict[str, Any]:
    """Every environment variable in a document: name → its entry."""
    found: dict[str, Any] = {}
    if isinstance(node, dict):
        if "name" in node and ("value" in node or "valueFrom" in node):
            found[node["name"]] = node
        for value in node.values():
            found |= variables(value)
    elif isinstance(node, list):
        for value in node:
            found |= variables(value)
    return found


def setting_names(model: type[BaseModel], prefix: str) -> set[str]:
    names: set[str] = set()
    for field, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names |= setting_names(kind, f"{prefix}{field.upper()}__")
        else:
            names.add(f"{prefix}{field.upper()}")
    return names


def flat(config: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The chart's `config` as Airflow's environment variables."""
    return {
        f"AIRFLOW__{section}__{option}".upper(): str(value)
        for section, options in config.items()
        for option, value in options.items()
    }


@pytest.mark.parametrize("name", ["values.yaml", "values-kubernetes.yaml", "setup-job.yaml"])
def test_facecore_settings_exist(name):
    used = {variable for variable in variables(load(name)) if variable.startswith("FACECORE_")}
    assert used
    assert used <= setting_names(Settings, "FACECORE_")


@pytest.mark.parametrize("name", ["values.yaml", "values-kubernetes.yaml", "setup-job.yaml"])
def test_no_secret_is_written_down(name):
    document = load(name)
    for variable, entry in variables(document).items():
        if re.search(r"PASSWORD|SECRET|ACCESS_KEY|_KEY$|_CONN$|BROKER_URL", variable):
            reference = entry["valueFrom"]["secretKeyRef"]
            assert set(entry) == {"name", "valueFrom"}, variable
            assert set(reference) == {"name", "key"}, variable
    for path, value in walk(document):
        if path[-1] in NAMES or not isinstance(value, str):
            continue
        assert not re.search(r"://[^/\s]*:[^/\s]*@", value), f"{'.'.join(path)} holds a password"
        assert not re.fullmatch(r"[A-Za-z0-9+/_-]{32,}={0,2}", value), ".".join(path)


def test_every_secret_that_is_used_is_announced():
    text = (HELM / "values.yaml").read_text() + (HELM / "setup-job.yaml").read_text()
    announced = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    for name in ("values.yaml", "values-kubernetes.yaml", "setup-job.yaml"):
        for path, value in walk(load(name)):
            if path[-2:] == ("secretKeyRef", "name") or path[-1].endswith("SecretName"):
                assert value in announced, value
            if path[-2:] == ("secretKeyRef", "key"):
                assert value in announced, value


def test_airflow_is_configured_as_in_docker_compose(values, compose):
    deployed = compose["x-airflow-env"]
    own = flat(values["config"])
    for name, value in own.items():
        if name in ("AIRFLOW__CORE__PARALLELISM", "AIRFLOW__CELERY__WORKER_CONCURRENCY"):
            assert name in deployed
            continue
        expected = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", deployed[name])
        assert value == expected, name
    tested = {n for n in deployed if re.match("AIRFLOW__(CELERY_BROKER|SCHEDULER|WORKERS)", n)}
    assert tested <= set(own), "what keeps tasks from getting lost holds on Kubernetes too"
    assert values["executor"] == deployed["AIRFLOW__CORE__EXECUTOR"]


def test_the_chart_runs_the_locked_airflow(values):
    assert f"apache-airflow=={values['airflowVersion']} " in (ROOT / "requirements.txt").read_text()
    assert values["airflowLocalSettings"] is None, "the image's own would be hidden"
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    assert f"groupadd --gid {values['gid']}" in dockerfile
    assert f"useradd --uid {values['uid']}" in dockerfile


def test_the_image_has_what_the_chart_calls_by_name(values, tmp_path):
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    (entrypoint,) = re.findall(r"printf '(.+)' > /entrypoint && chmod 755", dockerfile)
    program = tmp_path / "entrypoint"
    program.write_text(entrypoint.replace("\\n", "\n"))
    program.chmod(0o755)
    said = subprocess.run([program, "echo", "a  b"], capture_output=True, text=True, check=True)
    assert said.stdout == "a  b\n"
    assert "ln -s /opt/facecore/deploy/clean_logs.sh /clean-logs" in dockerfile
    groomers = {part: values[part]["logGroomerSidecar"]["enabled"]
                for part in ("scheduler", "dagProcessor", "triggerer")}  # fmt: skip
    assert groomers == {"scheduler": True, "dagProcessor": False, "triggerer": False}


def test_the_log_groomer_removes_old_logs_only(tmp_path):
    logs = tmp_path / "logs"
    old, new, empty, fresh = (logs / name for name in ("a/1.log", "b/2.log", "c", "d"))
    for folder in (old.parent, new.parent, empty, fresh):
        folder.mkdir(parents=True)
    for path in (old, new, logs / "a" / "kept.json"):
        path.write_text("x")
    for path, days in ((old, 17), (logs / "a" / "kept.json", 17), (new, 14), (empty, 1)):
        os.utime(path, (time.time() - days * 86400,) * 2)
    groomer = subprocess.Popen(
        ["bash", ROOT / "deploy" / "clean_logs.sh"], env={**os.environ, "AIRFLOW_HOME": tmp_path}
    )
    try:
        for _ in range(200):
            if not old.exists() and not empty.exists():
                break
            time.sleep(0.05)
        assert {p.relative_to(logs).as_posix() for p in logs.rglob("*")} == {
            "a", "a/kept.json", "b", "b/2.log", "d",
        }  # fmt: skip
        assert groomer.poll() is None
    finally:
        groomer.terminate()
    groomer.wait(10)


def test_every_queue_has_a_worker(values, tasks):
    queues = {queue for _, queue, _, _ in tasks("CeleryExecutor")}
    assert queues == {"default", "gpu"}
    sets = values["workers"]["celery"]["sets"]
    served = {"default"} | {queue for one in sets for queue in one["queue"].split(",")}
    assert served == queues


def test_two_device_tasks_never_share_a_gpu(values, tasks):
    device = [task for task in tasks("CeleryExecutor") if task[1] == "gpu"]
    assert {pool for _, _, pool, _ in device} == {"gpu"}
    (gpu,) = values["workers"]["celery"]["sets"]
    own = {entry["name"]: entry.get("value") for entry in gpu["env"]}
    assert own["AIRFLOW__CELERY__WORKER_CONCURRENCY"] == "1"
    assert own["FACECORE_EXTRACT__DEVICE"] == "cuda"
    assert gpu["resources"]["limits"]["nvidia.com/gpu"] == 1
    (container,) = load("setup-job.yaml")["spec"]["template"]["spec"]["containers"]
    slots = {entry["name"]: entry.get("value") for entry in container["env"]}["GPU_POOL_SLOTS"]
    assert slots == str(gpu["replicas"])


def test_keys_to_pictures_reach_only_who_needs_them(values):
    secret = {"FACECORE_DATABASE__PASSWORD", "FACECORE_S3__SECRET_KEY", "FACECORE_MLFLOW__PASSWORD"}
    for part in ("apiServer", "triggerer", "workers"):
        assert secret <= set(variables(values[part]["env"])), part
    (gpu,) = values["workers"]["celery"]["sets"]
    assert secret <= set(variables(gpu["env"])), "a set's list replaces that of all workers"
    for part in ("scheduler", "dagProcessor", "env"):
        assert not secret & set(variables(values[part])), part


def test_setup_meets_the_same_services(values):
    (container,) = load("setup-job.yaml")["spec"]["template"]["spec"]["containers"]
    own = {n: e["value"] for n, e in variables(container["env"]).items() if "value" in e}
    shared = {entry["name"]: entry["value"] for entry in values["env"]}
    assert shared.items() <= own.items()
    image = f"{values['defaultAirflowRepository']}:{values['defaultAirflowTag']}"
    assert container["image"] == image
    init = (ROOT / "deploy" / "init_platform.sh").read_text()
    assert set(re.findall(r"\$([A-Z]\w+)", init)) <= set(variables(container["env"]))


def test_device_tasks_become_pods_where_kubernetes_is_configured(tasks):
    executors = load("values-kubernetes.yaml")["executor"]
    assert executors == "CeleryExecutor,KubernetesExecutor"
    for task, queue, _, executor in tasks(executors):
        assert executor == ("KubernetesExecutor" if queue == "gpu" else None), task
    assert {executor for *_, executor in tasks("CeleryExecutor")} == {None}
    pods = load("values-kubernetes.yaml")["workers"]["kubernetes"]
    assert pods["resources"]["limits"]["nvidia.com/gpu"] == 1
    locked = (ROOT / "deploy" / "requirements-kubernetes.txt").read_text()
    assert "apache-airflow-providers-cncf-kubernetes==" in locked
