"""A comparison of trainings as bars: one plot a real source, networks side by side, a bar a mix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..plots import COLOURS, new_figure, plot_look, save_plot
from .synthetic_to_real import MIXES, Cell, Table

_BAR = 0.26  # of the room of a network


def plot(table: Table, path: Path) -> list[Path]:
    """Draw balanced accuracy with its 95 % interval over people as SVG and PNG beside each other; returns both.

    The line is chance, one over the classes that are tested.

    Raises:
        OutputError: no room or no permission.
    """
    sources = list(dict.fromkeys(cell.real for cell in table.cells))
    networks = list(dict.fromkeys(cell.network for cell in table.cells))
    mixes = [m for m in MIXES if any(cell.mix == m for cell in table.cells)]
    with plot_look():
        figure, axes = new_figure(len(sources), width=max(3.2, 1.1 * len(networks) + 0.8), height=2.8)
        for axis, source in zip(axes, sources, strict=True):
            here = [cell for cell in table.cells if cell.real == source]
            for n, mix in enumerate(mixes):
                _bars(axis, [c for c in here if c.mix == mix], networks, (n - (len(mixes) - 1) / 2) * _BAR, mix)
            tested = sum(any(row) for row in here[0].confusion)
            axis.axhline(100 / tested, color=COLOURS[-1], linestyle="--", linewidth=1)
            axis.set_xticks(range(len(networks)), networks)
            axis.set_xlim(-0.6, len(networks) - 0.4)
            axis.set_ylim(0, 100)
            axis.set_title(f"{source}, {here[0].test_subjects} people")
        axes[0].set_ylabel("balanced accuracy, %")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(mixes))
        return save_plot(figure, path)


def _bars(axis: Any, cells: list[Cell], networks: list[str], shift: float, mix: str) -> None:
    at = np.array([networks.index(c.network) for c in cells]) + shift
    heights = 100 * np.array([c.balanced_accuracy for c in cells])
    # an interval that is not defined has no whisker
    ends = 100 * np.array([c.balanced_interval or (c.balanced_accuracy,) * 2 for c in cells]).reshape(-1, 2)
    reach = np.abs(ends.T - heights)
    axis.bar(at, heights, _BAR * 0.92, color=COLOURS[MIXES.index(mix)], label=mix, yerr=reach, capsize=2,
             error_kw={"ecolor": axis.yaxis.label.get_color(), "elinewidth": 0.9})  # fmt: skip
