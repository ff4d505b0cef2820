from __future__ import annotations

import pytest

from facecore.analytics.theme import PALETTES, Palette


def luminance(colour: str) -> float:
    """WCAG 2.2 relative luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", PALETTES, ids=lambda p: p.name)
def test_text_can_be_read(palette: Palette) -> None:
    for text in (palette.text, palette.quiet, palette.accent, palette.limit):
        for ground in (palette.page, palette.surface):
            assert contrast(text, ground) >= 4.5, (text, ground)


@pytest.mark.parametrize("palette", PALETTES, ids=lambda p: p.name)
def test_bars_stand_out_from_their_ground(palette: Palette) -> None:
    outcomes = (palette.accept, palette.review, palette.unknown, palette.not_compared)
    for colour in (*palette.series, *outcomes, palette.muted):
        assert contrast(colour, palette.surface) >= 3.0, colour


@pytest.mark.parametrize("palette", PALETTES, ids=lambda p: p.name)
def test_heat_gets_steadily_further_from_the_ground(palette: Palette) -> None:
    steps = [contrast(colour, palette.surface) for colour in palette.heat]
    assert steps == sorted(steps)
    assert steps[-1] > 6
