"""The registry against a real MLflow server."""

import json
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from unittest.mock import Mock
from uuid import uuid4

import pytest

from facecore.config import MlflowSettings
from facecore.errors import CredentialsRejected, DigestMismatch, NotFound, RegistryUnavailable
from facecore.stores.mlflow_session import experiment_id, mlflow_session
from facecore.stores.model_package import ModelPackage
from facecore.stores.registry import Registry, sha256_of

MODEL = """
import mlflow
import pandas as pd

class Lengths(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        with open(context.artifacts["weights.safetensors"], "rb") as file:
            self.size = len(file.read())

    def predict(self, context, model_input: pd.DataFrame, params=None):
        return [{"size": self.size + len(image)} for image in model_input["image"]]

mlflow.models.set_model(Lengths())
"""
SIGNATURE = {
    "inputs": json.dumps([{"name": "image", "type": "binary", "required": True}]),
    "outputs": json.dumps([{"name": "size", "type": "long", "required": True}]),
}


@pytest.fixture
def registry(mlflow_server, tmp_path) -> Registry:
    return Registry(mlflow_server, tmp_path / "cache")


@pytest.fixture
def package(tmp_path):
    name = f"test-{uuid4().hex[:12]}"

    def make(weights: bytes = b"weights", **changes) -> ModelPackage:
        folder = tmp_path / "package"
        folder.mkdir(exist_ok=True)
        (folder / "model.py").write_text(MODEL)
        # The local names differ from the artifact names on purpose.
        local = folder / f"{uuid4().hex}.bin"
        local.write_bytes(weights)
        (folder / "thresholds.json").write_text('{"points": [1]}')
        fields = {
            "name": name,
            "files": {"weights.safetensors": local, "calibration.json": folder / "thresholds.json"},
            "contract": {"model": "lengths", "dimension": 1},
            "python_model": folder / "model.py",
            "signature": SIGNATURE,
            "description": "# Lengths\n\nCounts bytes.",
            "requirements": ("numpy",),
            "tags": {"task": "count"},
            "params": {"size": "7"},
            "metrics": {"accuracy": 0.5},
        }
        return ModelPackage(**{**fields, **changes})

    return make


def test_a_registered_version_comes_back_whole(registry, package, mlflow_server):
    made = package()

    registered = registry.register(made, alias="champion")
    found = registry.resolve(made.name)

    assert found == registered
    assert (found.version, found.source) == (1, f"models:/{made.name}/1")
    assert found.weights_sha256 == sha256_of(made.files["weights.safetensors"])
    assert found.contract == {"model": "lengths", "dimension": 1}
    assert found.tags["task"] == "count"
    assert registry.calibration(found) == {"points": [1]}
    assert registry.aliases(made.name) == {"champion": 1}
    with mlflow_session(mlflow_server) as client:
        version = client.get_model_version(made.name, "1")
        run = client.get_run(found.run_id)
    assert version.description == "# Lengths\n\nCounts bytes."
    assert run.data.metrics == {"accuracy": 0.5}
    assert run.data.params == {"size": "7"}
    assert run.info.status == "FINISHED"


def test_a_registry_on_this_machine_is_reached_past_a_proxy(registry, package, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert registry.register(package()).version
    assert "no_proxy" not in os.environ


def test_registering_again_adds_nothing_and_new_files_add_a_version(registry, package):
    made = package()
    first = registry.register(made, alias="champion")

    assert registry.register(package(), alias="champion") == first
    second = registry.register(package(b"other weights"), alias="champion")

    assert second.version == 2
    assert [v.version for v in registry.versions(made.name)] == [1, 2]
    assert registry.aliases(made.name) == {"champion": 1}, "registering must not promote"
    registry.set_alias(made.name, "champion", 2)
    assert registry.register(package(), alias="champion") == first
    assert registry.resolve(made.name).version == 2


def test_a_crash_before_the_alias_is_repaired_without_a_second_version(registry, package):
    made = package()
    registry.register(made)  # as if the process died right after creating the version

    repaired = registry.register(made, alias="champion")

    assert repaired.version == 1
    assert registry.resolve(made.name).version == 1
    assert len(registry.versions(made.name)) == 1


def test_a_crash_while_uploading_leaves_no_version(registry, package):
    broken = package(python_model=Path("/nonexistent/model.py"))
    with pytest.raises(Exception, match="nonexistent"):
        registry.register(broken, alias="champion")

    assert registry.versions(broken.name) == []
    assert registry.register(package(), alias="champion").version == 1


def test_download_is_verified_cached_and_works_offline(registry, package, tmp_path):
    info = registry.register(package())

    folder = registry.download(info)

    assert folder.name == info.digest
    assert {p.name for p in folder.iterdir()} == {"weights.safetensors", "calibration.json"}
    assert (folder / "weights.safetensors").read_bytes() == b"weights"
    offline = Registry(MlflowSettings(tracking_uri="http://127.0.0.1:9"), registry.cache)
    assert offline.download(info) == folder
    assert [p.name for p in registry.cache.iterdir()] == [info.digest]


def test_a_damaged_cache_is_fetched_again(registry, package):
    info = registry.register(package())
    folder = registry.download(info)
    (folder / "weights.safetensors").write_bytes(b"wrong")

    assert (registry.download(info) / "weights.safetensors").read_bytes() == b"weights"
    assert [p.name for p in registry.cache.iterdir()] == [info.digest]


def test_a_file_altered_in_the_registry_is_refused(registry, package, mlflow_server, tmp_path):
    info = registry.register(package())
    altered = tmp_path / "weights.safetensors"
    altered.write_bytes(b"poisoned")
    with mlflow_session(mlflow_server) as client:
        model_id = client.get_model_version(info.name, "1").source.removeprefix("models:/")
        client.log_model_artifact(model_id, str(altered), "artifacts")

    with pytest.raises(DigestMismatch) as caught:
        registry.download(info)

    assert caught.value.expected == info.weights_sha256
    assert list(registry.cache.iterdir()) == []


def test_many_at_once_download_one_whole_copy(registry, package):
    info = registry.register(package(os.urandom(300_000)))
    seen = []

    def fetch(_):
        seen.append(sha256_of(registry.download(info) / "weights.safetensors"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fetch, range(8)))

    assert seen == [info.weights_sha256] * 8
    assert [p.name for p in registry.cache.iterdir()] == [info.digest]


def test_pyfunc_runs_from_the_registry(registry, package):
    import pandas as pd

    model = registry.pyfunc(registry.register(package()))

    assert model.predict(pd.DataFrame({"image": [b"abc"]})) == [{"size": 10}]


def test_tags_are_added_but_lineage_is_not_replaced(registry, package):
    info = registry.register(package())

    registry.tag(info, {"reviewed": "yes", "facecore.digest": "forged"})

    assert registry.version(info.name, 1).tags == {"task": "count", "reviewed": "yes"}
    assert registry.version(info.name, 1).digest == info.digest


def test_what_does_not_exist_is_named(registry, package, mlflow_server):
    info = registry.register(package())
    for attempt, named in [
        (lambda: registry.resolve("no-such-model"), "no-such-model@champion"),
        (lambda: registry.resolve(info.name, "no-such-alias"), "no-such-alias"),
        (lambda: registry.version(info.name, 99), f"{info.name}/99"),
        (lambda: registry.set_alias(info.name, "champion", 99), f"{info.name}/99"),
        (lambda: registry.aliases("no-such-model"), "no-such-model"),
    ]:
        with pytest.raises(NotFound, match=named):
            attempt()
    assert registry.versions("no-such-model") == []
    with mlflow_session(mlflow_server) as client:
        client.create_model_version(info.name, source=f"models:/{info.name}/1")
    with pytest.raises(NotFound, match="did not register"):
        registry.version(info.name, 2)


def test_an_unreachable_server_is_reported_soon_and_the_environment_stays_clean(tmp_path):
    before = dict(os.environ)
    settings = MlflowSettings(
        tracking_uri="http://someone:hidden@127.0.0.1:9", username="ann", password="secret"
    )

    with pytest.raises(RegistryUnavailable) as caught:
        Registry(settings, tmp_path).resolve("face-embedder")

    assert "127.0.0.1:9" in str(caught.value)
    assert "hidden" not in str(caught.value)
    assert caught.value.retryable
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, CredentialsRejected), (403, CredentialsRejected), (500, RegistryUnavailable)],
)
def test_answers_of_a_protected_or_broken_server(tmp_path, status, expected):
    seen = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.headers["Authorization"])
            self.send_error(status)

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        settings = MlflowSettings(
            tracking_uri=f"http://127.0.0.1:{server.server_port}",
            username="ann",
            password="secret",
        )
        with pytest.raises(expected) as caught:
            Registry(settings, tmp_path).resolve("face-embedder")
    finally:
        server.shutdown()
        server.server_close()

    assert seen[0].startswith("Basic ")
    assert "secret" not in str(caught.value)


def test_a_port_that_speaks_no_http_is_unavailable(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up():
            for _ in range(10):
                try:
                    listener.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=hang_up, daemon=True).start()
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(RegistryUnavailable):
            Registry(MlflowSettings(tracking_uri=uri), tmp_path).resolve("face-embedder")


def test_an_experiment_is_made_once_whoever_is_first(mlflow_server):
    name = f"test-{uuid4().hex[:12]}"
    with mlflow_session(mlflow_server) as client:
        unlucky = Mock(wraps=client)  # looks before another process creates it
        created = experiment_id(client, name)
        assert experiment_id(client, name) == created
        unlucky.get_experiment_by_name.side_effect = [None, client.get_experiment_by_name(name)]
        assert experiment_id(unlucky, name) == created
