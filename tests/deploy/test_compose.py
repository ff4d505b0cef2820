"""The production compose file, judged without Docker; with its client, by `docker compose` too."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from facecore.config import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DEPLOY = ROOT / "deploy"
ONE_SHOT = {"init-databases", "init", "cli"}
AIRFLOW = ("api-server", "scheduler", "dag-processor", "triggerer", "worker", "gpu-worker")
SECRET_NAME = re.compile(r"PASSWORD|SECRET|_KEY\b|_KEY$|REDISCLI_AUTH|SQL_ALCHEMY_CONN|BROKER_URL")
AIRFLOW_OPTIONS = """
import json
from airflow.configuration import conf
described = conf.configuration_description
print(json.dumps({section: list(options["options"]) for section, options in described.items()}))
"""
REQUIRED = re.compile(r"\$\{(\w+):\?([^}]+)\}")
DEFAULTED = re.compile(r"\$\{(\w+):?-([^}]*)\}")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text())


@pytest.fixture(scope="module")
def services(compose) -> dict[str, Any]:
    return compose["services"]


@pytest.fixture(scope="module")
def environments(services) -> dict[str, dict[str, str]]:
    return {name: service.get("environment", {}) for name, service in services.items()}


def test_who_reads_dag_files_knows_what_they_read(environments):
    read = {
        f"FACECORE_{section}__{field}".upper()
        for path in (ROOT / "dags").rglob("*.py")
        for section, field in re.findall(r"settings\(\)\.(\w+)\.(\w+)", path.read_text())
    }
    assert read
    for service in ("dag-processor", "worker", "gpu-worker"):
        assert read <= set(environments[f"airflow-{service}"]), service


def env_setting_names(model: type[BaseModel], prefix: str) -> set[str]:
    names: set[str] = set()
    for field, info in model.model_fields.items():
        name = f"{prefix}{field.upper()}"
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            names |= env_setting_names(info.annotation, f"{name}__")
        else:
            names.add(name)
    return names


def test_every_part_of_the_platform_is_there(services):
    expected = {"postgres", "seaweedfs", "redis", "mlflow", "init-databases", "init", "cli"}
    assert set(services) == expected | {f"airflow-{part}" for part in AIRFLOW}


def test_images_are_pinned_to_a_version(services):
    for name, service in services.items():
        image = DEFAULTED.sub(r"\2", service["image"])
        tag = image.rpartition(":")[2] if ":" in image else ""
        assert re.search(r"\d+\.\d+", tag), f"{name}: {image!r} is not pinned to a version"


def test_dockerfile_pins_its_base_and_hashes_its_packages():
    text = (DEPLOY / "Dockerfile").read_text()
    assert re.search(r"ARG PYTHON_IMAGE=python:3\.11\.\d+-slim-\w+", text)
    assert all("${PYTHON_IMAGE}" in line for line in text.splitlines() if line.startswith("FROM"))
    assert "--require-hashes -r requirements.txt" in text
    makefile = (ROOT / "Makefile").read_text()
    uv = re.search(r"^UV_VERSION := (\S+)$", makefile, re.MULTILINE)
    assert uv is not None
    assert f"ARG UV_VERSION={uv[1]}\n" in text


def test_dockerfile_copies_only_what_is_in_the_tree_and_not_ignored():
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        words = line.split()
        if words[:1] != ["COPY"] or words[1].startswith("--from"):
            continue
        for source in words[1:-1]:
            assert list(ROOT.glob(source.removeprefix("./"))), f"{source} does not exist"
            assert source.removeprefix("./").split("/")[0] in allowed, f"{source} is ignored"


def test_long_running_services_restart_and_are_checked(services):
    for name, service in services.items():
        if name in ONE_SHOT:
            assert service["restart"] == "no"
            continue
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}, name


def test_nothing_starts_before_what_it_needs_is_ready(services):
    for name, service in services.items():
        needs = service.get("depends_on", {})
        if name not in {"postgres", "seaweedfs", "redis"}:
            assert needs, f"{name} waits for nothing"
        for other, how in needs.items():
            done = other in ONE_SHOT
            expected = "service_completed_successfully" if done else "service_healthy"
            assert how["condition"] == expected, f"{name} → {other}"
    for part in AIRFLOW:
        assert "init" in services[f"airflow-{part}"]["depends_on"]


def test_containers_are_confined(services):
    for name, service in services.items():
        user = str(service["user"])
        assert user.split(":", maxsplit=1)[0] not in {"", "0", "root"}, f"{name} runs as root"
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
        assert not service.get("privileged"), name
        assert service["logging"]["driver"] == "json-file", name
        assert {"max-size", "max-file"} <= set(service["logging"]["options"]), name


def test_only_the_web_interfaces_are_published_and_only_on_loopback(services, compose):
    published = {name: s["ports"] for name, s in services.items() if s.get("ports")}
    assert set(published) == {"airflow-api-server", "mlflow"}
    for name, ports in published.items():
        for port in ports:
            assert DEFAULTED.sub(r"\2", port).startswith("127.0.0.1:"), f"{name}: {port}"
    assert compose["networks"]["backend"]["internal"] is True
    for name, service in services.items():
        expected = ["backend", "edge"] if name in published else ["backend"]
        assert service["networks"] == expected, name
        assert service.get("network_mode") is None, name


def test_secrets_come_from_the_environment_and_have_no_default(environments):
    checked = 0
    for service, environment in environments.items():
        for name, value in environment.items():
            if not SECRET_NAME.search(name) or name.startswith("FACECORE_MODEL"):
                continue
            found = REQUIRED.findall(str(value))
            assert found, f"{service}: {name} is not taken from a required variable"
            assert all(variable in message for variable, message in found)
            checked += 1
    assert checked > 30


def test_no_variable_that_holds_a_secret_has_a_default():
    text = COMPOSE.read_text()
    for variable, default in DEFAULTED.findall(text):
        assert not re.search(r"PASSWORD|SECRET|KEY", variable), f"{variable} defaults to {default}"
    assert not re.search(r"\$\{?\w*(PASSWORD|SECRET|KEY)\w*\}?(?![\w:?])", text.replace("$$", ""))


def test_env_example_names_every_required_variable_and_gives_none_a_value():
    lines = (DEPLOY / ".env.example").read_text().splitlines()
    template = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    required = {variable for variable, _ in REQUIRED.findall(COMPOSE.read_text())}
    assert {name for name, value in template.items() if not value} == required
    known = required | {variable for variable, _ in DEFAULTED.findall(COMPOSE.read_text())}
    assert set(template) <= known, "the template offers a setting that nothing reads"


def test_facecore_settings_exist(environments):
    known = env_setting_names(Settings, "FACECORE_")
    used = {n for env in environments.values() for n in env if n.startswith("FACECORE_")}
    own_variables = {"FACECORE_DB_PASSWORD"}  # read by deploy/init_databases.py, not a setting
    assert len(used) > 10
    assert used - own_variables <= known


def test_airflow_settings_exist(environments, tmp_path):
    # In a process of its own: importing Airflow's configuration writes files to its home.
    answer = subprocess.run(
        [sys.executable, "-c", AIRFLOW_OPTIONS],
        env={**minimal_environment(), "AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    known = {
        f"AIRFLOW__{section.upper()}__{option.upper()}"
        for section, options in json.loads(answer.stdout.splitlines()[-1]).items()
        for option in options
    }
    used = {n for env in environments.values() for n in env if n.startswith("AIRFLOW__")}
    assert len(used) > 15
    assert used <= known


def test_airflow_services_agree_on_executor_login_and_keys(environments):
    common = [environments[f"airflow-{part}"] for part in AIRFLOW] + [environments["init"]]
    for name in (
        "AIRFLOW__CORE__EXECUTOR",
        "AIRFLOW__CORE__AUTH_MANAGER",
        "AIRFLOW__CORE__FERNET_KEY",
        "AIRFLOW__API_AUTH__JWT_SECRET",
        "AIRFLOW__CELERY__BROKER_URL",
    ):
        assert len({env[name] for env in common}) == 1, name
    assert common[0]["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"
    assert common[0]["AIRFLOW__CORE__AUTH_MANAGER"].endswith(".FabAuthManager")


def test_superuser_and_admin_passwords_reach_only_who_needs_them(services):
    def holders(variable: str) -> set[str]:
        return {n for n, s in services.items() if f"${{{variable}:" in yaml.dump(s)}

    assert holders("POSTGRES_PASSWORD") == {"postgres", "init-databases"}
    assert holders("AIRFLOW_ADMIN_PASSWORD") == {"init"}
    assert holders("MLFLOW_ADMIN_PASSWORD") == {"mlflow", "init"}
    assert holders("SEAWEEDFS_FILER_SIGNING_KEY") == {"seaweedfs"}


def test_dags_and_plugins_are_the_ones_of_the_embedded_platform(environments):
    text = (DEPLOY / "Dockerfile").read_text()
    assert "COPY dags /opt/facecore/dags" in text
    assert "COPY plugins /opt/facecore/plugins" in text
    for part in AIRFLOW:
        environment = environments[f"airflow-{part}"]
        assert environment["AIRFLOW__CORE__DAGS_FOLDER"] == "/opt/facecore/dags"
        assert environment["AIRFLOW__CORE__PLUGINS_FOLDER"] == "/opt/facecore/plugins"


def test_device_tasks_find_a_worker_with_and_without_a_gpu(services, environments):
    ordinary = services["airflow-worker"]["command"]
    assert ordinary[ordinary.index("--queues") + 1] == "${FACECORE_WORKER_QUEUES:-default,gpu}"
    gpu = services["airflow-gpu-worker"]
    assert gpu["profiles"] == ["gpu"]
    assert gpu["command"][gpu["command"].index("--queues") + 1] == "gpu"
    assert environments["airflow-gpu-worker"]["FACECORE_EXTRACT__DEVICE"] == "cuda"
    device = gpu["deploy"]["resources"]["reservations"]["devices"][0]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


class Merging(yaml.SafeLoader):
    """Reads Compose's `!reset` and `!override` as what they stand before."""


Merging.add_multi_constructor(
    "!", lambda loader, _, node: getattr(loader, f"construct_{node.id}")(node)
)


def test_a_worker_on_another_host_meets_the_stores_that_the_first_publishes(environments):
    first, other = (
        yaml.load((DEPLOY / f"compose.{name}.yml").read_text(), Merging)["services"]  # noqa: S506
        for name in ("cluster", "remote-worker")
    )
    published = {port.rsplit(":", 1)[1] for s in first.values() for port in s["ports"]}
    assert published == {"5432", "6379", "8333", "5000", "8080"}
    for name, service in other.items():
        own = environments[name]
        assert service["environment"].keys() <= own.keys(), "an override of what nobody reads"
        local = re.compile(r"[@/](postgres|redis|seaweedfs|mlflow|airflow-api-server)[:}]")
        merged = own | service["environment"]
        assert not [n for n, value in merged.items() if local.search(str(value))], name
        assert not service["depends_on"]
        assert service["networks"] == ["edge"]
    for port in published:
        text = yaml.dump(other)
        assert port in text


def test_data_lives_in_named_volumes(services, compose):
    for name, path in {
        "postgres": "/var/lib/postgresql",
        "seaweedfs": "/data",
        "redis": "/data",
    }.items():
        mounts = dict(volume.split(":")[:2] for volume in services[name]["volumes"])
        volume = next(source for source, target in mounts.items() if target == path)
        assert volume in compose["volumes"], name


def docker_compose(
    *arguments: str, env_file: Path, files: tuple[str, ...] = ("docker-compose.yml",)
) -> subprocess.CompletedProcess[str]:
    named = [word for file in files for word in ("-f", file)]
    command = ["docker", "compose", "--env-file", str(env_file), "--profile", "*", *named]
    command += arguments
    return subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=minimal_environment(),
    )


def minimal_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


def compose_client() -> bool:
    if shutil.which("docker") is None:
        return False
    found = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    return found.returncode == 0


if compose_client():

    def test_docker_compose_accepts_the_file(new_env_file):
        answer = docker_compose("config", "--quiet", env_file=new_env_file)
        assert answer.returncode == 0, answer.stderr

    @pytest.mark.parametrize("variant", ["external-s3", "publish-s3", "cluster", "remote-worker"])
    def test_docker_compose_accepts_the_variants(new_env_file, variant):
        files = ("docker-compose.yml", f"deploy/compose.{variant}.yml")
        with new_env_file.open("a") as file:
            file.write("CLUSTER_ADDRESS=10.0.0.1\nWORKER_ADDRESS=10.0.0.2\n")
        answer = docker_compose("config", "--format", "json", env_file=new_env_file, files=files)
        assert answer.returncode == 0, answer.stderr
        services = json.loads(answer.stdout)["services"]
        if variant == "cluster":
            assert {"10.0.0.1"} == {port["host_ip"] for port in services["postgres"]["ports"]}
        elif variant == "remote-worker":
            assert not services["airflow-worker"].get("depends_on")
            assert list(services["airflow-worker"]["networks"]) == ["edge"]
        elif variant == "external-s3":
            assert "seaweedfs" not in services
            assert "seaweedfs" not in json.dumps(
                [service.get("depends_on") for service in services.values()]
            )
            assert "edge" in services["airflow-worker"]["networks"]
        else:
            assert [port["host_ip"] for port in services["seaweedfs"]["ports"]] == ["127.0.0.1"]

    def test_docker_compose_names_the_missing_secret(new_env_file, tmp_path):
        text = new_env_file.read_text()
        for line in text.splitlines():
            name, _, value = line.partition("=")
            if not re.search("PASSWORD|SECRET|KEY", name) or not value:
                continue
            partial = tmp_path / "partial.env"
            partial.write_text(text.replace(f"{line}\n", ""))
            answer = docker_compose("config", "--quiet", env_file=partial)
            assert answer.returncode != 0
            assert f"set {name} in .env" in answer.stderr
