"""All plots of an evaluation, alone or beside the champion's."""

from __future__ import annotations

from pathlib import Path

from facecore.errors import UsageError
from facecore.lifecycle.evaluation.comparison import Evaluation
from facecore.lifecycle.evaluation.detection_plots import (
    missed_slice_plot,
    precision_recall_plot,
    recall_by_size_plot,
)
from facecore.lifecycle.evaluation.detector_evaluation import DetectorEvaluation
from facecore.lifecycle.evaluation.embedder_evaluation import EmbedderEvaluation
from facecore.lifecycle.evaluation.example_grids import detection_grid, pair_grid
from facecore.lifecycle.evaluation.identification_plots import cmc_plot, open_set_plot
from facecore.lifecycle.evaluation.plot_style import Plot
from facecore.lifecycle.evaluation.verification_plots import (
    det_plot,
    discard_plot,
    reliability_plot,
    score_plot,
    slice_plot,
)


def draw_plots(own: Evaluation, champion: Evaluation | None = None) -> list[Plot]:
    """Every plot that the evaluation has data for.

    Args:
        champion: drawn beside it where that makes sense; of the same kind.

    Raises:
        UsageError: the champion's evaluation is of another kind.
    """
    if isinstance(own, EmbedderEvaluation):
        if champion is not None and not isinstance(champion, EmbedderEvaluation):
            raise UsageError("an embedder cannot be drawn beside a detector.")
        return _embedder(own, champion)
    if champion is not None and not isinstance(champion, DetectorEvaluation):
        raise UsageError("a detector cannot be drawn beside an embedder.")
    return _detector(own, champion)


def plots(own: Evaluation, folder: Path, champion: Evaluation | None = None) -> list[Path]:
    """As `draw_plots`, written as PNG files into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for plot in draw_plots(own, champion):
        path = folder / f"{plot.name}.png"
        path.write_bytes(plot.png)
        written.append(path)
    return written


def _embedder(own: EmbedderEvaluation, champion: EmbedderEvaluation | None) -> list[Plot]:
    examples = own.examples
    made = [
        det_plot(own, champion),
        score_plot(own),
        cmc_plot(own, champion),
        open_set_plot(own, champion),
        *(slice_plot(report) for report in own.slices),
        discard_plot(own.discard, champion.discard if champion else None) if own.discard else None,
        reliability_plot(own.reliability) if own.reliability else None,
        reliability_plot(own.matcher.reliability, "matcher_reliability") if own.matcher else None,
        pair_grid(
            "highest_impostors",
            "Most alike of different people",
            "The highest similarities between people with different labels. Some may be errors "
            f"of the labels. From {own.threshold.threshold:.3f} on they count as one person.",
            examples.impostors,
            examples.pictures,
        ),
        pair_grid(
            "lowest_genuine",
            "Least alike of one person",
            "The lowest similarities between images with one label. Some may be errors of the "
            f"labels. Below {own.threshold.threshold:.3f} they count as different people.",
            examples.genuine,
            examples.pictures,
        ),
    ]
    return [plot for plot in made if plot is not None]


def _detector(own: DetectorEvaluation, champion: DetectorEvaluation | None) -> list[Plot]:
    made = [
        precision_recall_plot(own, champion),
        recall_by_size_plot(own, champion),
        *(missed_slice_plot(report) for report in own.slices),
        detection_grid(
            "missed",
            "Missed faces, largest first",
            f"True faces without a detection of score {own.score_threshold:g} and an overlap of "
            "0.5; above each: its side.",
            own.missed,
            "px",
        ),
        detection_grid(
            "mistaken",
            "False detections, surest first",
            "Detections without a true face; above each: its score. Some may be faces that "
            "nobody marked.",
            own.mistaken,
            "",
        ),
    ]
    return [plot for plot in made if plot is not None]
