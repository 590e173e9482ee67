"""The statistics as plots."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from thermvision.annotations.schema import ATTRIBUTES

from ..plots import COLOURS, new_figure
from .bins import GENDER_NAMES, Histogram
from .collect import COVERED_FROM, PITCH_REACH, YAW_REACH, Statistics
from .labels import CLASSES, POSE_CELL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAMED = {0: "female", 1: "male", 2: "not known"}


def figures(seen: Statistics) -> Iterator[tuple[str, str, Figure]]:
    """Name, caption and figure of everything that is known; within `plots.plot_look`."""
    known = {n for n, h in seen.labels.histograms.items() if h.number.sum()}
    if {"yaw", "pitch", "roll"} <= known:
        yield "pose", "Head pose of all frames, by gender.", _histograms(seen, ("yaw", "pitch", "roll"))
        yield "coverage", _coverage_caption(seen), _coverage(seen)
    if any(seen.labels.classes[n][0, ..., :-1].sum() for n in ("expression", *ATTRIBUTES)):
        yield "classes", "Frames with each expression, items with each attribute, by gender.", _classes(seen)
    if {"eye openness", "mouth openness"} & known:
        names = tuple(n for n in ("eye openness", "mouth openness") if n in known)
        yield "openness", "How far eyes and mouths are open.", _histograms(seen, names)
    if "box width" in known:
        caption = "Face boxes: size, aspect and where their centres lie in the frame."
        yield "boxes", caption, _boxes(seen)
    if seen.pixels is not None and seen.pixels.frames:
        caption = f"Gray levels of {seen.pixels.frames} frames that are spread over the release."
        yield "gray", caption, _gray(seen)
    if seen.temperatures.known:
        yield "temperatures", _temperature_caption(seen), _temperatures(seen)


def _by_gender(axes: Any, histogram: Histogram, trim: bool = True) -> None:
    edges = histogram.measure.edges
    for g in range(len(GENDER_NAMES)):
        counts = histogram.counts[:, g].sum(0)
        if counts.sum():
            axes.stairs(
                counts, edges, color=COLOURS[g], label=_NAMED[g], linewidth=1.4, fill=g == 0, alpha=1 if g else 0.35
            )
    axes.set(title=histogram.measure.name, xlabel=histogram.measure.unit, ylabel="frames")
    filled = np.flatnonzero(histogram.counts.sum((0, 1)))
    if trim and len(filled):
        step = edges[1] - edges[0]
        axes.set_xlim(edges[filled[0]] - step, edges[filled[-1] + 1] + step)
    _thousands(axes.yaxis)


def _thousands(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(5, integer=True))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v / 1000:g}k" if v >= 10_000 else f"{v:g}"))


def _histograms(seen: Statistics, names: tuple[str, ...]) -> Figure:
    figure, axes = new_figure(len(names))
    for place, name in zip(axes, names, strict=True):
        _by_gender(place, seen.labels.histograms[name])
    axes[0].legend()
    return figure


def _coverage_caption(seen: Statistics) -> str:
    coverage = seen.facts()["coverage"]
    parts = [f"{g} {n} of {coverage['pose_cells']}" for g, n in coverage["pose_covered"].items()]
    return (
        f"Frames by yaw and pitch in cells of {POSE_CELL}°. Within ±{YAW_REACH}° and ±{PITCH_REACH}° (the frame) cells"
        f" with {COVERED_FROM} frames or more: {', '.join(parts) or 'none'}."
    )


def _coverage(seen: Statistics) -> Figure:
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Rectangle

    groups = [g for g in range(len(GENDER_NAMES)) if seen.labels.pose[:, g].sum()]
    figure, axes = new_figure(len(groups), width=4.4, height=2.6)
    highest = max(int(seen.labels.pose[:, g].sum(0).max()) for g in groups)
    image: Any = None
    for place, g in zip(axes, groups, strict=True):
        counts = seen.labels.pose[:, g].sum(0).T.astype(np.float64)
        image = place.imshow(
            np.where(counts > 0, counts, np.nan), origin="lower", extent=(-90, 90, -90, 90), aspect="equal",
            norm=LogNorm(1, max(highest, 2)), cmap="viridis",
        )  # fmt: skip
        outline = Rectangle(
            (-YAW_REACH, -PITCH_REACH), 2 * YAW_REACH, 2 * PITCH_REACH, fill=False, edgecolor=COLOURS[1], linewidth=1.4
        )
        place.add_patch(outline)
        place.set(title=_NAMED[g], xlabel="yaw, °", ylabel="pitch, °", ylim=(-60, 60), xticks=range(-90, 91, 30))
        place.grid(False)
    figure.colorbar(image, ax=axes, label="frames", shrink=0.85)
    return figure


def _classes(seen: Statistics) -> Figure:
    names = [n for n in ("expression", *ATTRIBUTES) if seen.labels.classes[n][0, ..., :-1].sum()]
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure, axes = new_figure(columns, rows, height=2.9)
    for place, name in zip(axes, names, strict=False):
        counts = seen.labels.classes[name][0 if name == "expression" else 1].sum(0)
        values = list(CLASSES[name])
        spots, before = np.arange(len(values)), np.zeros(len(values))
        for g in range(len(GENDER_NAMES)):
            if counts[g].sum():
                place.barh(spots, counts[g, :-1], left=before, color=COLOURS[g], label=_NAMED[g])
                before = before + counts[g, :-1]
        place.set_yticks(spots, values)
        place.invert_yaxis()
        place.grid(axis="y", visible=False)
        place.grid(axis="x", visible=True)
        place.set(title=name, xlabel="frames" if name == "expression" else "items")
        _thousands(place.xaxis)
    for place in axes[len(names) :]:
        place.set_visible(False)
    axes[0].legend(loc="lower right")
    return figure


def _boxes(seen: Statistics) -> Figure:
    figure, axes = new_figure(3)
    _by_gender(axes[0], seen.labels.histograms["box side"])
    _by_gender(axes[1], seen.labels.histograms["box aspect"])
    axes[0].legend()
    counts = seen.labels.place.sum((0, 1)).astype(np.float64)
    axes[2].imshow(np.where(counts > 0, counts, np.nan), extent=(0, 1, 1, 0), cmap="viridis", aspect="equal")
    axes[2].set(title="box centre", xlabel="x, share of the frame", ylabel="y")
    axes[2].grid(False)
    return figure


def _gray(seen: Statistics) -> Figure:
    pixels = seen.pixels
    assert pixels is not None
    figure, axes = new_figure(3)
    for region, colour in ((0, 6), (1, 1)):
        counts = pixels.levels[region].sum((0, 1)).astype(np.float64)
        if counts.sum():
            share = counts.reshape(64, 4).sum(1) / counts.sum()
            look: dict[str, Any] = {"color": COLOURS[colour], "label": ("frame", "face box")[region]}
            axes[0].stairs(share, np.arange(0, 257, 4), fill=region == 0, alpha=0.5 if region == 0 else 1, **look)
    axes[0].set(title="gray levels", xlabel="gray level", ylabel="share of pixels")
    axes[0].legend()
    _by_gender(axes[1], pixels.mean)
    if pixels.contrast.number.sum():
        _by_gender(axes[2], pixels.contrast)
        axes[2].legend()
    else:
        axes[2].set_visible(False)
    return figure


def _temperature_caption(seen: Statistics) -> str:
    ambient = seen.temperatures.ambient.summary()
    air = f" Air: {ambient['mean']:.1f} °C on average." if ambient["count"] else ""
    return f"Skin temperature of regions: median, 5 % to 95 %, and extremes.{air}"


def _temperatures(seen: Statistics) -> Figure:
    figure, (axes,) = new_figure(width=8.0, height=3.2)
    names = [n for n, h in seen.temperatures.regions.items() if h.number.sum()]
    for spot, name in enumerate(names):
        histogram = seen.temperatures.regions[name]
        for g, shift in ((0, -0.17), (1, 0.17), (2, 0.0)):
            if not histogram.number[:, g].sum():
                continue
            s = histogram.summary(gender=g)
            axes.vlines(spot + shift, s["least"], s["greatest"], color=COLOURS[g], linewidth=0.8)
            axes.vlines(spot + shift, s["5 %"], s["95 %"], color=COLOURS[g], linewidth=5, alpha=0.5)
            axes.plot(
                spot + shift, s["50 %"], "o", color=COLOURS[g], markersize=4, label=_NAMED[g] if not spot else None
            )
    axes.set_xticks(range(len(names)), [n.replace("_", "\n") for n in names])
    axes.set(title="skin temperature", ylabel="°C")
    axes.legend(ncols=3, loc="lower left")
    return figure
