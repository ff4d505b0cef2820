"""Plots of verification: error trade-off, scores, reliability, discard, slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from facecore.lifecycle.evaluation.discard_curve import DiscardCurve
from facecore.lifecycle.evaluation.embedder_evaluation import EmbedderEvaluation
from facecore.lifecycle.evaluation.error_curve import ErrorCurve
from facecore.lifecycle.evaluation.plot_style import (
    CHALLENGER,
    CHAMPION,
    GENUINE,
    IMPOSTOR,
    LIMIT,
    QUIET,
    SERIES,
    UNSUPPORTED,
    Plot,
    draw,
    legend,
    percent,
    percent_axis,
)
from facecore.lifecycle.evaluation.reliability import Reliability
from facecore.lifecycle.evaluation.slices import SliceReport
from facecore.lifecycle.score_distribution import BIN_WIDTH, BINS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HISTOGRAM_BINS = 100
_LOWEST_FNMR = 1e-4


def det_plot(own: EmbedderEvaluation, champion: EmbedderEvaluation | None) -> Plot:
    """Error trade-off with intervals, and where the data end."""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        shown = [(own, CHALLENGER, "-")]
        if champion is not None:
            shown.insert(0, (champion, CHAMPION, "--"))
        for one, colour, style in shown:
            _curve(axes, one.verification, colour, style, one.model or "this model")
        lowest = own.verification.supported_fmr
        left = 10 ** (np.floor(np.log10(lowest)) - (0.35 if np.log10(lowest) % 1 < 0.5 else 0))
        axes.set(xscale="log", yscale="log", xlim=(min(left, lowest / 2), 0.5))
        bottom = min(p.fnmr.value for one, *_ in shown for p in one.verification.points)
        axes.set_ylim(max(bottom * 0.6, _LOWEST_FNMR), 1.0)
        axes.axvspan(axes.get_xlim()[0], lowest, color=UNSUPPORTED, zorder=0)
        axes.annotate(
            "no statement:\ntoo few comparisons",
            (np.sqrt(axes.get_xlim()[0] * lowest), 0.04),
            xycoords=("data", "axes fraction"),
            rotation=90,
            ha="center",
            va="bottom",
            fontsize=8,
            color=QUIET,
        )
        axes.axvline(own.threshold.fmr, color=LIMIT, linewidth=1.2, linestyle=":")
        axes.annotate(
            f" operating point, FMR {own.threshold.fmr:.0e}",
            (own.threshold.fmr, 0.97),
            xycoords=("data", "axes fraction"),
            va="top",
            fontsize=8.5,
            color=LIMIT,
        )
        axes.set(
            title="Error trade-off (DET)",
            xlabel="false-match rate (different people taken for one)",
            ylabel="false-non-match rate",
        )
        percent_axis(axes.xaxis)
        percent_axis(axes.yaxis)
        legend(axes, loc="lower left", bbox_to_anchor=(0.12, 0.0))

    found = own.verification
    caption = (
        f"Every threshold trades one error for the other; lower is better. Bands: 95 %, from "
        f"resampling people. {found.impostors:,} comparisons of different people support no rate "
        f"below {found.supported_fmr:.1e} (rule of three). Equal error rate "
        f"{100 * found.eer.value:.2f} %."
    )
    return draw("det", "Error trade-off", caption, paint)


def score_plot(own: EmbedderEvaluation) -> Plot:
    """Genuine and impostor scores with the threshold."""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        edges = np.linspace(-1, 1, 2 * _HISTOGRAM_BINS + 1)
        genuine = np.histogram(np.clip(own.scores.genuine.scores, -1, 1), edges)[0]
        fine = -1 + (np.arange(BINS + 1) + 0.5) * BIN_WIDTH
        impostors = np.histogram(np.minimum(fine, 1), edges, weights=own.scores.impostors.counts)[0]
        for counts, colour, name in (
            (impostors, IMPOSTOR, f"different people ({int(impostors.sum()):,})"),
            (genuine, GENUINE, f"same person ({int(genuine.sum()):,})"),
        ):
            share = counts / max(counts.sum(), 1)
            axes.stairs(share, edges, fill=True, alpha=0.30, color=colour)
            axes.stairs(
                np.where(share > 0, share, np.nan), edges, color=colour, linewidth=1.6, label=name
            )
        threshold = own.threshold
        axes.axvspan(threshold.low, threshold.high, color=LIMIT, alpha=0.18, linewidth=0)
        axes.axvline(threshold.threshold, color=LIMIT, linewidth=1.4)
        axes.annotate(
            f" threshold {threshold.threshold:.3f}\n [{threshold.low:.3f}, {threshold.high:.3f}]",
            (threshold.high, 0.97),
            xycoords=("data", "axes fraction"),
            va="top",
            fontsize=8.5,
            color=LIMIT,
            bbox={"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": "none"},
        )
        used = np.flatnonzero(genuine + impostors)
        axes.set(
            yscale="log",
            xlim=(edges[used[0]] - 0.02, min(edges[used[-1] + 1] + 0.02, 1.02)),
            title="Scores",
            xlabel="cosine similarity",
            ylabel="share of comparisons per bin",
        )
        percent_axis(axes.yaxis)
        axes.set_ylim(top=8)  # room for the words above the curves
        legend(axes, loc="upper left")

    caption = (
        f"Similarities of pairs of one person and of different people, on a logarithmic scale. "
        f"From the threshold {own.threshold.threshold:.4f} on (false-match rate "
        f"{own.threshold.fmr:.1e}; band: its 95 % interval) two faces count as one person."
    )
    return draw("scores", "Scores", caption, paint)


def reliability_plot(found: Reliability, name: str = "reliability") -> Plot:
    """Stated probability against observed frequency."""

    def paint(figure: Figure) -> None:
        upper, lower = figure.subplots(
            2, 1, sharex=True, gridspec_kw={"height_ratios": (4, 1), "hspace": 0.02}
        )
        upper.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=":", label="perfect")
        stated = np.array([b.stated for b in found.bins])
        observed = np.array([b.observed.value for b in found.bins])
        spread = _spread([b.observed for b in found.bins])
        upper.errorbar(
            stated, observed, yerr=spread, fmt="o-", color=CHALLENGER, markersize=5,
            linewidth=1.4, capsize=3, elinewidth=1.2, label=found.source,
        )  # fmt: skip
        upper.set(
            title="Reliability", ylabel="pairs that are one person", ylim=(-0.02, 1.02),
            xlim=(-0.02, 1.02),
        )  # fmt: skip
        percent_axis(upper.yaxis)
        legend(upper, loc="upper left")
        counts = [b.observed.trials for b in found.bins]
        lower.bar(
            [(b.low + b.high) / 2 for b in found.bins], counts, width=0.092, color=CHALLENGER,
            alpha=0.55,
        )  # fmt: skip
        lower.set(yscale="log", ylabel="pairs", xlabel="stated probability of being one person")
        lower.set_ylim(bottom=0.7)
        percent_axis(lower.xaxis)

    caption = (
        f"Of the pairs to which a probability is given ({found.source}), how many are one person. "
        f"Bars: exact 95 % intervals. Expected calibration error {found.expected_error:.4f}, "
        f"Brier score {found.brier:.4f}, {found.pairs:,} pairs, half of them of one person."
    )
    return draw(name, "Reliability", caption, paint, height=4.8)


def discard_plot(own: DiscardCurve, champion: DiscardCurve | None) -> Plot:
    """Error versus discard."""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        shown = [(own, CHALLENGER, "-", "lowest quality first")]
        if champion is not None:
            shown.insert(0, (champion, CHAMPION, "--", "the same, champion"))
        for curve, colour, style, name in shown:
            share = [p.share for p in curve.points]
            rate = [p.fnmr.value for p in curve.points]
            axes.fill_between(
                share, [p.fnmr.low for p in curve.points], [p.fnmr.high for p in curve.points],
                color=colour, alpha=0.15, linewidth=0,
            )  # fmt: skip
            axes.plot(share, rate, style, color=colour, label=name)
        ideal = [p.ideal for p in own.points]
        axes.plot(share, ideal, color=QUIET, linewidth=1.2, linestyle=":", label="best possible")
        axes.axhline(own.points[0].fnmr.value, color=QUIET, linewidth=0.8)
        axes.set(
            title="Error versus discard",
            xlabel="genuine comparisons left out, lowest face quality first",
            ylabel=f"false-non-match rate at {own.threshold:.3f}",
            xlim=(0, own.points[-1].share),
        )
        highest = max(p.fnmr.high for curve, *_ in shown for p in curve.points)
        axes.set_ylim(0, 1.3 * highest)
        percent_axis(axes.xaxis)
        percent_axis(axes.yaxis)
        legend(axes, loc="upper right", ncols=len(shown) + 1)

    area = (
        ""
        if own.relative_area is None
        else (
            f" Over the first fifth the rate is on average {100 * own.relative_area:.0f} % of what "
            "it is without leaving anything out."
        )
    )
    caption = (
        "Whether the quality score knows which faces will not be recognised: the curve should "
        f"fall from the thin line. Band: exact 95 % interval.{area}"
    )
    return draw("discard", "Error versus discard", caption, paint)


def slice_plot(report: SliceReport) -> Plot:
    """Error rates of every group, with intervals."""

    def paint(figure: Figure) -> None:
        figure.suptitle(f"By {report.column}", x=0.012, ha="left", fontsize=12.5)
        left, right = figure.subplots(1, 2, sharey=True)
        rows = list(reversed(report.slices))
        places = np.arange(len(rows))
        sides: Sequence[tuple[Axes, str, str, Any]] = (
            (left, "fmr", "false-match rate", report.fmr),
            (right, "fnmr", "false-non-match rate", report.fnmr),
        )
        for axes, name, title, overall in sides:
            rates = [getattr(one, name) for one in rows]
            known = [i for i, rate in enumerate(rates) if rate is not None]
            axes.axvline(overall.value, color=LIMIT, linewidth=1.2, linestyle=":")
            axes.errorbar(
                [rates[i].value for i in known], places[known],
                xerr=_spread([rates[i] for i in known]), fmt="o", markersize=6,
                color=SERIES[0] if name == "fmr" else SERIES[2], capsize=3, elinewidth=1.6,
            )  # fmt: skip
            axes.set(title=title.capitalize(), ylim=(-0.6, len(rows) - 0.4))
            # A group that says little has a wide interval; it must not squeeze the others.
            wide = 3 * max([overall.value, *(rates[i].value for i in known)], default=0.0)
            reach = max([overall.high, *(rates[i].high for i in known)])
            axes.set_xlim(0, max(min(1.05 * reach, wide), 1e-9))
            axes.tick_params(axis="y", length=0)
            axes.locator_params(axis="x", nbins=5)
            percent_axis(axes.xaxis)
        left.set_yticks(places, [_row_name(one) for one in rows])
        figure.supxlabel(
            f"at the threshold {report.threshold:.4f}; dotted: all faces", fontsize=9, color=QUIET
        )

    caption = (
        f"Error rates by {report.column} at the one threshold, with exact 95 % intervals. "
        f"{_ratio_words('FMR', report.fmr_ratio)} {_ratio_words('FNMR', report.fnmr_ratio)}"
    )
    height = 2.0 + 0.42 * len(report.slices)
    name = f"slices_{''.join(c if c.isalnum() else '_' for c in report.column)}"
    return draw(name, f"By {report.column}", caption, paint, height=height)


def _curve(axes: Axes, found: ErrorCurve, colour: str, style: str, name: str) -> None:
    rates = [p.fmr for p in found.points]
    low = [max(p.fnmr.low, _LOWEST_FNMR / 10) for p in found.points]
    axes.fill_between(
        rates, low, [p.fnmr.high for p in found.points], color=colour, alpha=0.16, linewidth=0
    )
    axes.plot(
        rates, [p.fnmr.value for p in found.points], style, color=colour,
        label=f"{name}: EER {percent(round(found.eer.value, 4))}",
    )  # fmt: skip


def _spread(rates: Sequence[Any]) -> np.ndarray:
    return np.array(
        [[max(r.value - r.low, 0) for r in rates], [max(r.high - r.value, 0) for r in rates]]
    )


def _row_name(one: Any) -> str:
    name = one.value if len(one.value) <= 24 else one.value[:23] + "…"
    return f"{name}\n{one.people:,} people, {one.images:,} faces"


def _ratio_words(kind: str, ratio: Any) -> str:
    if ratio.value is None:
        return f"{kind}: {ratio.note}."
    sure = "" if ratio.distinct else " (their intervals overlap)"
    return f"{kind}: {ratio.worst} is at {ratio.value:.1f} times {ratio.best}{sure}."
