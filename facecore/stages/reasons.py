"""Why an image is not used: every reason code there is, in one place.

Codes are stable: they are stored in the catalogue and counted in reports. Text is for people
and may change. `ImageRejected.reason` and the reasons of the quality gate are always one of
`REASONS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# found while reading the file, before or during decoding
EMPTY = "empty"
TOO_MANY_BYTES = "too_many_bytes"
NOT_AN_IMAGE = "not_an_image"
UNSUPPORTED_FORMAT = "unsupported_format"
TOO_MANY_PIXELS = "too_many_pixels"
TRUNCATED = "truncated"
UNDECODABLE = "undecodable"
ANIMATED = "animated"
MULTIPLE_PAGES = "multiple_pages"

# found when the image is to be extracted
MISSING = "missing"
EXTRACTION_FAILED = "extraction_failed"

# found by the quality gate, from measurements of the decoded image
TOO_SMALL = "too_small"
EXTREME_ASPECT = "extreme_aspect"
TOO_BLURRED = "too_blurred"
TOO_DARK = "too_dark"
TOO_BRIGHT = "too_bright"
LOW_CONTRAST = "low_contrast"
LOW_DYNAMIC_RANGE = "low_dynamic_range"
OVER_COMPRESSED = "over_compressed"
NOT_MEASURED = "not_measured"

REASONS: Mapping[str, str] = MappingProxyType(
    {
        EMPTY: "The file has no bytes.",
        TOO_MANY_BYTES: "The file is larger than the limit and was not read.",
        NOT_AN_IMAGE: "The content is not an image in any format known here.",
        UNSUPPORTED_FORMAT: "An image, but not a JPEG, PNG, WebP, BMP or TIFF of a kind that is "
        "supported.",
        TOO_MANY_PIXELS: "The header states more pixels than the limit; it was not decoded.",
        TRUNCATED: "The file ends before the image does.",
        UNDECODABLE: "The file is damaged, so the decoder cannot read it.",
        ANIMATED: "An animation: choosing one of its frames would silently lose the others.",
        MULTIPLE_PAGES: "A TIFF of several pages: choosing one would silently lose the others.",
        MISSING: "The stored file is gone from the object store.",
        EXTRACTION_FAILED: "Looking for faces in this one image fails, while others work.",
        TOO_SMALL: "The shorter side has too few pixels to hold a usable face.",
        EXTREME_ASPECT: "Far longer than wide (or the reverse): a strip, not a photograph.",
        TOO_BLURRED: "There is too little fine detail: out of focus, smeared or enlarged.",
        TOO_DARK: "Nearly black on average.",
        TOO_BRIGHT: "Nearly white on average.",
        LOW_CONTRAST: "The brightness hardly varies over the picture.",
        LOW_DYNAMIC_RANGE: "Only a narrow band of the brightness range is used.",
        OVER_COMPRESSED: "Too few bits per pixel are left to hold any detail.",
        NOT_MEASURED: "A measurement is missing, so the image cannot be judged.",
    }
)


def describe(code: str) -> str:
    """The sentence for a reason code; the code itself when it is not one of `REASONS`."""
    return REASONS.get(code, code)
