"""Sections that other parts of the platform add to the activity report."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from facecore.analytics.period import Period
from facecore.analytics.section import Section
from facecore.jobs.stores import Stores

# Each gives its sections of a period, or none where it has nothing to say of it. What it gives of
# a period that is over must be the same every time.
Contributor = Callable[[Stores, Period], Sequence[Section]]
CONTRIBUTORS: tuple[Contributor, ...] = ()


def collect(stores: Stores, period: Period) -> tuple[Section, ...]:
    """All sections of all contributors, in their order."""
    return tuple(section for one in CONTRIBUTORS for section in one(stores, period))
