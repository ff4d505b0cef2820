"""What the platform's codes and numbers are called when people read them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

# Short enough for an axis; stages.reasons holds the whole sentence for each code.
REASONS = {
    "empty": "Empty file",
    "too_many_bytes": "File too large",
    "not_an_image": "Not an image",
    "unsupported_format": "Format not supported",
    "too_many_pixels": "Too many pixels",
    "truncated": "File cut off",
    "undecodable": "Damaged file",
    "animated": "Animation",
    "multiple_pages": "Several pages",
    "missing": "Stored file missing",
    "extraction_failed": "Search for faces failed",
    "too_small": "Picture too small",
    "extreme_aspect": "Far too long or narrow",
    "too_blurred": "Too blurred",
    "too_dark": "Too dark",
    "too_bright": "Too bright",
    "low_contrast": "Hardly any contrast",
    "low_dynamic_range": "Flat brightness range",
    "over_compressed": "Compressed too strongly",
    "not_measured": "Could not be measured",
}

STATUSES = {
    "extracted": "Searched for faces",
    "accepted": "Waiting for extraction",
    "stored": "Waiting for the gate",
    "quarantined": "Quarantined",
    "erased": "Erased",
}

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def reason(code: str) -> str:
    """A quarantine reason in words; an unknown code is shown readably, never hidden."""
    return REASONS.get(code) or code.replace("_", " ").replace("-", " ").strip().capitalize()


def count(number: int, singular: str, plural: str = "") -> str:
    """`1 image`, `1,204 images`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def percent(part: float, whole: float) -> str:
    """A share in words; never rounds something down to nothing or up to everything."""
    if not whole:
        return "0 %"
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "under 0.1 %"
    if 99.9 < share < 100:
        return "over 99.9 %"
    return f"{share:.1f} %" if share not in (0.0, 100.0) else f"{share:.0f} %"


def listing(items: Sequence[str]) -> str:
    """`a, b and c`."""
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + " and " + items[-1]


def moment(at: datetime) -> str:
    """A time for reading: `4 March 2026, 14:05`."""
    return f"{at:%-d %B %Y, %H:%M}"


def number(value: float) -> str:
    """A measurement with three significant digits, without exponents: `0.046`, `1,250`."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) < 0.001:
        return f"{value:.1g}"
    return f"{value:.3g}"


def source_name(source: str | None) -> str:
    """A source, or what the sum of all that are not named is called."""
    return "all other sources" if source is None else source


def bin_label(name: str, unit: str, *, short: bool = False) -> str:
    """A time bin for reading: `2026-03-04` → `Wed 4 Mar 2026`, or `4 Mar` on an axis."""
    if unit == "hour":
        at = datetime.strptime(name, "%Y-%m-%d %H:%M")
        return f"{at:%H:%M}" if short and at.hour else f"{at:%-d %b %H:%M}"
    if unit == "day":
        at = datetime.strptime(name, "%Y-%m-%d")
        return f"{at:%-d %b}" if short else f"{at:%a %-d %b %Y}"
    return f"{datetime.strptime(name, '%Y-%m'):%b %Y}"


def compact(value: float) -> str:
    """A number for an axis: `0.05`, `400`, `10k`, `2.5M`."""
    for size, sign in ((1_000_000, "M"), (1_000, "k")):
        if abs(value) >= 10 * size or (abs(value) >= size and sign == "M"):
            return f"{value / size:.3g}{sign}"
    return number(value)


def duration(seconds: float) -> str:
    """A length of time for reading: `40 s`, `12 min`, `1 h 30 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours:,} h {rest} min" if rest else f"{hours:,} h"
