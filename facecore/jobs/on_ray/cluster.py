"""The Ray cluster: connecting to one, or starting one on this machine for a while.

Ray's processes listen on every interface of a machine, and whoever may talk to them may run
code there. A cluster started here therefore demands a token, which exists in a folder of mode
0700 as long as the cluster does. It has no dashboard and reports nothing to Ray's makers.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from facecore.config import ExtractSettings, RaySettings, home_dir
from facecore.errors import ConfigError, CredentialsRejected, DeviceUnavailable, PlatformError

logger = logging.getLogger(__name__)

LOCAL = "local"
_ADDRESS = re.compile(r"(?:ray://)?(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):(?P<port>\d{1,5})")
_CONNECT_S = 10.0
_CLIENT_S = 180.0  # the cluster starts a process for each client, which imports Ray
_HEAD = "node:__internal_head__"
# Of the cores of a cluster without GPUs, the rest fetches, decodes and writes.
_SHARE_OF_ACTORS = 0.75
# One to read and one to write. Ray Data keeps cores for a step as long as more may come to it, so
# with a single one reading would never let writing begin.
_OTHER_CORES = 2
# Decoded shards wait in the object store. On this machine it is memory that others need, too.
_LOCAL_STORE_BYTES = 2 * 2**30


@dataclass(frozen=True, slots=True)
class Layout:
    """What a cluster gives to extraction.

    Attributes:
        actors: how many hold the networks.
        gpus, cpus: of each actor; an actor with a GPU needs no core of its own, so that a node
            started with `--num-cpus=0` computes and is never asked to open a store.
        nodes: ids of the nodes that are alive.
    """

    actors: int
    gpus: int
    cpus: int
    nodes: frozenset[str]

    @property
    def device(self) -> str:
        return "cuda" if self.gpus else "cpu"


def engine() -> Any:
    """The module `ray`.

    Raises:
        ConfigError: it is not installed.
    """
    # Read by Ray when it is imported and by every process that it starts.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray = import_module("ray")
        import_module("ray.data")
    except ImportError as error:
        raise _not_installed(str(error)) from None
    return ray


def _not_installed(why: str) -> ConfigError:
    return ConfigError(
        f"the engine ray is not installed ({why}).",
        remedy="Install it with `.venv/bin/uv pip install --require-hashes "
        "-r requirements-ray.txt`, or use the engine local.",
    )


def require(address: str) -> None:
    """Say at once what would keep `connected` from succeeding, as far as that is quickly known.

    Ray is looked for and not imported: it reads what token to use when it is imported, and the
    token of a local cluster is made when that is started.

    Raises:
        ConfigError: Ray is not installed, or nothing answers at the address.
    """
    _require_address(address)
    if find_spec("ray") is None:
        raise _not_installed("No module named 'ray'")


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """The module `ray`, connected to a cluster until the block ends.

    Args:
        address: local starts a cluster on this machine; auto is the one that runs on it;
            host:port and ray://host:port are others.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at the address.
        CredentialsRejected: the cluster demands another token.
        PlatformError: a local cluster does not start.
    """
    if address == LOCAL:
        with _token() as folder:
            ray = engine()
            with _session(ray, address, **_local(folder)):
                yield ray
    else:
        ray = engine()
        with _session(ray, address):
            yield ray


def layout(
    nodes: Sequence[Mapping[str, Any]], settings: RaySettings, extract: ExtractSettings
) -> Layout:
    """How extraction is spread over the nodes that are there.

    Args:
        nodes: as `ray.nodes()` lists them.

    Raises:
        DeviceUnavailable: GPUs were asked for and no node has one.
        ConfigError: no node has what an actor needs, or nothing is left for reading.
    """
    alive = [node for node in nodes if node["Alive"]]
    cores = [int(node["Resources"].get("CPU", 0)) for node in alive]
    gpus = [int(node["Resources"].get("GPU", 0)) for node in alive]
    ids = frozenset(node["NodeID"] for node in alive)
    if extract.device == "cuda" and not sum(gpus):
        raise DeviceUnavailable(
            "cuda",
            f"the GPU was asked for, but none of the cluster's {len(alive)} nodes has one.",
            remedy="Set FACECORE_EXTRACT__DEVICE to auto or cpu, or start nodes with --num-gpus.",
        )
    if sum(gpus) and extract.device != "cpu":
        most, each = sum(gpus), 0
    else:
        each = settings.cpus_per_actor
        for_actors = min(int(sum(cores) * _SHARE_OF_ACTORS), sum(cores) - _OTHER_CORES)
        most = min(sum(count // each for count in cores), for_actors // each)
        most = max(most, int(max(cores, default=0) >= each))
    if most < 1 or sum(cores) < each + _OTHER_CORES:
        raise ConfigError(
            f"the cluster has {sum(cores)} CPUs on {len(alive)} nodes. An actor takes {each} of "
            f"one node, and {_OTHER_CORES} must be left for reading and writing.",
            remedy="Start larger nodes, or lower FACECORE_RAY__CPUS_PER_ACTOR.",
        )
    actors = min(settings.actors or most, most)
    return Layout(actors, 0 if each else 1, each, ids)


def on_head(ray: Any) -> dict[str, float]:
    """Resources that only the cluster's first node has; none where it is not known."""
    known = any(_HEAD in node["Resources"] for node in ray.nodes() if node["Alive"])
    return {_HEAD: 0.001} if known else {}


def _require_address(address: str) -> None:
    if address in (LOCAL, "auto"):
        return
    found = _ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found["port"]) < 65536:
        raise ConfigError(
            f"the address of a Ray cluster is {address!r}.",
            remedy="Use local, auto, host:port or ray://host:port.",
        )
    # Asked for first: Ray tries for minutes, in words of its own.
    try:
        with socket.create_connection((found["host"].strip("[]"), int(found["port"])), _CONNECT_S):
            pass
    except OSError as error:
        raise ConfigError(
            f"no Ray cluster answers at {address}: {error.strerror or error}.",
            remedy="Start one (`ray start --head`), or correct --ray-address.",
        ) from None


@contextmanager
def _token() -> Iterator[Path]:
    """A folder for the files of a local cluster, and the token that it demands."""
    folder = Path(tempfile.mkdtemp(prefix="facecore-ray-"))  # mode 0700
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32), "ascii")
    ours = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_worker_niceness": "0",  # as the local engine
    }
    before = {name: os.environ.get(name) for name in (*ours, "RAY_AUTH_TOKEN")}
    os.environ.pop("RAY_AUTH_TOKEN", None)  # it would win over the file
    os.environ.update(ours)
    try:
        yield folder
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        shutil.rmtree(folder, ignore_errors=True)


def _local(folder: Path) -> dict[str, Any]:
    from facecore.zoo.device import usable_cores

    return {
        # More than there are: reading and writing mostly wait.
        "num_cpus": usable_cores() + _OTHER_CORES,
        "object_store_memory": _LOCAL_STORE_BYTES,
        "include_dashboard": False,
        "_temp_dir": str(folder / "ray"),  # Ray opens it to everybody; what is above stays closed
        # Where the settings are; what they are stays in that file and this environment.
        "runtime_env": {"env_vars": {"FACECORE_HOME": str(home_dir())}},
    }


@contextmanager
def _session(ray: Any, address: str, **options: Any) -> Iterator[None]:
    told = logger.isEnabledFor(logging.INFO)

    def connect(level: int) -> None:
        ray.init(address=address, log_to_driver=told, logging_level=level, **options)

    try:
        if address.startswith("ray://"):
            # Not in this thread, which Ray would have a word about.
            _within(_CLIENT_S, partial(connect, logging.ERROR))
        else:
            connect(logging.WARNING)
    except ray.exceptions.AuthenticationError as error:
        raise CredentialsRejected(
            "Ray",
            f"the Ray cluster at {address} refused our token: {_first_line(error)}",
            remedy="Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to the cluster's token.",
        ) from None
    except TimeoutError:
        raise PlatformError(
            "ray",
            f"the Ray cluster at {address} took the connection and did nothing with it.",
            remedy="Start its first node with GRPC_ENABLE_FORK_SUPPORT=0, see docs/operations.md; "
            "its log ray_client_server.err says more.",
        ) from None
    except (ConnectionError, RuntimeError, ValueError) as error:
        if address == LOCAL:
            raise PlatformError("ray", f"Ray does not start: {_first_line(error)}") from error
        raise ConfigError(
            f"the Ray cluster at {address} cannot be used: {_first_line(error)}",
            remedy="Every node needs the versions of Python and Ray that are installed here.",
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _within(seconds: float, call: Callable[[], None]) -> None:
    """Call it in another thread, which is left behind after so long.

    Ray's client waits for ever where the cluster's server for it died at its start.

    Raises:
        TimeoutError: it did not return.
        Exception: what it raised.
    """
    answer: Future[None] = Future()

    def run() -> None:
        try:
            call()
        except BaseException as error:  # raised again in the caller's thread
            answer.set_exception(error)
        else:
            answer.set_result(None)

    threading.Thread(target=run, name="facecore-ray-connect", daemon=True).start()
    answer.result(timeout=seconds)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
