"""Where and when a picture was taken, from the best witness there is.

Capture time: EXIF → object metadata → key (`source/yyyy/mm/dd/…`) → last-modified.
Source: object metadata → the key's first folder → `unknown`. Pictures of the gallery have the
source `enrolment`, which reports leave out, so what is delivered under that name is `enrolment_`.

A camera's clock is believed even when it is absurd (1980, 2099): the quality gate looks for
wrong clocks, and silently replacing such times would hide them. Only years from before cameras
and the last that there is are no times: other zones push those beyond what Python can read.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Literal

UNKNOWN_SOURCE = "unknown"
_GALLERY_SOURCE = "enrolment"
_SOURCE_LENGTH = 128
_YEARS = range(1900, 9999)
_METADATA_PREFIX = "x-amz-meta-"
_TIME_FIELDS = ("captured-at", "capture-time", "timestamp")
_SOURCE_FIELDS = ("source", "camera", "device")
# source/2024/05/06/…, optionally with an hour folder and a file name that starts with the time
_DATED_KEY = re.compile(
    r"(?:^|/)(?P<year>\d{4})/(?P<month>\d{2})/(?P<day>\d{2})/(?:(?P<hour>\d{2})/)?"
    r"(?:(?P<name>[0-2]\d[-_:.]?[0-5]\d[-_:.]?[0-5]\d)(?!\d)[^/]*|[^/]*)$",
    re.ASCII,
)

CapturedFrom = Literal["exif", "metadata", "key", "modified"]


@dataclass(frozen=True, slots=True)
class Provenance:
    """The answer.

    Attributes:
        source: camera or sender, printable, 1–128 characters; never `enrolment`.
        captured_at: aware.
        captured_from: the witness of `captured_at`.
    """

    source: str
    captured_at: datetime
    captured_from: CapturedFrom


def trace(
    key: str,
    *,
    last_modified: datetime,
    exif_time: datetime | None = None,
    metadata: Mapping[str, str] | None = None,
    prefix: str = "",
    zone: tzinfo = UTC,
) -> Provenance:
    """Find source and capture time of a landing object.

    Args:
        key: the object's key; spaces, any Unicode, and `..` are just characters in it.
        last_modified: of the object; aware.
        exif_time: `ImageHeader.captured_at`; naive times are taken to be in `zone`.
        metadata: user metadata, with or without `x-amz-meta-`, in any case. Used are
            `captured-at` (also `capture-time`, `timestamp`; ISO 8601 or seconds since 1970)
            and `source` (also `camera`, `device`).
        prefix: part of the key that is not the camera's, such as `incoming/`.
        zone: where clocks that name no zone tick.
    """
    fields = {
        name.lower().removeprefix(_METADATA_PREFIX).replace("_", "-"): value
        for name, value in (metadata or {}).items()
    }
    path = key.removeprefix(prefix).lstrip("/")
    source = next(
        (s for f in _SOURCE_FIELDS if (s := _clean(fields.get(f, "")))), _source_in_key(path)
    )
    if source == _GALLERY_SOURCE:
        source += "_"
    witnesses: tuple[tuple[CapturedFrom, datetime | None], ...] = (
        ("exif", exif_time),
        ("metadata", next((t for f in _TIME_FIELDS if (t := _parse(fields.get(f, "")))), None)),
        ("key", _time_in_key(path)),
    )
    for witness, moment in witnesses:
        aware = None if moment is None else _aware(moment, zone)
        if aware is not None:
            return Provenance(source, aware, witness)
    return Provenance(source, last_modified, "modified")


def _aware(moment: datetime, zone: tzinfo) -> datetime | None:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:  # year 1 or 9999, pushed over the edge by its zone
        return None
    return moment if moment.year in _YEARS else None


def _parse(text: str) -> datetime | None:
    text = text.strip()
    try:
        if text.isascii() and text.replace(".", "", 1).isdigit() and len(text) != 8:
            return datetime.fromtimestamp(float(text), UTC)
        return datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        return None


def _time_in_key(path: str) -> datetime | None:
    found = _DATED_KEY.search(path)
    if found is None:
        return None
    try:
        day = datetime(int(found["year"]), int(found["month"]), int(found["day"]))
    except ValueError:  # month 13: not a date after all
        return None
    clock = re.sub(r"\D", "", found["name"] or "") or (found["hour"] or "")
    try:
        return day.replace(
            hour=int(clock[:2] or 0), minute=int(clock[2:4] or 0), second=int(clock[4:6] or 0)
        )
    except ValueError:  # 25 o'clock: not a time, but the day stands
        return day


def _source_in_key(path: str) -> str:
    dated = _DATED_KEY.search(path)
    folders = path[: dated.start()] + "/" if dated else path.rpartition("/")[0]
    named = [folder for folder in folders.split("/") if folder not in ("", ".", "..")]
    return (_clean(named[0]) if named else "") or UNKNOWN_SOURCE


def _clean(text: str) -> str:
    """Printable, composed (NFC), without surrounding space, of bounded length."""
    composed = unicodedata.normalize("NFC", text)
    return "".join(c if c.isprintable() else "_" for c in composed).strip()[:_SOURCE_LENGTH]
