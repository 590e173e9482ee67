"""Scores in bins of a number, such as the pose, and the error of landmarks by pose as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..plots import WIDE, legend_above, new_figure, save_looks, series_colours
from .measures import Floats, Options, TaskResult, as_number, known_mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST = 10  # frames of a bin below which nothing is said
# lower ends of bins in degrees; the last one is open, yaw is either way, pitch looks up
POSE_EDGES: dict[str, tuple[float, ...]] = {"yaw": (0, 10, 20, 30, 45, 60, 75), "pitch": (-90, -20, -10, 0, 10, 20)}
PLOT = "landmark_error"  # name of its files


def bins_of(numbers: Floats, edges: Sequence[float], open_below: bool) -> tuple[list[str], NDArray[np.int64]]:
    """Names of the bins that have a value, and the bin of each value (N,), -1 where it is not finite.

    >>> bins_of(np.array([5.0, np.nan, 31.0]), (0, 10, 20, 30), False)
    (['0–10', '≥ 30'], array([ 0, -1,  1]))
    """
    place = np.where(np.isfinite(numbers), np.searchsorted(edges, numbers, side="right") - 1, -1)
    used = sorted(set(place.tolist()) - {-1})
    names = []
    for n in used:
        low, high = f"{edges[n]:g}", f"{edges[n + 1]:g}" if n + 1 < len(edges) else ""
        between = f"{low} to {high}" if edges[n] < 0 else f"{low}–{high}"
        names.append(f"< {high}" if n == 0 and open_below else between if high else f"≥ {low}")
    return names, np.array([used.index(n) if n >= 0 else -1 for n in place.tolist()], np.int64)


def curve(
    bins: Sequence[str],
    member: NDArray[np.int64],
    values: Mapping[str, Floats],
    trivial: Mapping[str, Floats],
    people: Sequence[str],
    options: Options,
) -> dict[str, Any]:
    """``bins``, ``count``, and of each score ``value``, ``interval`` and ``baseline`` by bin, None below ten faces."""
    found: dict[str, Any] = {"bins": list(bins), "count": [int((member == n).sum()) for n in range(len(bins))]}
    for name, value in values.items():
        column, ends, held = [], [], []
        for n in range(len(bins)):
            here = np.flatnonzero(member == n)
            known = here[np.isfinite(value[here])]
            enough = len(known) >= LEAST
            column.append(float(value[known].mean()) if enough else None)
            ends.append(options.bootstrap.mean(value[known], [people[i] for i in known]) if enough else None)
            held.append(as_number(known_mean(trivial[name][here])) if enough else None)
        found[name] = {"value": column, "interval": ends, "baseline": held}
    return found


def landmark_curves(
    poses: Floats, nme: Floats, trivial: Floats, people: Sequence[str], options: Options
) -> dict[str, Any]:
    """`curve` of ``nme`` by |yaw| and by pitch; empty where no pose is known.

    Args:
        poses: (N, 3) degrees, NaN where not known.
        nme, trivial: (N,) box-normalised errors of the landmarks and of the mean shape.
        people: whose faces they are.
        options: how intervals are made.
    """
    found = {}
    for name, angles in (("yaw", np.abs(poses[:, 0])), ("pitch", poses[:, 1])):
        bins, member = bins_of(angles, POSE_EDGES[name], name == "pitch")
        if bins:
            found[name] = curve(bins, member, {"nme": nme}, {"nme": trivial}, people, options)
    return found


def landmark_error_figure(curves: Mapping[str, Any]) -> Figure:
    """NME by |yaw| and by pitch with its 95 % interval over people, beside the mean shape; within `plots.plot_look`.

    figure = landmark_error_figure(json.loads(report)["tasks"]["landmarks"]["curves"])

    Args:
        curves: those of the task landmarks or of the protocol robustness; what has fewer than two bins is left out.
    """
    shown = known_bins(curves)
    figure, axes = new_figure(2, width=WIDE / 2, height=3.0)
    colours, highest = series_colours(), 0.0
    for place, (name, told) in zip(axes, shown.items(), strict=False):
        part, bins, counts = curves[name]["nme"], curves[name]["bins"], curves[name]["count"]
        spots = np.arange(len(told))
        values = np.array([part["value"][n] for n in told])
        ends = np.array([part["interval"][n] or (part["value"][n],) * 2 for n in told])
        held = np.array([np.nan if part["baseline"][n] is None else part["baseline"][n] for n in told])
        place.fill_between(spots, 100 * ends[:, 0], 100 * ends[:, 1], color=colours[0], alpha=0.25, linewidth=0)
        place.plot(spots, 100 * values, "o-", color=colours[0], markersize=4, label="landmarks")
        place.plot(spots, 100 * held, "s--", color=colours[6], markersize=3.5, linewidth=1.2, label="mean shape")
        place.set_xticks(spots, [f"{_narrow(bins[n])}\n{_short(counts[n])}" for n in told])
        place.tick_params(axis="x", labelsize=7.5)
        place.set_xlim(-0.4, len(told) - 0.6)
        highest = max(highest, float(np.nanmax([*ends[:, 1], *held])))
        place.set(title={"yaw": "by yaw", "pitch": "by pitch"}[name])
        place.set_xlabel({"yaw": "|yaw|, °; frames below", "pitch": "pitch, °; frames below"}[name])
    for place in axes:
        place.set_ylim(0, 108 * highest)
    for place in axes[len(shown) :]:
        place.set_visible(False)
    axes[0].set_ylabel("NME, % of the box")
    legend_above(figure, axes[:1])
    return figure


def _narrow(name: str) -> str:
    return name.replace(" to ", "…").replace("-", "−")


def _short(count: int) -> str:
    return f"{count / 1000:.0f}k" if count >= 10_000 else f"{count:,}"


def known_bins(curves: Mapping[str, Any]) -> dict[str, list[int]]:
    """The bins with a value of each angle that has two of them."""
    found = {}
    for name in POSE_EDGES:
        values = curves.get(name, {}).get("nme", {"value": []})["value"]
        told = [n for n, value in enumerate(values) if value is not None]
        if len(told) > 1:
            found[name] = told
    return found


def write_plot(results: Mapping[str, TaskResult], folder: Path) -> list[Path]:
    """Write the plot of what was scored as `save_looks` does; none where no angle has two bins of ten faces.

    Raises:
        OutputError: no room or no permission.
    """
    for task in ("landmarks", "robustness"):
        if task in results and known_bins(results[task].curves):
            return save_looks(partial(landmark_error_figure, results[task].curves), folder / PLOT)
    return []
