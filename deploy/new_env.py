"""Write `.env` for docker-compose.yml: `python3 deploy/new_env.py [TARGET]`.

Copies `deploy/.env.example` and fills in every empty value with a random secret. The file gets
mode 0600; an existing one is never touched. Needs nothing but Python.
"""

from __future__ import annotations

import base64
import os
import secrets
import sys
from pathlib import Path

TEMPLATE = Path(__file__).with_name(".env.example")


def secret(name: str) -> str:
    """A fresh value: 32 random bytes in base64 for the Fernet key, hexadecimal for the rest."""
    if name.endswith("_FERNET_KEY"):
        return base64.urlsafe_b64encode(os.urandom(32)).decode()
    return secrets.token_hex(10 if name.endswith("ACCESS_KEY") else 32)


def fill(template: str) -> str:
    """The template with a secret for every `NAME=` that has no value."""
    lines = []
    for line in template.splitlines():
        name, separator, value = line.partition("=")
        empty = separator and not value and not line.startswith("#")
        lines.append(f"{name}={secret(name)}" if empty else line)
    return "\n".join(lines) + "\n"


def main(target: Path) -> int:
    """Create `target`; 1 when it exists."""
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        print(f"{target} exists; it was left as it is.", file=sys.stderr)
        return 1
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(fill(TEMPLATE.read_text(encoding="utf-8")))
    print(f"Wrote {target} with fresh secrets (mode 0600).", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".env")))
