import io

import numpy as np
import pytest
from PIL import Image

from facecore.errors import UsageError
from facecore.lifecycle.evaluation import draw_plots, plots
from facecore.lifecycle.evaluation.detection_plots import precision_recall_plot
from facecore.lifecycle.evaluation.plot_style import percent


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"))


def test_every_part_of_an_embedder_is_drawn(embedder_plots):
    assert [plot.name for plot in embedder_plots] == [
        "det", "scores", "cmc", "open_set", "slices_source", "discard", "reliability",
        "highest_impostors", "lowest_genuine",
    ]  # fmt: skip
    for plot in embedder_plots:
        grey = pixels(plot.png)
        assert 600 < grey.shape[1] < 1500, plot.name
        assert 0.005 < (grey < 200).mean() < 0.9, plot.name  # something is drawn, not everything
        border = np.concatenate((grey[:2].ravel(), grey[:, :2].ravel(), grey[:, -2:].ravel()))
        assert (border > 250).all(), f"{plot.name} is cut off"
        assert len(plot.caption) > 60


def test_every_part_of_a_detector_is_drawn_into_a_folder(detected, tmp_path):
    written = plots(detected[1], tmp_path / "new" / "folder", detected[0])
    assert [path.name for path in written] == [
        "precision_recall.png", "recall_by_size.png", "missed_by_source.png", "missed.png",
        "mistaken.png",
    ]  # fmt: skip
    assert all(pixels(path.read_bytes()).std() > 5 for path in written)


def test_the_same_numbers_give_the_same_picture_and_leave_matplotlib_alone(detected):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    first, second = (precision_recall_plot(detected[0], None) for _ in range(2))
    assert first.png == second.png
    assert dict(mpl.rcParams) == before


def test_kinds_are_not_mixed(evaluated, detected):
    with pytest.raises(UsageError, match="beside a detector"):
        draw_plots(evaluated[0], detected[0])
    with pytest.raises(UsageError, match="beside an embedder"):
        draw_plots(detected[0], evaluated[0])


def test_shares_are_written_as_people_do():
    assert [percent(v) for v in (1, 0.125, 0.001, 1e-6, 1e-7)] == [
        "100 %", "12.5 %", "0.1 %", "0.0001 %", "0.00001 %",
    ]  # fmt: skip
