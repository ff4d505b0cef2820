"""The look of all plots, and a plot as PNG bytes. Matplotlib without pyplot: no global state.

Colours are told apart by people with colour-blindness and differ in lightness, so that a grey
print works.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEXT, QUIET, GRID, SURFACE = "#1b2631", "#526070", "#e6eaee", "#ffffff"
CHALLENGER, CHAMPION = "#1f5f99", "#b5680a"
GENUINE, IMPOSTOR = "#16806f", "#b2443a"
LIMIT, UNSUPPORTED = "#a3262a", "#eef1f4"
SERIES = ("#1f5f99", "#b5680a", "#16806f", "#8a4a9c", "#5c7a14", "#b2443a")
DPI = 144

_RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": TEXT,
    "axes.edgecolor": "#b9c2cb",
    "axes.labelcolor": QUIET,
    "axes.titlecolor": TEXT,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.9,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "figure.facecolor": SURFACE,
    "axes.facecolor": SURFACE,
}


@dataclass(frozen=True, slots=True)
class Plot:
    """A finished plot.

    Attributes:
        name: fit for a file's name.
        caption: what it shows and how to read it, for the page and for those who cannot see it.
        png: the picture.
    """

    name: str
    title: str
    caption: str
    png: bytes = field(repr=False)


@contextmanager
def canvas(width: float = 7.2, height: float = 4.4) -> Iterator[Figure]:
    """A figure (inches) in the house's style."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(_RC):
        figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def draw(
    name: str,
    title: str,
    caption: str,
    paint: Callable[[Figure], None],
    *,
    width: float = 7.2,
    height: float = 4.4,
) -> Plot:
    """Paint a figure and keep it as PNG; the same numbers give the same bytes."""
    with canvas(width, height) as figure:
        paint(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return Plot(name, title, caption, buffer.getvalue())


def percent(value: float, _position: object = None) -> str:
    """A share as a percentage, with as many digits as it needs."""
    digits = f"{100 * value:.9f}".rstrip("0").rstrip(".")
    return f"{digits} %"


def percent_axis(axis: Any) -> None:
    """Label an axis of shares, 0..1, in percent."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(percent))


def legend(axes: Axes, **options: Any) -> None:
    """A legend that keeps quiet."""
    made = axes.legend(handlelength=1.6, borderaxespad=0.4, fontsize=9, **options)
    made.set_zorder(5)
