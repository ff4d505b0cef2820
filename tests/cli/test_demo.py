"""`make demo` from nothing: everything that is known is found, and every page has content."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def home() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="facecore-demo-"))
    folder.chmod(0o711)  # run by root, PostgreSQL's own user must pass through
    yield str(folder / "home")
    shutil.rmtree(folder)


def test_the_demo_fills_every_page_and_can_be_repeated(facecore, home: str) -> None:
    def demo() -> dict[str, Any]:
        done = facecore("demo", "--json", FACECORE_HOME=home)
        assert done.returncode == 0, done.stderr + done.stdout
        outcome: dict[str, Any] = json.loads(done.stdout)
        return outcome

    try:
        first = demo()
        assert [row for row in first["rows"] if not row["ok"]] == []
        assert first["delivered"] > 300
        assert "face-autoencoder/1 in use" in first["analyses"]["autoencoder"]
        assert "for 4 sources" in first["analyses"]["forecast"]
        assert first["analyses"]["drift"].startswith("the week from")
        login = json.loads((Path(home) / "credentials.json").read_text())["airflow_admin"]
        with httpx.Client(timeout=60, headers={"Accept": "text/html"}) as client:
            address = httpx.URL(first["first_page"])
            token = client.post(
                address.copy_with(path="/auth/token"),
                json={"username": "admin", "password": login},
            ).json()["access_token"]
            client.cookies.set("_token", token)
            assert client.get(address).status_code == 200
            for page, said in {
                "/facecore/overview": "Cluster",
                "/facecore/people": "Barack Obama",
                "/facecore/quarantine": "not an image",
                "/facecore/reports": "activity",
                "/facecore/models": "face-autoencoder",
            }.items():
                answer = client.get(address.copy_with(path=page))
                assert (answer.status_code, said in answer.text) == (200, True), page
            assert client.get(first["report_url"]).status_code == 200

        second = demo()
        assert second["delivered"] == 0
        assert second["analyses"] == first["analyses"]
        same = ("images", "sightings", "faces", "people", "assignments", "models", "reports")
        assert {k: second["catalog"][k] for k in same} == {k: first["catalog"][k] for k in same}
    finally:
        gone = facecore("clean", "--yes", FACECORE_HOME=home)
        assert gone.returncode == 0, gone.stderr
