"""Heat maps of a release: identities against pose, poses by gender, and where faces lie in the frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..plots import WIDE, heat_colours, new_figure, series_colours
from .bins import GENDER_NAMES
from .collect import PITCH_REACH, YAW_REACH, Statistics
from .labels import POSE_CELL, POSE_CELLS, Person

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMED = ("female", "male", "not known")
MOST_NAMED = 24  # identities whose rows have their names
MOST_ROWS = 80  # beyond, a row is the mean of several identities
_LONGEST = 16  # letters of a name that are shown
_EDGES = np.arange(-90, 91, POSE_CELL)
Floats = NDArray[np.float64]


def identity_rows(people: Mapping[str, Person]) -> tuple[list[str], list[int], Floats]:
    """Names, genders and mean frames (R, 2, 18) by yaw and by pitch of the rows of `identities_figure`.

    Rows are in the order of gender and name. Of more than 80 identities each row is some neighbours of one gender.
    """
    names, genders, rows = [], [], []
    together = -(-len(people) // MOST_ROWS)
    for gender in range(len(GENDER_NAMES)):
        members = sorted(name for name, p in people.items() if p.gender == gender)
        for start in range(0, len(members), together):
            part = members[start : start + together]
            names.append(part[0] if len(part[0]) <= _LONGEST else part[0][: _LONGEST - 1] + "…")
            genders.append(gender)
            rows.append(np.mean([people[name].turns for name in part], axis=0))
    return names, genders, np.array(rows, np.float64).reshape(-1, 2, POSE_CELLS)


def identities_figure(seen: Statistics) -> Figure:
    """Frames of each identity by yaw and by pitch, in cells of 10°; within `plots.plot_look`."""
    people = seen.labels.people
    names, genders, rows = identity_rows(people)
    height = 1.15 + 0.2 * len(names) if len(names) <= MOST_NAMED else 4.4
    figure, axes = new_figure(2, width=WIDE / 2, height=max(height, 1.9))
    norm = _counts(float(rows.max()))
    image: Any = None
    for axis, place in enumerate(axes):
        image = place.imshow(
            np.ma.masked_equal(rows[:, axis], 0), extent=(-90, 90, len(names) - 0.5, -0.5), aspect="auto",
            norm=norm, cmap=heat_colours(), interpolation="none",
        )  # fmt: skip
        used = np.flatnonzero(rows[:, axis].any(0))
        if len(used):
            low, high = max(_EDGES[used[0]] - POSE_CELL, -90), min(_EDGES[used[-1] + 1] + POSE_CELL, 90)
            place.set_xlim(low, high)
            step = 30 if high - low > 90 else 20 if high - low > 50 else 10
            place.set_xticks(range(-(-low // step) * step, high + 1, step))
        place.set(title=("by yaw", "by pitch")[axis], xlabel=("yaw, °", "pitch, °")[axis])
        place.set_yticks(range(len(names)), names if not axis else [""] * len(names))
        if len(names) > MOST_NAMED:
            place.set_yticks([])
        place.tick_params(axis="y", length=0)
        place.grid(False)
        for edge in np.flatnonzero(np.diff(genders)):
            place.axhline(edge + 0.5, color=series_colours()[1], linewidth=1.2)
    for gender in sorted(set(genders)):
        members = sum(p.gender == gender for p in people.values())
        rows_of = np.flatnonzero(np.array(genders) == gender)
        beside = [place.get_yaxis_transform() for place in axes]
        if len(names) > MOST_NAMED:
            label = f"{members:,} {NAMED[gender]}"
            axes[0].text(-0.03, rows_of.mean(), label, rotation=90, ha="right", va="center", transform=beside[0])
        else:
            axes[1].text(1.02, rows_of[0], NAMED[gender], va="center", fontsize=8, transform=beside[1])
    together = -(-len(people) // MOST_ROWS)
    label = "frames" if together == 1 else f"frames, mean of {together} people"
    _bar(figure, image, axes, label)
    return figure


def _counts(highest: float) -> Any:
    from matplotlib.colors import LogNorm

    return LogNorm(1, max(highest, 2))


def _bar(figure: Figure, image: Any, axes: Sequence[Any], label: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    bar = figure.colorbar(image, ax=axes, label=label, fraction=0.04, pad=0.015)
    bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if image.norm.vmax < 200 else (1,)))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v / 1000:g}k" if v >= 10_000 else f"{v:g}"))
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    bar.outline.set_visible(False)


def coverage_figure(seen: Statistics) -> Figure:
    """Frames by yaw and pitch in cells of 10°, a map a gender, with the frame of `Statistics.coverage`."""
    from matplotlib.patches import Rectangle

    pose = seen.labels.pose.sum(0)
    figure = pose_figure({NAMED[g]: pose[g] for g in range(len(pose)) if pose[g].any()}, _EDGES, _EDGES)
    for place in figure.axes[:-1]:
        corner = (-YAW_REACH, -PITCH_REACH)
        place.add_patch(
            Rectangle(corner, 2 * YAW_REACH, 2 * PITCH_REACH, fill=False, edgecolor=series_colours()[1], linewidth=1.4)
        )
    return figure


def pose_figure(counts: Mapping[str, Any], yaw_edges: Any, pitch_edges: Any) -> Figure:
    """A map of frames for each group.

    Args:
        counts: (yaw bins, pitch bins) of each group.
        yaw_edges, pitch_edges: of the bins, in degrees and evenly spaced.
    """
    columns = len(counts)
    figure, axes = new_figure(columns, width=WIDE / max(columns, 2), height=2.5 if columns < 3 else 2.1)
    highest = max(float(np.max(c)) for c in counts.values())
    used = np.sum([np.asarray(c) for c in counts.values()], axis=0).any(0)
    # shown is at least ±60° of pitch, since most of the sphere of poses is beyond what heads do
    reach = max(60.0, *(np.abs(np.asarray(pitch_edges))[1:-1][used[1:] | used[:-1]].max(initial=0),))
    image: Any = None
    for place, (name, cells) in zip(axes, counts.items(), strict=True):
        image = place.imshow(
            np.ma.masked_equal(np.asarray(cells, np.float64).T, 0), origin="lower", aspect="equal",
            extent=(yaw_edges[0], yaw_edges[-1], pitch_edges[0], pitch_edges[-1]), norm=_counts(highest),
            cmap=heat_colours(), interpolation="none",
        )  # fmt: skip
        place.set(title=f"{name}, {int(np.sum(cells)):,} frames", xlabel="yaw, °", ylim=(-reach, reach))
        place.set(xticks=range(-90, 91, 30 if columns < 3 else 45), yticks=range(-60, 61, 30))
        place.grid(visible=True, axis="both")
    axes[0].set_ylabel("pitch, °")
    _bar(figure, image, axes, "frames")
    return figure


def box_map_figure(seen: Statistics) -> Figure:
    """Shares of the boxes that cover a place of the frame, and that have their centre there, in cells of 1/24."""
    figure, axes = new_figure(2, width=WIDE / 2, height=3.1)
    centres = seen.labels.place.sum((0, 1)).astype(np.float64)
    covered = seen.labels.covered.sum((0, 1)).astype(np.float64)
    total = max(centres.sum(), 1)
    for place, counts, title in zip(axes, (covered, centres), ("within the box", "centre of the box"), strict=True):
        image = place.imshow(
            np.ma.masked_equal(100 * counts / total, 0), extent=(0, 1, 1, 0), aspect="equal", cmap=heat_colours(),
            interpolation="none", vmin=0,
        )  # fmt: skip
        place.set(title=title, xlabel="x, share of the width", xticks=(0, 0.25, 0.5, 0.75, 1))
        place.set(yticks=(0, 0.25, 0.5, 0.75, 1))
        place.grid(visible=True, axis="both")
        bar = figure.colorbar(image, ax=place, label="% of boxes", fraction=0.046, pad=0.02)
        bar.outline.set_visible(False)
    axes[0].set_ylabel("y, share of the height")
    return figure
