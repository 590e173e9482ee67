"""The look of all plots: one set of colours that colour-blind readers tell apart, light or dark, SVG and PNG."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .store import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# M. Okabe and K. Ito, "Color Universal Design", 2008, without yellow, which vanishes on white
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c8c8c")
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
_INK = {False: ("#ffffff", "#1b1f24", "#d8dde3"), True: ("#14171b", "#e7eaee", "#343b44")}


@contextmanager
def plot_look(dark: bool = False) -> Iterator[None]:
    """Within it figures are drawn in the common look.

    with plot_look():
        figure, axes = new_figure(2)
        axes[0].bar(names, counts, color=COLOURS[0])
    """
    import matplotlib
    from cycler import cycler

    ground, ink, line = _INK[dark]
    colours = {
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), ground),
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), ink),
        "grid.color": line,
    }
    settings: Any = {**_LOOK, **colours, "axes.prop_cycle": cycler(color=COLOURS)}
    with matplotlib.rc_context(settings):
        yield


def new_figure(columns: int = 1, rows: int = 1, width: float = 3.6, height: float = 2.6) -> tuple[Figure, list[Any]]:
    """A figure without a window and its axes, row by row; ``width`` and ``height`` are of one of them in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


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
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=144, metadata={"Software": None})
    written = [path.with_suffix(".svg"), path.with_suffix(".png")]
    atomic_write(written[0], svg_text(figure))
    atomic_write(written[1], data.getvalue())
    return written
