"""The statistics as plots."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from thermvision.annotations.schema import ATTRIBUTES

from ..differences.growth import growth_figure
from ..plots import WIDE, legend_above, new_figure, series_colours, thousands
from .bins import GENDER_NAMES, Histogram
from .collect import COVERED_FROM, PITCH_REACH, YAW_REACH, Statistics
from .labels import CLASSES, POSE_CELL
from .maps import NAMED, box_map_figure, coverage_figure, identities_figure
from .spectrum import EDGES, NATURAL_SLOPE, REAL_PORTRAITS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BESIDE = 0.6  # of a bar, between groups of bars


def plots(seen: Statistics) -> dict[str, tuple[str, Callable[[], Figure]]]:
    """For each plot of what is known, by name: its caption, and what draws it within `plots.plot_look`.

    caption, draw = plots(statistics(release))["classes"]
    with plot_look(dark=True):
        svg = svg_text(draw())
    """
    known = {n for n, h in seen.labels.histograms.items() if h.number.sum()}
    found: dict[str, tuple[str, Callable[[Statistics], Figure]]] = {}
    if {"yaw", "pitch", "roll"} <= known:
        found["pose"] = ("Head pose of all frames, by gender.", partial(_histograms, names=("yaw", "pitch", "roll")))
        found["coverage"] = (_coverage_caption(seen), coverage_figure)
        found["identities"] = ("Frames of each identity by yaw and by pitch; empty: none.", identities_figure)
    if any(seen.labels.classes[n][0, ..., :-1].sum() for n in ("expression", *ATTRIBUTES)):
        caption = "Frames with each expression, items with each attribute, by gender; counts at the end of bars."
        found["classes"] = (caption, classes_figure)
    if {"eye openness", "mouth openness"} & known:
        names = tuple(n for n in ("eye openness", "mouth openness") if n in known)
        found["openness"] = ("How far eyes and mouths are open.", partial(_histograms, names=names))
    if "box width" in known:
        found["boxes"] = ("Face boxes: size and aspect.", partial(_histograms, names=("box side", "box aspect")))
        found["box_map"] = ("Where faces lie in the frame: their boxes, and the centres of those.", box_map_figure)
    if seen.pixels is not None and seen.pixels.frames:
        caption = f"Gray levels of {seen.pixels.frames} frames that are spread over the release."
        found["gray"] = (caption, _gray)
        if any(seen.pixels.powers.values()):
            found["spectrum"] = (spectrum_caption(seen.pixels.spectra()), _spectrum)
    if seen.temperatures.known:
        found["temperatures"] = (_temperature_caption(seen), temperatures_figure)
    drawn: dict[str, tuple[str, Callable[[], Figure]]] = {}
    for name, (caption, draw) in found.items():
        drawn[name] = caption, partial(draw, seen)
    if len(seen.versions) > 1:
        caption = "What the release holds by the version that wrote it; gray: of the versions before."
        drawn["growth"] = (caption, partial(growth_figure, seen.versions))
    return drawn


def _by_gender(axes: Any, histogram: Histogram, trim: bool = True) -> None:
    edges = histogram.measure.edges
    colours = series_colours()
    for g in range(len(GENDER_NAMES)):
        counts = histogram.counts[:, g].sum(0)
        if counts.sum():
            look: dict[str, Any] = {"alpha": 1} if g else {"alpha": 0.35, "fill": True}
            axes.stairs(counts, edges, color=colours[g], label=NAMED[g], linewidth=1.4, **look)
    name, unit = histogram.measure.name, histogram.measure.unit
    axes.set(title=name, xlabel=f"{name}, °" if unit == "°" else unit, ylabel="frames")
    filled = np.flatnonzero(histogram.counts.sum((0, 1)))
    if trim and len(filled):
        step = edges[1] - edges[0]
        axes.set_xlim(edges[filled[0]] - step, edges[filled[-1] + 1] + step)
    thousands(axes.yaxis)


def _histograms(seen: Statistics, names: tuple[str, ...]) -> Figure:
    columns = max(len(names), 2)
    figure, axes = new_figure(columns, width=WIDE / columns, height=2.5)
    for place, name in zip(axes, names, strict=False):
        _by_gender(place, seen.labels.histograms[name])
    for place in axes[1:]:
        place.set_ylabel("")
    for place in axes[len(names) :]:
        place.set_visible(False)
    legend_above(figure, axes)
    return figure


def _coverage_caption(seen: Statistics) -> str:
    coverage = seen.facts()["coverage"]
    parts = [f"{g} {n} of {coverage['pose_cells']}" for g, n in coverage["pose_covered"].items()]
    return (
        f"Frames by yaw and pitch in cells of {POSE_CELL}°. Within ±{YAW_REACH}° and ±{PITCH_REACH}° (the frame) cells"
        f" with {COVERED_FROM} frames or more: {', '.join(parts) or 'none'}."
    )


def classes_figure(seen: Statistics) -> Figure:
    """Shares of each expression among frames and of each attribute's values among items, stacked by gender."""
    names = [n for n in ("expression", *ATTRIBUTES) if seen.labels.classes[n][0, ..., :-1].sum()]
    lengths = [len(CLASSES[n]) + 1 for n in names]
    # two columns of about the same length
    first = min(range(1, len(names) + 1), key=lambda k: max(sum(lengths[:k]), sum(lengths[k:])))
    parts = [part for part in (names[:first], names[first:]) if part]
    rows = max(sum(len(CLASSES[n]) + 1 + _BESIDE for n in part) for part in parts)
    figure, axes = new_figure(2, width=WIDE / 2, height=0.8 + 0.185 * rows)
    for place, part in zip(axes, parts, strict=False):
        _class_bars(place, seen, part)
        place.set_ylim(rows - _BESIDE, -0.8)
    for place in axes[len(parts) :]:
        place.set_visible(False)
    legend_above(figure, axes[: len(parts)])
    return figure


def _class_bars(axes: Any, seen: Statistics, names: list[str]) -> None:
    spots: list[float] = []
    labels: list[str] = []
    start = 0.0
    for name in names:
        counts = seen.labels.classes[name][0 if name == "expression" else 1].sum(0)[:, :-1]
        total = max(int(counts.sum()), 1)
        own = start + 1 + np.arange(counts.shape[1])
        before = np.zeros(len(own))
        for g in range(len(GENDER_NAMES)):
            if counts[g].sum():
                share = 100 * counts[g] / total
                axes.barh(own, share, 0.74, left=before, color=series_colours()[g], label=NAMED[g])
                before = before + share
        for spot, end, count in zip(own, before, counts.sum(0), strict=True):
            axes.text(end + 1, spot, f"{int(count):,}", va="center", fontsize=8)
        kind = "frames" if name == "expression" else "items"
        axes.text(0, start, f"{name}, {total:,} {kind}", va="center", fontweight="bold")
        spots += own.tolist()
        labels += CLASSES[name]
        start = float(own[-1]) + 1 + _BESIDE
    axes.set_yticks(spots, labels)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    axes.set(xlim=(0, 118), xticks=range(0, 101, 25), xlabel="% of frames or items")


def _gray(seen: Statistics) -> Figure:
    pixels = seen.pixels
    assert pixels is not None
    figure, axes = new_figure(3, width=WIDE / 3, height=2.5)
    for region, colour in ((0, 6), (1, 2)):
        counts = pixels.levels[region].sum((0, 1)).astype(np.float64)
        if counts.sum():
            share = 100 * counts.reshape(64, 4).sum(1) / counts.sum()
            look: dict[str, Any] = {"color": series_colours()[colour], "label": ("frame", "face box")[region]}
            axes[0].stairs(share, np.arange(0, 257, 4), fill=region == 0, alpha=0.5 if region == 0 else 1, **look)
    axes[0].set(title="gray levels", xlabel="gray level", ylabel="% of pixels", xticks=range(0, 257, 64))
    axes[0].set_ylim(0, 1.4 * axes[0].get_ylim()[1])  # room for the legend
    axes[0].legend(loc="upper left")
    for place, histogram in zip(axes[1:], (pixels.mean, pixels.contrast), strict=True):
        if histogram.number.sum():
            _by_gender(place, histogram)
            place.set_xlabel("gray levels" if histogram is pixels.mean else "gray levels, 5 to 95 %")
        else:
            place.set_visible(False)
    axes[2].set_ylabel("")
    legend_above(figure, axes[1:2])
    return figure


def _spectrum(seen: Statistics) -> Figure:
    assert seen.pixels is not None
    return spectrum_figure(seen.pixels.spectra())


def spectrum_caption(rows: Sequence[Mapping[str, Any]]) -> str:
    """What `spectrum_figure` shows of ``rows``."""
    parts = [f"{number} {kind}" for kind, number in {row["kind"]: row["frames"] for row in rows}.items()]
    return (
        f"Radial power spectrum of {' and '.join(parts)}, a frame each: median, and 5 % to 95 %. Beside it the mean of"
        " two real portraits (SpeakingFaces, TFW), and the fall of natural scenes (Field 1987)."
    )


def spectrum_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Power of stills and of clips in six bands, beside two real portraits and the slope of natural scenes.

    figure = spectrum_figure(json.loads(report)["spectra"])

    Args:
        rows: those of `Pixels.spectra`.
    """
    figure, (axes,) = new_figure(width=WIDE, height=3.3)
    middle = np.sqrt(EDGES[:-1] * EDGES[1:])
    for number, kind in enumerate(("stills", "clips")):
        own = [row for row in rows if row["kind"] == kind]
        if own:
            low, median, high = ([row[q] for row in own] for q in ("5 %", "50 %", "95 %"))
            axes.fill_between(middle, low, high, color=series_colours()[number], alpha=0.2, linewidth=0)
            label = f"{kind}, {own[0]['frames']} frames"
            axes.plot(middle, median, "os"[number] + "-", color=series_colours()[number], markersize=4, label=label)
    ink = axes.xaxis.label.get_color()
    axes.plot(middle, REAL_PORTRAITS, "D--", color=ink, markersize=4, linewidth=1.2, label="two real portraits")
    natural = REAL_PORTRAITS[0] + NATURAL_SLOPE * np.log10(middle / middle[0])
    axes.plot(middle, natural, ":", color=series_colours()[6], linewidth=1.4, label="natural scenes, 1 / frequency²")
    axes.set_xscale("log")
    axes.set_xticks(middle, [f"{a:.0f}–{b:.0f}" for a, b in itertools.pairwise(EDGES)])
    axes.set_xticks([], minor=True)
    axes.set(title="power spectrum", xlabel="spatial frequency, cycles a picture", ylabel="power, log10")
    axes.legend(loc="lower left")
    return figure


def _temperature_caption(seen: Statistics) -> str:
    ambient = seen.temperatures.ambient.summary()
    air = f" Air: {ambient['mean']:.1f} °C on average." if ambient["count"] else ""
    return f"Skin temperature of regions: median, 5 % to 95 %, and extremes.{air}"


def temperatures_figure(seen: Statistics) -> Figure:
    """°C of each region of the face that is known: median, 5 % to 95 % and extremes, by gender."""
    figure, (axes,) = new_figure(width=WIDE, height=3.1)
    names = [n for n, h in seen.temperatures.regions.items() if h.number.sum()]
    told: set[int] = set()
    for spot, name in enumerate(names):
        histogram = seen.temperatures.regions[name]
        for g, shift in ((0, -0.17), (1, 0.17), (2, 0.0)):
            if not histogram.number[:, g].sum():
                continue
            s = histogram.summary(gender=g)
            axes.vlines(spot + shift, s["least"], s["greatest"], color=series_colours()[g], linewidth=0.8)
            axes.vlines(spot + shift, s["5 %"], s["95 %"], color=series_colours()[g], linewidth=5, alpha=0.5)
            label = None if g in told else NAMED[g]
            axes.plot(spot + shift, s["50 %"], "o", color=series_colours()[g], markersize=4, label=label)
            told.add(g)
    axes.set_xticks(range(len(names)), [n.replace("_", "\n") for n in names])
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set(title="skin temperature", ylabel="°C")
    axes.legend(ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    return figure
