"""Where a face is after cutting, scaling, turning and mirroring: checked on drawn pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from facecore.samples.figures import Pose, cut_out, posed
from facecore.samples.sources import Portrait

FACE = (180.0, 100.0, 300.0, 262.0)


@pytest.fixture
def drawn(tmp_path: Path) -> Portrait:
    """A grey body with a red face, left of its middle."""
    picture = Image.new("RGB", (640, 800), (0, 255, 0))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((100, 60, 539, 799), fill=(128, 128, 128))
    draw.rectangle((180, 100, 299, 261), fill=(255, 0, 0))
    path = tmp_path / "drawn.png"
    picture.save(path)
    outline = ((100, 60), (539, 60), (539, 799), (100, 799))
    return Portrait("P", "drawn.png", path, "probe", "", (640, 800), FACE, outline, "")


@pytest.mark.parametrize("angle", [-20.0, 0.0, 13.0])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("face_px", "stretch"), [(150.0, 1.0), (70.0, 1.05)])
def test_the_box_stays_on_the_face(
    drawn: Portrait, angle: float, mirrored: bool, face_px: float, stretch: float
) -> None:
    figure = posed(cut_out(drawn), Pose(face_px, angle, mirrored, 0.0, stretch))
    red, green, _, alpha = np.asarray(figure.pixels).astype(int).transpose(2, 0, 1)
    y, x = np.nonzero((red > 200) & (green < 60) & (alpha > 200))
    x1, y1, x2, y2 = figure.face
    assert (x.mean(), y.mean()) == pytest.approx(((x1 + x2) / 2, (y1 + y2) / 2), abs=1.5)
    assert x2 - x1 == pytest.approx(face_px * stretch, abs=1)
    assert y2 - y1 == pytest.approx(face_px * 1.35, abs=1)
    assert len(x) == pytest.approx((x2 - x1) * (y2 - y1), rel=0.06)


def test_no_rim_of_the_old_background_is_left(drawn: Portrait) -> None:
    for figure in cut_out(drawn)[:3]:
        red, green, _, alpha = np.asarray(figure.pixels).astype(int).transpose(2, 0, 1)
        assert not ((green > red + 60) & (alpha > 100)).any()


def test_mirroring_swaps_the_side_where_a_half_face_is_cut(drawn: Portrait) -> None:
    half = Portrait(
        "P", "", drawn.path, "probe", "", drawn.size, (0, 100, 60, 262), drawn.silhouette, ""
    )
    levels = cut_out(half)
    assert levels[0].cut == "left"
    assert posed(levels, Pose(100.0, mirrored=True)).cut == "right"
    assert levels[0].face_px == pytest.approx(190, abs=1)  # as if the face were whole


def test_light_from_one_side_darkens_the_other(drawn: Portrait) -> None:
    levels = cut_out(drawn)
    for side_light in (0.3, -0.3):
        values = np.asarray(posed(levels, Pose(100.0, side_light=side_light)).pixels)
        width = values.shape[1]
        row = values[-20, :, 1].astype(int)
        assert np.sign(row[width - 15] - row[15]) == np.sign(side_light)
