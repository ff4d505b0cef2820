"""TCP ports of the parts: chosen free, remembered, chosen anew when someone else took one."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Mapping

from facecore.errors import PlatformError

LOOPBACK = "127.0.0.1"

# What people expect, if it is free.
STANDARD = {"airflow": 8080, "mlflow": 5000, "s3": 8333, "postgres": 5432}
NAMES = (
    *STANDARD,
    "s3_grpc",
    "master",
    "master_grpc",
    "volume",
    "volume_grpc",
    "filer",
    "filer_grpc",
)
# Below the range from which the kernel takes ports for outgoing connections, so that a
# remembered port is not taken by chance while the platform is down.
_RANGE = range(18_000, 32_000)


def is_free(port: int) -> bool:
    """Whether a server could listen on the loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def choose(remembered: Mapping[str, int], *, standard: bool = True) -> dict[str, int]:
    """A free port for each of `NAMES`: the remembered one, the standard one, or any."""
    chosen: dict[str, int] = {}
    for name in NAMES:
        wishes = [remembered.get(name), STANDARD.get(name) if standard else None]
        wishes += random.sample(_RANGE, 200)
        taken = set(chosen.values())
        # A port that another part remembers is not given away.
        taken |= {port for other, port in remembered.items() if other != name}
        for port in wishes:
            if port is not None and port not in taken and is_free(port):
                chosen[name] = port
                break
        else:
            raise PlatformError("platform", f"no free port on {LOOPBACK} for {name}.")
    return chosen
