"""The look of all plots: one set of colours that colour-blind readers tell apart, light or dark, SVG and PNG."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .store import atomic_write

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

Plots = Mapping[str, "tuple[str, Callable[[], Figure]]"]  # name to caption and what draws it within `plot_look`
WIDE = 7.2  # inches of the widest figure: at 600 pixels its text of 9 points is 10 pixels high

# M. Okabe and K. Ito, "Color Universal Design", 2008, without yellow, which vanishes on white
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c8c8c")
# the same hues, lighter: on a dark ground the former are dim
_ON_DARK = ("#4ba9e3", "#f58a42", "#2ec49a", "#e29ac4", "#9ad4f5", "#f2b840", "#a3a9b0")
_LOOK: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "figure.dpi": 110.0,
    "svg.hashsalt": "thermvision",  # equal plots give equal bytes
    "svg.fonttype": "none",
}
_DARK = "-dark"  # after the name of a file
_INK = {False: ("#ffffff", "#1b1f24", "#d8dde3"), True: ("#14171b", "#e7eaee", "#343b44")}


@contextmanager
def plot_look(dark: bool = False) -> Iterator[None]:
    """Within it figures are drawn in the common look.

    with plot_look():
        figure, axes = new_figure(2)
        axes[0].bar(names, counts, color=series_colours()[0])
    """
    import matplotlib
    from cycler import cycler

    ground, ink, line = _INK[dark]
    colours = {
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), ground),
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), ink),
        "grid.color": line,
    }
    settings: Any = {**_LOOK, **colours, "axes.prop_cycle": cycler(color=_ON_DARK if dark else COLOURS)}
    with matplotlib.rc_context(settings):
        yield


def new_figure(columns: int = 1, rows: int = 1, width: float = 3.6, height: float = 2.6) -> tuple[Figure, list[Any]]:
    """A figure without a window and its axes, row by row; ``width`` and ``height`` are of one of them in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def _is_dark() -> bool:
    import matplotlib

    return bool(matplotlib.rcParams["figure.facecolor"] == _INK[True][0])


def series_colours() -> tuple[str, ...]:
    """The colours of series in the look of now, in the order of `COLOURS`."""
    return _ON_DARK if _is_dark() else COLOURS


def heat_colours() -> Colormap:
    """Colours of counts in the look of now: the more, the farther from the ground; what is masked is the ground.

    Cividis, J. R. Nuñez, C. R. Anderton and R. S. Renslow, "Optimizing colormaps with consideration for color vision
    deficiency", PLoS ONE 13, 2018. It is turned round on white, and begins where it can be told from a dark ground.
    """
    import matplotlib
    from matplotlib.colors import ListedColormap

    shades = matplotlib.colormaps["cividis"](np.linspace(0.18, 1, 256) if _is_dark() else np.linspace(1, 0, 256))
    return ListedColormap(shades, "heat").with_extremes(bad=(0, 0, 0, 0))


def thousands(axis: Any) -> None:
    """Write an axis of counts in few whole numbers, from 10,000 on as 10k."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(5, integer=True))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v / 1000:g}k" if v >= 10_000 else f"{v:g}"))


def legend_above(figure: Figure, axes: list[Any]) -> None:
    """One legend of all ``axes`` in the upper right corner, above them; none where nothing has a label."""
    named: dict[str, Any] = {}
    for place in axes:
        for handle, label in zip(*place.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    if named:
        figure.legend(named.values(), named.keys(), loc="outside upper right", ncols=len(named))


def svg_text(figure: Figure) -> str:
    """The figure as SVG; equal figures give equal text."""
    data = io.StringIO()
    figure.savefig(data, format="svg", metadata={"Date": None})
    return data.getvalue()


def save_plot(figure: Figure, path: Path) -> list[Path]:
    """Write ``path`` as ``.svg`` and ``.png`` beside each other, each whole or not at all; returns both.

    Raises:
        OutputError: no room or no permission.
    """
    data, text = io.BytesIO(), svg_text(figure)
    figure.set_layout_engine(None)  # all has its place now, and finding it takes as long as drawing
    figure.savefig(data, format="png", dpi=144, metadata={"Software": None})
    written = [path.with_suffix(".svg"), path.with_suffix(".png")]
    atomic_write(written[0], text)
    atomic_write(written[1], data.getvalue())
    return written


def save_looks(draw: Callable[[], Figure], path: Path) -> list[Path]:
    """Write what ``draw`` gives as ``path`` in `save_plot`, and once more on a dark ground as ``path`` with ``-dark``.

    Raises:
        OutputError: no room or no permission.
    """
    written = []
    for dark in (False, True):
        with plot_look(dark):
            written += save_plot(draw(), path.with_name(path.name + (_DARK if dark else "")))
    return written
