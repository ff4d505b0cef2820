"""Columns that a user adds to a snapshot: a CSV file keyed by picture or by person.

They are kept as text in the manifest, so that an evaluation can be sliced by them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from facecore.errors import UsageError
from facecore.lifecycle.datasets.manifest import COLUMNS, Kind

Key = Literal["image", "identity"]
_KEYS: tuple[Key, ...] = ("image", "identity")


@dataclass(frozen=True, slots=True)
class Labels:
    """Values per picture or person.

    Attributes:
        columns: names of the columns.
        key: what a row is about.
        values: picture or person → column → value; an empty cell has none.
    """

    columns: tuple[str, ...] = ()
    key: Key = "image"
    values: dict[str, dict[str, str]] | None = None

    def of(self, image: str, identity: str | None) -> dict[str, str]:
        """The columns of one row; empty when the file does not name it."""
        return (self.values or {}).get((image if self.key == "image" else identity) or "", {})

    def require_some(self, keys: Iterable[str | None]) -> None:
        """Raise `UsageError` when the file names none of these pictures or people."""
        if self.values and not any(key in self.values for key in keys):
            example = next(iter(self.values))
            raise UsageError(
                f"the labels name no {self.key} of this dataset; they name {example!r}, for "
                "example.",
                remedy="Pictures are named by their path within the folder, like "
                "'Ada/Ada_0001.jpg'; people by their folder.",
            )


def read_labels(path: Path | None, kind: Kind) -> Labels:
    """Read a CSV file with a column `image` or `identity` and any others.

    Raises:
        UsageError: the file is missing or no CSV in UTF-8, has no such column, names a column
            of the manifest's own, or says two things of one picture or person.
    """
    if path is None:
        return Labels()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except OSError as error:
        raise UsageError(f"cannot read the labels {path}: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is not a CSV file in UTF-8: {error}.") from error
    header = [name.strip() for name in rows[0]] if rows else []
    key = next((key for key in _KEYS if key in header), None)
    if key is None or len(header) < 2:
        raise UsageError(
            f"{path}: the first line must name a column 'image' or 'identity' and further ones, "
            f"got {', '.join(header) or 'nothing'}."
        )
    columns = tuple(name for name in header if name != key)
    own = set(COLUMNS[kind].names)
    if wrong := sorted({n for n in columns if not n or n in own or columns.count(n) > 1}):
        raise UsageError(
            f"{path}: a column cannot be named {', '.join(map(repr, wrong))}.",
            remedy=f"Names must differ, and not be one of {', '.join(sorted(own))}.",
        )
    values: dict[str, dict[str, str]] = {}
    for number, cells in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise UsageError(f"{path}:{number}: {len(header)} cells expected, got {len(cells)}.")
        row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        about = row.pop(key)
        said = {name: value for name, value in row.items() if value}
        if values.setdefault(about, said) != said:
            raise UsageError(f"{path}:{number}: {key} {about!r} was already given other values.")
    if not values:
        raise UsageError(f"{path} holds no row.")
    return Labels(columns, key, values)
