"""The quality rules as Great Expectations suites, built from `GateSettings`.

A rule is one row of data here: which column, which limit, which reason code. The suites, the
reasons of a rejection and the Data Docs are all made from these rows.

Great Expectations takes seconds to import, so that happens inside the functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from facecore.config import GateSettings
from facecore.stages import reasons

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite

ROW_SUITE = "images"
BATCH_SUITE = "batch"

# batch failures
TOO_MANY_REJECTED = "too_many_rejected"
STUCK_CAMERA = "stuck_camera"
WRONG_CLOCK = "wrong_clock"

BATCH_FAILURES = {
    TOO_MANY_REJECTED: "Too large a share of the batch was rejected: something upstream broke.",
    STUCK_CAMERA: "A source delivers nearly the same picture again and again.",
    WRONG_CLOCK: "Too many capture times lie in the future or before 1990.",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """Values of `column` must lie in [at_least, at_most], or `code` is the reason."""

    code: str
    column: str
    at_least: float | None = None
    at_most: float | None = None

    def explain(self, observed: Any) -> str:
        """One sentence with the observed value and the limit it breaks."""
        if self.at_least is not None and observed < self.at_least:
            return f"{self.column} {observed:g} is below {self.at_least:g}"
        return f"{self.column} {observed:g} is above {self.at_most:g}"

    @property
    def limit(self) -> float | None:
        """The one limit of this rule."""
        return self.at_least if self.at_least is not None else self.at_most


def row_rules(settings: GateSettings) -> tuple[Rule, ...]:
    """Limits that every picture must keep. A file that could not be decoded is another matter."""
    return (
        Rule(reasons.TOO_SMALL, "short_side", at_least=settings.min_side_px),
        Rule(reasons.EXTREME_ASPECT, "aspect", at_most=settings.max_aspect),
        Rule(reasons.TOO_BLURRED, "sharpness", at_least=settings.min_sharpness),
        Rule(reasons.TOO_DARK, "brightness", at_least=settings.min_brightness),
        Rule(reasons.TOO_BRIGHT, "brightness", at_most=settings.max_brightness),
        Rule(reasons.LOW_CONTRAST, "contrast", at_least=settings.min_contrast),
        Rule(reasons.LOW_DYNAMIC_RANGE, "dynamic_range", at_least=settings.min_dynamic_range),
        Rule(reasons.OVER_COMPRESSED, "bits_per_pixel", at_least=settings.min_bits_per_pixel),
    )


def batch_rules(settings: GateSettings) -> tuple[Rule, ...]:
    """Limits on the rows of `batch.batch_frame`: one per source and one for all of them."""
    return (
        Rule(TOO_MANY_REJECTED, "rejected_share", at_most=settings.batch_max_rejected),
        Rule(STUCK_CAMERA, "same_image_share", at_most=settings.batch_max_same_image),
        Rule(WRONG_CLOCK, "wrong_clock_share", at_most=settings.batch_max_wrong_clock),
    )


def row_suite(settings: GateSettings) -> ExpectationSuite:
    """Suite over one row per image. Every expectation carries its reason code in `meta`."""
    import great_expectations as gx
    import great_expectations.expectations as gxe

    suite = gx.ExpectationSuite(name=ROW_SUITE)
    suite.add_expectation(
        gxe.ExpectColumnValuesToBeNull(
            column="reject_code",
            meta={"code": "reject_code"},
            notes="The file could be read and decoded; otherwise this is the reason why not.",
        )
    )
    for rule in row_rules(settings):
        suite.add_expectation(_between(rule, reasons.describe(rule.code)))
    return suite


def batch_suite(settings: GateSettings) -> ExpectationSuite:
    """Suite over `batch.batch_frame`."""
    import great_expectations as gx

    suite = gx.ExpectationSuite(name=BATCH_SUITE)
    for rule in batch_rules(settings):
        suite.add_expectation(_between(rule, BATCH_FAILURES[rule.code]))
    return suite


def _between(rule: Rule, meaning: str) -> Any:
    import great_expectations.expectations as gxe

    return gxe.ExpectColumnValuesToBeBetween(
        column=rule.column,
        min_value=rule.at_least,
        max_value=rule.at_most,
        meta={"code": rule.code},
        notes=f"Otherwise `{rule.code}`: {meaning}",
    )
