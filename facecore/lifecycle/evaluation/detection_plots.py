"""Plots of a detector: precision and recall, recall by size, misses by group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from facecore.lifecycle.evaluation.box_matching import RECALLS
from facecore.lifecycle.evaluation.detection_measures import DetectionSlices
from facecore.lifecycle.evaluation.detector_evaluation import DetectorEvaluation
from facecore.lifecycle.evaluation.plot_style import (
    CHALLENGER,
    CHAMPION,
    LIMIT,
    SERIES,
    Plot,
    draw,
    legend,
    percent_axis,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def precision_recall_plot(own: DetectorEvaluation, champion: DetectorEvaluation | None) -> Plot:
    """Precision at every recall, at an overlap of 0.5."""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        shown = [(own, CHALLENGER, "-")]
        if champion is not None:
            shown.insert(0, (champion, CHAMPION, "--"))
        for one, colour, style in shown:
            name = f"{one.model or 'this detector'}: AP@0.5 {one.ap_50.value:.3f}"
            axes.plot(RECALLS, one.curve, style, color=colour, label=name)
            if one.precision is not None:
                axes.plot(
                    one.recall.value, one.precision.value, "o", color=colour, markersize=8,
                    markeredgecolor="white", markeredgewidth=1.2, zorder=4,
                )  # fmt: skip
        axes.set(
            title="Precision and recall",
            xlabel="recall (true faces found)",
            ylabel="precision (detections that are faces)",
            xlim=(0, 1.01),
            ylim=(0, 1.02),
        )
        percent_axis(axes.xaxis)
        percent_axis(axes.yaxis)
        legend(axes, loc="lower left")

    caption = (
        f"Overlap of at least 0.5. Point: in operation, score from {own.score_threshold:g}. "
        f"AP@0.5 {own.ap_50}, AP@[.5:.95] {own.ap}; {own.faces:,} faces in {own.images:,} images."
    )
    return draw("precision_recall", "Precision and recall", caption, paint)


def recall_by_size_plot(own: DetectorEvaluation, champion: DetectorEvaluation | None) -> Plot:
    """Recall of small and large faces."""
    bins = [b for b in own.recall_by_size if b.recall is not None]

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        shown = (
            [(own, CHALLENGER)] if champion is None else [(champion, CHAMPION), (own, CHALLENGER)]
        )
        width = 0.8 / len(shown)
        for number, (one, colour) in enumerate(shown):
            rates = {b.low: b.recall for b in one.recall_by_size if b.recall is not None}
            places = np.arange(len(bins)) + (number - (len(shown) - 1) / 2) * width
            found = [rates[b.low] for b in bins]
            axes.bar(
                places, [r.value for r in found], width * 0.9, color=colour, alpha=0.85,
                label=one.model or "this detector",
                yerr=[[r.value - r.low for r in found], [r.high - r.value for r in found]],
                error_kw={"elinewidth": 1.2, "capsize": 3, "ecolor": "#1b2631"},
            )  # fmt: skip
        axes.set_xticks(
            range(len(bins)),
            [f"{b.low:g}–{b.high:g} px" if b.high else f"from {b.low:g} px" for b in bins],
        )
        axes.set_xticks(
            range(len(bins)),
            [
                f"{label.get_text()}\n{b.recall.trials:,} faces" if b.recall else ""
                for label, b in zip(axes.get_xticklabels(), bins, strict=True)
            ],
        )
        axes.set(
            title="Recall by size", ylabel="faces found", ylim=(0, 1.04),
            xlim=(-0.6, len(bins) - 0.4),
        )  # fmt: skip
        axes.grid(visible=False, axis="x")
        percent_axis(axes.yaxis)
        if len(shown) > 1:
            axes.legend(loc="upper left", bbox_to_anchor=(0.6, 1.12), ncols=2, fontsize=9)

    caption = (
        f"Faces found by their side (root of the area), score from {own.score_threshold:g}, "
        "overlap of at least 0.5. Bars: exact 95 % intervals."
    )
    return draw("recall_by_size", "Recall by size", caption, paint)


def missed_slice_plot(report: DetectionSlices) -> Plot:
    """Share of missed faces of each group of images."""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        rows = [one for one in reversed(report.slices) if one.missed is not None]
        rates = [one.missed for one in rows if one.missed is not None]
        axes.errorbar(
            [r.value for r in rates], range(len(rates)),
            xerr=[[r.value - r.low for r in rates], [r.high - r.value for r in rates]],
            fmt="o", markersize=6, color=SERIES[0], capsize=3, elinewidth=1.6,
        )  # fmt: skip
        total = sum(r.trials for r in rates)
        axes.axvline(
            sum(r.count for r in rates) / max(total, 1), color=LIMIT, linewidth=1.2, linestyle=":"
        )
        axes.set_yticks(
            range(len(rows)),
            [f"{one.value[:24]}\n{one.images:,} images, {one.faces:,} faces" for one in rows],
        )
        axes.set(
            title=f"Missed faces by {report.column}", xlabel="faces missed; dotted: all",
            ylim=(-0.6, len(rows) - 0.4),
        )  # fmt: skip
        axes.set_xlim(left=0)
        percent_axis(axes.xaxis)

    caption = f"Share of faces not found by {report.column}, with exact 95 % intervals."
    name = f"missed_by_{''.join(c if c.isalnum() else '_' for c in report.column)}"
    height = 1.8 + 0.42 * len(report.slices)
    return draw(name, f"Missed by {report.column}", caption, paint, height=height)
