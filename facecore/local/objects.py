"""S3 object storage: SeaweedFS in one process, from a wheel.

SeaweedFS listens on eight ports. S3 requires signed requests; the other seven (master, volume
server and filer, each HTTP and gRPC, and the S3 gateway's gRPC) would serve and accept data
without asking who is there, so all of them require a client certificate that only this
process has. Signing keys for the volume server and the filer are a second lock behind that.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import urllib3
from minio import Minio
from pydantic import SecretStr

from facecore.config import S3Settings
from facecore.local import certificates
from facecore.local.credentials import Credentials
from facecore.local.layout import Layout, write_private
from facecore.local.ports import LOOPBACK
from facecore.local.programs import Program

_PROBE_BUCKET = "facecore-health"
# A volume is one file on disk that belongs to one bucket. Their number is not tied to the free
# space, as it would be by default: on a small disk the last buckets would get none.
_VOLUME_MIB = 1024
_VOLUMES = 10_000
# Two volumes per bucket at first use (7 by default), and none of the periodic scripts that are
# meant for clusters, such as erasure coding of full volumes.
_MASTER = """\
[master.volume_growth]
copy_1 = 2
[master.maintenance]
scripts = \"\"\"
  lock
  s3.clean.uploads -timeAgo=24h
  unlock
\"\"\"
"""


class ObjectsPart:
    """The S3 server."""

    name = "s3"

    def __init__(self, layout: Layout, credentials: Credentials, ports: dict[str, int]) -> None:
        self.layout = layout
        self._credentials = credentials
        self._ports = ports
        self._folder = layout.run / "s3"

    @property
    def data(self) -> Path:
        """The folder with all objects."""
        return self.layout.data / "objects"

    def programs(self) -> list[Program]:
        ports = self._ports
        listen = {
            "master.port": ports["master"],
            "master.port.grpc": ports["master_grpc"],
            "volume.port": ports["volume"],
            "volume.port.grpc": ports["volume_grpc"],
            "filer.port": ports["filer"],
            "filer.port.grpc": ports["filer_grpc"],
            "s3.port": ports["s3"],
            "s3.port.grpc": ports["s3_grpc"],
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
        }
        return [
            Program(
                name=self.name,
                argv=(
                    str(Path(sys.executable).with_name("weed")),
                    "-logtostderr=true",  # into the supervised log, not into /tmp
                    "server",
                    f"-dir={self.data}",
                    f"-ip={LOOPBACK}",
                    f"-ip.bind={LOOPBACK}",
                    *(f"-{option}={value}" for option, value in listen.items()),
                    "-filer",
                    "-s3",
                    "-s3.config=identities.json",
                    "-s3.localSocket=s3.sock",
                    "-filer.localSocket=filer.sock",
                    "-s3.autoCreateBucket=false",
                    "-s3.allowDeleteBucketNotEmpty=false",
                    "-master.telemetry=false",
                    # After a crash the only master must elect itself first: 10 s by default.
                    "-master.electionTimeout=1s",
                    f"-master.volumeSizeLimitMB={_VOLUME_MIB}",
                    f"-volume.max={_VOLUMES}",
                    "-volume.minFreeSpace=1GiB",
                    "-volume.preStopSeconds=0",
                ),
                cwd=self._folder,
                order=20,
                # Its gRPC sockets in the temporary folder are private by the umask.
                env={"HOME": str(self._folder)},
                # It spends 15 s closing its own subscriptions. Every write it confirmed is with
                # the kernel by then, so there is nothing to wait for.
                stop_wait_s=3,
                stale=tuple(
                    Path(f"/tmp/seaweedfs-{server}-grpc-{ports[f'{server}_grpc']}.sock")  # noqa: S108
                    for server in ("master", "volume", "filer", "s3")
                ),
            )
        ]

    def prepare(self) -> None:
        """Write its keys and identities."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self.data.mkdir(mode=0o700, exist_ok=True)
        certificates.create(self._folder, "weed")
        identity = {
            "name": "facecore",
            "credentials": [
                {
                    "accessKey": self._credentials["s3_access"],
                    "secretKey": self._credentials["s3_secret"],
                }
            ],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        write_private(self._folder / "identities.json", json.dumps({"identities": [identity]}))
        write_private(self._folder / "security.toml", self._security())
        write_private(self._folder / "master.toml", _MASTER)

    def _security(self) -> str:
        own = 'cert = "weed.crt"\nkey = "weed.key"\n'
        authority = 'ca = "ca.crt"\n'
        text = f"[grpc]\n{authority}"
        for section in ("master", "volume", "filer", "s3", "client"):
            text += f"[grpc.{section}]\n{own}"
        text += f"[https.client]\nenabled = true\n{own}{authority}"
        for section in ("master", "volume", "filer"):
            text += f"[https.{section}]\n{own}{authority}"
        signing = ("signing", "signing.read", "filer_signing", "filer_signing.read")
        for section in signing:
            key = f"{section}:{self._credentials['s3_signing']}"
            text += f'[jwt.{section}]\nkey = "{key}"\nexpires_after_seconds = 60\n'
        return text

    def _client(self) -> Minio:
        return Minio(
            f"{LOOPBACK}:{self._ports['s3']}",
            access_key=self._credentials["s3_access"],
            secret_key=self._credentials["s3_secret"],
            secure=False,
            region="us-east-1",
            http_client=urllib3.PoolManager(timeout=5, retries=False),
        )

    def ensure_bucket(self, name: str) -> None:
        """Create the bucket unless it exists."""
        client = self._client()
        if not client.bucket_exists(name):
            client.make_bucket(name)

    def check(self) -> str:
        """Write, read and list with the credentials: after a restart the server answers before
        its volumes can be read. Raises `minio.error.S3Error` or `urllib3` errors until it works.
        """
        client = self._client()
        buckets = {bucket.name for bucket in client.list_buckets()}
        if _PROBE_BUCKET not in buckets:
            client.make_bucket(_PROBE_BUCKET)
        client.put_object(_PROBE_BUCKET, "probe", io.BytesIO(b"facecore"), 8)
        answer = client.get_object(_PROBE_BUCKET, "probe")
        try:
            answer.read()
        finally:
            answer.close()
        ours = sorted(buckets - {_PROBE_BUCKET})
        return f"SeaweedFS, {len(ours)} buckets"

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self._ports['s3']}"

    def settings(self) -> S3Settings:
        """How facecore connects."""
        return S3Settings(
            endpoint=self.endpoint,
            access_key=self._credentials["s3_access"],
            secret_key=SecretStr(self._credentials["s3_secret"]),
        )
