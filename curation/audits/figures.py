"""The plots of an audit, from what ``audit.json`` holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..plots import WIDE, legend_above, new_figure, series_colours
from ..statistics.maps import pose_figure
from .leakage import CONDITIONS, GUESSING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RECOGNITION = "Rank-1 of the best recogniser of each condition, with its 95 % interval over identities."  # a caption


def plots(facts: Mapping[str, Any]) -> dict[str, tuple[str, Callable[[], Figure]]]:
    """For each plot of what an audit knows, by name: its caption, and what draws it within `plots.plot_look`.

    Args:
        facts: `Audit.as_dict`, or ``audit.json``.
    """
    found: dict[str, tuple[str, Callable[[Mapping[str, Any]], Figure]]] = {}
    if _best(facts):
        found["recognition"] = (RECOGNITION, recognition_figure)
    if any(np.any(counts) for counts in _coverage(facts).values()):
        found["coverage"] = ("Frames of women and of men by yaw and pitch.", coverage_figure)
    if any(any(counts.values()) for counts in facts["parity"]["expressions"].values()):
        found["expressions"] = ("Shares of expressions among the frames of women and of men.", expressions_figure)
    drawn: dict[str, tuple[str, Callable[[], Figure]]] = {}
    for name, (caption, draw) in found.items():
        drawn[name] = caption, partial(draw, facts)
    return drawn


def _best(facts: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The best score across recordings of each condition that was asked."""
    best = facts["recognition"]["best"]
    return {c: best[f"{c}, across"] for c in CONDITIONS if f"{c}, across" in best}


def recognition_figure(facts: Mapping[str, Any]) -> Figure:
    """Bars of Rank-1 in percent under each condition, beside clips alone and what is allowed without a face."""
    figure, (axes,) = new_figure(width=WIDE, height=3.1)
    colours, best = series_colours(), _best(facts)
    ink = axes.xaxis.label.get_color()
    places, values = np.arange(len(best)), 100 * np.array([b["rank1"] for b in best.values()])
    ends = 100 * np.array([b["interval"] or (b["rank1"],) * 2 for b in best.values()])
    reach = np.maximum([values - ends[:, 0], ends[:, 1] - values], 0)
    axes.bar(places, values, 0.62, color=colours[0], label="recordings")
    axes.errorbar(places, values, reach, fmt="none", ecolor=ink, elinewidth=1, capsize=3)
    clips = np.array([np.nan if b["clips"] is None else 100 * b["clips"] for b in best.values()])
    if np.isfinite(clips).any():
        look: dict[str, Any] = {"markersize": 5, "markeredgecolor": axes.get_facecolor(), "linestyle": ""}
        axes.plot(places + 0.2, clips, "D", color=colours[1], label="clips alone", **look)
    for place, value, end, clip in zip(places, values, ends, np.nan_to_num(clips), strict=True):
        axes.text(place, max(value, end[1], clip) + 3, f"{value:.1f}", ha="center", fontsize=8.5)
    limit = 100 * GUESSING * facts["recognition"]["chance"]
    if limit < 100:
        label = f"{GUESSING:g} × chance, {limit:.1f} %: the most without a face"
        axes.axhline(limit, color=colours[5], linewidth=1.4, linestyle="--", label=label)
    axes.set_xticks(places, list(best))
    axes.tick_params(axis="x", length=0)
    axes.set(ylim=(0, 112), yticks=range(0, 101, 20), ylabel="Rank-1, %", title="recognised")
    legend_above(figure, [axes])
    return figure


def _coverage(facts: Mapping[str, Any]) -> dict[str, Any]:
    coverage = facts["parity"]["coverage"]
    return {g: counts for g, counts in coverage.items() if g not in ("yaw_edges", "pitch_edges")}


def coverage_figure(facts: Mapping[str, Any]) -> Figure:
    """Frames of each gender by yaw and pitch, in cells of 5°."""
    coverage = facts["parity"]["coverage"]
    return pose_figure(_coverage(facts), coverage["yaw_edges"], coverage["pitch_edges"])


def expressions_figure(facts: Mapping[str, Any]) -> Figure:
    """Bars of the shares of expressions in percent, a bar a gender."""
    figure, (axes,) = new_figure(width=WIDE, height=2.6)
    groups = facts["parity"]["expressions"]
    names = list(dict.fromkeys(name for counts in groups.values() for name in counts))
    places, room = np.arange(len(names)), 0.8 / max(len(groups), 1)
    for number, (gender, counts) in enumerate(groups.items()):
        shares = [100 * counts.get(name, 0) / max(sum(counts.values()), 1) for name in names]
        shift = (number - (len(groups) - 1) / 2) * room
        axes.bar(places + shift, shares, 0.94 * room, color=series_colours()[number], label=gender)
    axes.set_xticks(places, names)
    axes.tick_params(axis="x", length=0)
    axes.set(ylabel="% of frames", title="expressions")
    legend_above(figure, [axes])
    return figure
