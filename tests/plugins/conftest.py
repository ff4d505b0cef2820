"""A platform of its own with a few people on it, Airflow's api-server in front, and a browser."""

from __future__ import annotations

import io
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from PIL import Image, ImageEnhance
from playwright.sync_api import Browser, Page, sync_playwright

from facecore.config import ExtractSettings, MlflowSettings, S3Settings, Settings
from facecore.jobs.faces import cluster, extract, identify
from facecore.jobs.images import ingest, validate
from facecore.jobs.lineage import RunContext
from facecore.jobs.people.enroll import Picture, enroll
from facecore.jobs.platform.setup import set_up
from facecore.jobs.reports import report
from facecore.jobs.stores import Stores
from facecore.local.platform import Platform
from facecore.samples.sources import portraits

ROOT = Path(__file__).resolve().parents[2]
START_S = 400.0


def _run_pipeline(stores: Stores) -> None:
    """What the DAGs do: take in, judge, extract, identify, cluster."""
    run = RunContext("pages", f"test__{uuid4().hex[:8]}", "pipeline")
    shard_ids = ingest.plan(run, stores=stores)
    for shard_id in shard_ids:
        ingest.ingest_shard(run, shard_id, stores)
    validate.validate_waiting(run, batch_checks=False, stores=stores)
    for shard_id in extract.plan(run, stores=stores):
        extract.extract_shard(run, shard_id, stores)
    with stores.catalog.transaction() as tx, tx.cursor() as cursor:
        cursor.execute("SELECT id FROM shard WHERE stage = 'extract' ORDER BY id")
        every = [shard_id for (shard_id,) in cursor]
    for shard_id in every:
        identify.identify_shard(run, shard_id, stores)
    cluster.cluster(run, full=True, stores=stores)


@pytest.fixture(scope="session")
def run_pipeline() -> Callable[[Stores], None]:
    """Everything once more: what is new, and identification and clustering of all."""
    return _run_pipeline


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def photos(downloads: Path) -> dict[str, bytes]:
    """Portraits by file name, at a size that is quick to search."""
    found = {}
    for portrait in portraits(downloads):
        with Image.open(portrait.path) as picture:
            picture.thumbnail((480, 480))
            found[portrait.name] = _jpeg(picture)
    return found


@pytest.fixture(scope="module")
def pages_settings(
    platform: Platform, s3: S3Settings, mlflow_server: MlflowSettings, downloads: Path
) -> Settings:
    platform.up(["postgres"])
    mark = uuid4().hex[:8]
    names = {"detector": f"pages-detector-{mark}", "embedder": f"pages-embedder-{mark}"}
    return Settings(
        home=downloads.parent,
        database=platform.create_database(f"pages_{mark}"),
        s3=s3.model_copy(update={"bucket_prefix": f"p{mark}-"}),
        mlflow=mlflow_server,
        extract=ExtractSettings(threads=1),
        model_dir=None,
    ).model_copy(update={"mlflow": mlflow_server.model_copy(update=names)})


@pytest.fixture(scope="module")
def stores(
    pages_settings: Settings, photos: dict[str, bytes], downloads: Path, tmp_path_factory
) -> Stores:
    """One enrolled person, two found ones, three pictures in the quarantine, one report."""
    stores = Stores(pages_settings)
    set_up(stores)
    folder = tmp_path_factory.mktemp("gallery")
    (folder / "obama.jpg").write_bytes(photos["obama.jpg"])
    enroll(
        RunContext("test", "pages", "enroll"),
        [Picture("Barack Obama", folder / "obama.jpg")],
        stores=stores,
    )
    delivered = {"obama2": photos["obama2.jpg"], "obama3": photos["obama3.jpg"]}
    for name in ("grace_hopper", "biden"):
        picture = Image.open(io.BytesIO(photos[f"{name}.jpg"]))
        for light in (0.8, 0.9, 1.0, 1.1):
            delivered[f"{name}-{light}"] = _jpeg(ImageEnhance.Brightness(picture).enhance(light))
    delivered["dark"] = _jpeg(Image.new("RGB", (160, 120), (3, 3, 3)))
    delivered["white"] = _jpeg(Image.new("RGB", (160, 120), (254, 254, 254)))
    delivered["text"] = b"no picture at all"
    for name, data in delivered.items():
        stores.objects.put("landing", f"door/{name}.jpg", data)
    _run_pipeline(stores)
    moment = datetime(2001, 5, 3, 2, tzinfo=UTC)
    report.build(RunContext("test", "pages", "report"), moment, stores=stores)
    return stores


@dataclass
class Site:
    """Airflow's api-server: its address, and logins by user."""

    url: str
    log: Path
    logins: dict[str, tuple[str, str]] = field(default_factory=dict)

    def client(self, user: str | None = None) -> httpx.Client:
        """A client with a cookie as the browser has it; None: not logged in."""
        made = httpx.Client(base_url=self.url, timeout=60, headers={"Accept": "text/html"})
        if user is not None:
            made.cookies.set("_token", self.token(user))
        return made

    def token(self, user: str) -> str:
        name, password = self.logins[user]
        login = {"username": name, "password": password}
        return str(httpx.post(f"{self.url}/auth/token", json=login).json()["access_token"])


@pytest.fixture(scope="module")
def site(platform: Platform, pages_settings: Settings, stores: Stores) -> Iterator[Site]:
    """Airflow's api-server with the plugin."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url, log = f"http://127.0.0.1:{port}", platform.layout.home / "api-server-pages.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "airflow", "api-server", "--host", "127.0.0.1", "-p", str(port)],
            env={
                **os.environ,
                **platform.migrate_airflow(),
                **_environment(pages_settings),
                "PYTHONPATH": str(ROOT / "dags"),
                "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
                "AIRFLOW__API__BASE_URL": url,
                "OMP_NUM_THREADS": "1",
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait(url, server, log)
            ends = platform.endpoints()
            yield Site(
                url,
                log,
                {
                    user: (end.username, end.password.get_secret_value())
                    for user in ("admin", "reviewer", "viewer")
                    if (end := ends[f"airflow-{user}"])
                },
            )
        finally:
            server.terminate()
            server.wait()


def _environment(settings: Settings) -> dict[str, str]:
    database, s3, mlflow = settings.database, settings.s3, settings.mlflow
    return {
        "FACECORE_DATABASE__HOST": database.host,
        "FACECORE_DATABASE__PORT": str(database.port),
        "FACECORE_DATABASE__NAME": database.name,
        "FACECORE_DATABASE__USER": database.user,
        "FACECORE_DATABASE__PASSWORD": database.password.get_secret_value(),
        "FACECORE_S3__ENDPOINT": s3.endpoint,
        "FACECORE_S3__ACCESS_KEY": s3.access_key,
        "FACECORE_S3__SECRET_KEY": s3.secret_key.get_secret_value(),
        "FACECORE_S3__BUCKET_PREFIX": s3.bucket_prefix,
        "FACECORE_MLFLOW__TRACKING_URI": mlflow.tracking_uri,
        "FACECORE_MLFLOW__USERNAME": mlflow.username,
        "FACECORE_MLFLOW__PASSWORD": mlflow.password.get_secret_value(),
        "FACECORE_MLFLOW__DETECTOR": mlflow.detector,
        "FACECORE_MLFLOW__EMBEDDER": mlflow.embedder,
        "FACECORE_EXTRACT__THREADS": "1",
        "FACECORE_INGEST__MAX_BYTES": str(2**20),
    }


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(f"{url}/api/v2/monitor/health").is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    pytest.fail(log.read_text()[-4000:])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The installed Chromium; where there is none, the one that Playwright has fetched.

    Ends with its module: while it lives, this thread can run no event loop of its own.
    """
    installed = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        # Root, as in containers, may not use Chromium's own sandbox.
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        made = playwright.chromium.launch(executable_path=installed, args=options)
        yield made
        made.close()


@dataclass
class Tab:
    """A page in the browser, of somebody who is logged in; `faults` is what it complained of."""

    page: Page
    url: str
    faults: list[str]

    def open(self, path: str) -> Page:
        self.page.goto(f"{self.url}/facecore{path}", wait_until="networkidle")
        return self.page

    def path(self) -> str:
        return re.sub(r"^.*/facecore|[?#].*$", "", self.page.url)


@pytest.fixture
def open_tab(browser: Browser, site: Site):
    """Opens tabs that must have complained of nothing when the test ends."""
    tabs: list[Tab] = []

    def opened(user: str | None, **options) -> Tab:
        context = browser.new_context(**options)
        if user is not None:
            cookie = {"name": "_token", "value": site.token(user), "url": site.url}
            context.add_cookies([{**cookie, "httpOnly": True, "sameSite": "Lax"}])
        context.set_default_timeout(60_000)
        tab = Tab(context.new_page(), site.url, [])
        tab.page.on("pageerror", lambda error: tab.faults.append(str(error)))
        tab.page.on("console", lambda said: said.type == "error" and tab.faults.append(said.text))
        tabs.append(tab)
        return tab

    yield opened
    for tab in tabs:
        tab.page.context.close()
    assert [tab.faults for tab in tabs if tab.faults] == [], site.log.read_text()[-3000:]
