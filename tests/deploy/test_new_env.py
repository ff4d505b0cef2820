"""`deploy/new_env.py`: fresh secrets, private, never over an existing file."""

from __future__ import annotations

import base64
import re
from pathlib import Path


def values(path: Path) -> dict[str, str]:
    lines = path.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_every_secret_is_filled_in_and_different(new_env_file, script):
    template = values(script("new_env").TEMPLATE)
    filled = values(new_env_file)
    secrets = [filled[name] for name, value in template.items() if not value]
    assert len(secrets) == len(set(secrets)) == 18
    assert all(len(secret) >= 20 for secret in secrets)
    assert {name: value for name, value in filled.items() if template[name]} == {
        name: value for name, value in template.items() if value
    }


def test_secrets_fit_where_they_are_used(new_env_file, script):
    filled = values(new_env_file)
    databases = script("init_databases")
    assert set(databases.passwords(filled)) == {"airflow", "mlflow", "facecore"}
    for name in ("S3_ACCESS_KEY", "S3_SECRET_KEY", "REDIS_PASSWORD"):
        assert re.fullmatch(r"[A-Za-z0-9._-]+", filled[name]), name
    assert len(base64.urlsafe_b64decode(filled["AIRFLOW_FERNET_KEY"])) == 32
    assert len(filled["AIRFLOW_JWT_SECRET"]) >= 64


def test_the_file_is_private_and_never_overwritten(new_env_file, script, capsys):
    assert new_env_file.stat().st_mode & 0o777 == 0o600
    before = new_env_file.read_text()
    assert script("new_env").main(new_env_file) == 1
    assert new_env_file.read_text() == before
    assert "exists" in capsys.readouterr().err


def test_two_runs_share_no_secret(new_env_file, script, tmp_path):
    other = tmp_path / "other.env"
    assert script("new_env").main(other) == 0
    first, second = values(new_env_file), values(other)
    same = {name for name in first if first[name] == second[name]}
    assert not any(re.search("PASSWORD|SECRET|KEY", name) for name in same)
