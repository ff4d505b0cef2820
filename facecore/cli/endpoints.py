"""Where the parts of the platform answer, and as whom to log in."""

from __future__ import annotations

from rich.table import Table

from facecore.local.status import Endpoint


def endpoint_table(endpoints: dict[str, Endpoint]) -> Table:
    """Addresses and logins, as a table."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(style="dim", no_wrap=True)
    for name, endpoint in endpoints.items():
        login = (
            f"{endpoint.username} / {endpoint.password.get_secret_value()}"
            if endpoint.username
            else ""
        )
        table.add_row(name, endpoint.url, login)
    return table
