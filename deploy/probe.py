"""Container health check: `probe.py URL` exits 0 when the URL answers with status 200."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request


def main(url: str) -> int:
    """Return 0 for a 200 within five seconds, 1 otherwise; says why on stderr."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - fixed http URL
            status = answer.status
    except (OSError, urllib.error.URLError) as error:
        print(f"{url}: {error}", file=sys.stderr)
        return 1
    return 0 if status == 200 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
