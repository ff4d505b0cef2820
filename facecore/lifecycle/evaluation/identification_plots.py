"""Plots of identification: rank and open set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facecore.lifecycle.evaluation.embedder_evaluation import EmbedderEvaluation
from facecore.lifecycle.evaluation.plot_style import (
    CHALLENGER,
    CHAMPION,
    QUIET,
    SERIES,
    Plot,
    draw,
    legend,
    percent,
    percent_axis,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def cmc_plot(own: EmbedderEvaluation, champion: EmbedderEvaluation | None) -> Plot | None:
    """Share of searches with the right person among the first k."""
    closed = own.identification.closed_set
    if closed is None:
        return None

    def paint(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.add_subplot()
        shown = [(own, CHALLENGER, "o-")]
        if champion is not None:
            shown.insert(0, (champion, CHAMPION, "s--"))
        for one, colour, style in shown:
            found = one.identification.closed_set
            if found is None:
                continue
            ranks = [p.rank for p in found.cmc]
            axes.fill_between(
                ranks, [p.rate.low for p in found.cmc], [p.rate.high for p in found.cmc],
                color=colour, alpha=0.16, linewidth=0,
            )  # fmt: skip
            axes.plot(
                ranks, [p.rate.value for p in found.cmc], style, color=colour, markersize=4,
                label=f"{one.model or 'this model'}: rank 1 {found.rank_1.value:.2%}",
            )  # fmt: skip
        axes.set(
            title="Right person among the first k (CMC)",
            xlabel="rank k",
            ylabel="share of searches",
            xlim=(0.6, closed.cmc[-1].rank + 0.4),
        )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        percent_axis(axes.yaxis)
        legend(axes, loc="lower right")

    caption = (
        f"Closed set: {closed.gallery_size:,} people enrolled with one image each, "
        f"{closed.probes:,} searches for other images of them. Bands: 95 %, from resampling people."
    )
    return draw("cmc", "Rank", caption, paint)


def open_set_plot(own: EmbedderEvaluation, champion: EmbedderEvaluation | None) -> Plot | None:
    """Missed enrolled people against the size of the gallery."""
    points = [p for p in own.identification.open_set if p.fnir is not None]
    if not points:
        return None
    targets = sorted({p.target_fpir for p in points}, reverse=True)
    sizes = sorted({p.gallery_size for p in points})

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for number, target in enumerate(targets):
            colour = SERIES[number % len(SERIES)]
            for one, style, name, shift in (
                (champion, "s--", f"champion, FPIR {percent(target)}", 0.97),
                (own, "o-", f"FPIR {percent(target)}", 1.03),
            ):
                if one is None:
                    continue
                found = [
                    (p.gallery_size * (shift if champion else 1), p.fnir)
                    for p in one.identification.open_set
                    if p.fnir is not None and p.target_fpir == target
                ]
                axes.errorbar(
                    [size for size, _ in found],
                    [rate.value for _, rate in found],
                    yerr=[
                        [rate.value - rate.low for _, rate in found],
                        [rate.high - rate.value for _, rate in found],
                    ],
                    fmt=style, color=colour, markersize=5, capsize=3, elinewidth=1.1,
                    linewidth=1.8 if one is own else 1.1, alpha=1 if one is own else 0.65,
                    label=name,
                )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.set(
            title="Enrolled people not found (open set)",
            xlabel="people enrolled",
            ylabel="FNIR",
        )
        axes.set_ylim(bottom=0)
        axes.annotate(
            "bars: 95 %, from resampling people and galleries", (1, 1.015),
            xycoords="axes fraction", ha="right", va="bottom", fontsize=8, color=QUIET,
        )  # fmt: skip
        percent_axis(axes.yaxis)
        figure.legend(loc="outside lower center", ncols=len(targets), frameon=False, fontsize=9)

    caption = (
        "Share of searches for enrolled people that do not name them first and above the "
        "threshold (FNIR), with thresholds that let so many searches for strangers name somebody "
        "(FPIR). Rates that the number of strangers does not support are left out."
    )
    return draw("open_set", "Open set", caption, paint)
