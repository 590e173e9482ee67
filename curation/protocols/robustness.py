"""Scores against what was around the face: pose, distance, ambient temperature, sensor, its noise, and the air."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations import landmark_metrics
from thermvision.annotations.bootstrap import group_numbers
from thermvision.annotations.boxes import iou_matrix
from thermvision.annotations.detection_metrics import IOU

from ..evaluation.by_pose import POSE_EDGES, bins_of, curve
from ..evaluation.frames import evenly_spread
from ..evaluation.measures import Options, Pair, TaskResult, known_mean, mean_measure, out_of_fold, stacked
from ..plots import new_figure, save_looks, series_colours

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
FAR = 0.01
MOST_COMPARED = 3_000  # frames that are all compared with each other
# lower ends of bins; the last one is open. Distances are those of the published set-up and beyond
EDGES: dict[str, tuple[float, ...]] = {
    **POSE_EDGES,
    "distance": (0, 0.75, 1, 1.5, 2, 2.5, 3.5),
    "ambient": (-40, 5, 10, 15, 20, 25, 30),
    "netd": (0, 30, 45, 55, 70, 90),
    "transmission": (0, 0.2, 0.4, 0.6, 0.8, 0.999),
}
LABELS = {
    "yaw": "|yaw|, °", "pitch": "pitch, °", "distance": "distance, m", "ambient": "ambient, °C", "netd": "NETD, mK",
    "transmission": "transmission", "sensor": "sensor",
}  # fmt: skip
SCORES = {
    "recall": "recall",
    "nme": "NME, box",
    "pose": "pose MAE, °",
    "tar": f"TAR at FAR {FAR:g}",
}
_ERRORS = ("nme", "pose")  # drawn on a logarithmic axis


def score(
    table: pd.DataFrame,
    pairs: Sequence[Pair],
    vectors: Mapping[str, Mapping[str, NDArray[np.float32]]],
    options: Options,
) -> TaskResult:
    """Recall, NME, pose error and true accept rate, of all frames and of each bin of each variable that is known.

    NME and pose are of the faces that were found. The threshold of the accept rate is that of FAR .01 over all impostor
    pairs; a frame's rate is the part of its genuine pairs (any other item of the person) above it, 0 without a face.
    Baselines, each from other people of this list: a constant box, the mean shape in the box that was found, the median
    pose, and pixels compared.

    ``curves[variable]`` has ``bins``, ``count``, and for each score its ``value``, ``interval`` and ``baseline``.
    """
    result = TaskResult()
    by_frame = {p.frame.key: p for p in pairs if p.truth.subject is not None}
    rows = [by_frame.get(key) for key in table["frame"]]
    people = table["subject_id"].tolist()
    values, trivial = _values(rows, people)
    for answers, name in ((values, "face"), (trivial, "pixels")):
        answers["tar"] = accept_rates(table["frame"].tolist(), people, vectors[name])
    directions = {"recall": True, "nme": False, "pose": False, "tar": True}
    for name, label in SCORES.items():
        unit = "°" if name == "pose" else ""
        more: dict[str, Any] = {"higher_is_better": directions[name], "unit": unit}
        if np.isfinite(values[name]).any():
            result.measures.append(
                mean_measure(label.removesuffix(", °"), values[name], trivial[name], people, options, **more)
            )
    for variable in LABELS:
        bins, member = _bins(variable, table[variable])
        if not bins:
            result.notes.append(f"{variable}: this release does not say it")
            continue
        result.curves[variable] = curve(bins, member, values, trivial, people, options)
    return result


def _values(rows: Sequence[Pair | None], people: Sequence[str]) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Recall, NME and pose error (N,) of the answers, and of the baselines."""
    truth = [None if p is None else p.truth for p in rows]
    found = [None if p is None else p.found for p in rows]
    points, points_found = (stacked([None if f is None else f.landmarks for f in fs], (68, 2)) for fs in (truth, found))
    boxes = stacked([None if f is None else f.bbox for f in truth], (4,))
    poses, poses_found = (stacked([None if f is None else f.pose for f in fs], (3,)) for fs in (truth, found))
    boxes_found = stacked([None if f is None else f.bbox for f in found], (4,))
    given: NDArray[np.bool_] = np.all(np.isfinite(boxes_found), axis=1)
    recall = np.array([np.nan if p is None else float(p.found is not None) for p in rows])
    length = landmark_metrics.box_length(boxes)

    def others(values: Floats, answer: Callable[[Floats], Floats] = known_mean) -> Floats:
        return out_of_fold(answer, values, people, people)

    sizes = stacked([None if p is None else (p.frame.width, p.frame.height) * 2 for p in rows], (4,))
    shape = others((points - boxes[:, None, :2]) / boxes[:, None, 2:])
    placed = boxes_found[:, None, :2] + shape * boxes_found[:, None, 2:]
    held = others(boxes / sizes) * sizes
    overlap = np.array([iou_matrix(a, b)[0, 0] if np.isfinite([a, b]).all() else np.nan
                        for a, b in zip(boxes, held, strict=True)])  # fmt: skip
    median = others(poses, _known_median)

    def errors(shapes: Floats, angles: Floats) -> dict[str, Floats]:
        apart = landmark_metrics.point_errors(shapes, points)
        turned = landmark_metrics.angle_errors(angles, poses).mean(1)
        return {"nme": landmark_metrics.normalised_mean_error(apart, length), "pose": turned}

    ours = errors(points_found, poses_found)
    theirs = errors(placed, np.where(given[:, None], median, np.nan))
    # without other people there is no constant box, and it has not missed either
    hit = np.where(np.isfinite(recall) & np.isfinite(overlap), (overlap >= IOU).astype(float), np.nan)
    return {"recall": recall, **ours}, {"recall": hit, **theirs}


def _known_median(poses: Floats) -> Floats:
    known = poses[np.isfinite(poses).all(1)]
    return np.asarray(np.median(known, axis=0)) if len(known) else np.full(3, np.nan)


def accept_rates(frames: Sequence[str], people: Sequence[str], vectors: Mapping[str, NDArray[np.float32]]) -> Floats:
    """The part (N,) of each frame's genuine pairs that is accepted at FAR .01; NaN without such a pair.

    Pairs are of different items. Of more than `MOST_COMPARED` frames, evenly spread ones are compared.
    """
    rates = np.full(len(frames), np.nan)
    chosen = evenly_spread(len(frames), MOST_COMPARED)
    width = next((len(v) for v in vectors.values()), 1)
    embedded = stacked([vectors.get(frames[i]) for i in chosen], (width,))
    present: NDArray[np.bool_] = np.all(np.isfinite(embedded), axis=1)
    similarity = np.nan_to_num(embedded) @ np.nan_to_num(embedded).T
    both = present[:, None] & present[None]
    who = group_numbers([people[i] for i in chosen])
    what = group_numbers([frames[i].rpartition("/frame_")[0] or frames[i] for i in chosen])
    same, apart = who[:, None] == who[None], what[:, None] != what[None]
    impostors = similarity[~same & both & np.tri(len(who), k=-1, dtype=bool)]
    if not len(impostors):
        return rates
    # the lowest threshold that at most the part FAR of the impostors exceeds
    threshold = float(np.quantile(impostors, 1 - FAR, method="higher"))
    genuine = same & apart
    count, accepted = genuine.sum(1), (genuine & both & (similarity > threshold)).sum(1)
    rates[chosen] = np.divide(accepted, count, out=np.full(len(who), np.nan), where=count > 0)
    return rates


def _bins(variable: str, column: pd.Series[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Names of the bins that a list has, and the bin of each frame, -1 where nobody knows."""
    if variable == "sensor":
        names = sorted(set(column) - {""})
        return names, np.array([names.index(v) if v else -1 for v in column], np.int64)
    numbers = np.array([float(v) if v else np.nan for v in column])
    numbers = np.abs(numbers) if variable == "yaw" else numbers
    return bins_of(numbers, EDGES[variable], variable in ("pitch", "ambient"))


def plot(curves: Mapping[str, Any], path: Path) -> list[Path]:
    """Draw the curves of `score`, one row a score and one column a variable, SVG and PNG, light and dark; returns all.

    Bands are 95 % intervals, dashed lines the trivial baselines. What has fewer than two bins with a value is no curve.

    Raises:
        OutputError: no room or no permission.
    """
    variables = [v for v in LABELS if v in curves and len(_told(curves[v])) > 1]
    scores = [s for s in SCORES if any(v is not None for name in variables for v in curves[name][s]["value"])]
    if not variables or not scores:
        return []
    return save_looks(lambda: _figure(curves, variables, scores), path)


def _figure(curves: Mapping[str, Any], variables: Sequence[str], scores: Sequence[str]) -> Figure:
    figure, axes = new_figure(len(variables), len(scores), width=2.1, height=1.5)
    for place, axis in enumerate(axes):
        row, column = divmod(place, len(variables))
        name, last = variables[column], row == len(scores) - 1
        _draw(axis, curves[name], scores[row], series_colours()[row], name == "sensor", last)
        if column == 0:
            axis.set_ylabel(SCORES[scores[row]])
        if last:
            axis.set_xlabel(LABELS[name])
    for row, name in enumerate(scores):
        in_row = axes[row * len(variables) : (row + 1) * len(variables)]
        if name in _ERRORS:
            for axis in in_row:
                _in_decades(axis)
        ends = [end for axis in in_row if axis.lines for end in axis.get_ylim()]
        for axis in in_row:
            axis.set_ylim((min(ends), max(ends)) if name in _ERRORS else (-0.03, 1.05))
    figure.align_xlabels(axes)
    figure.align_ylabels(axes)
    title = "Mean and 95 % interval over people; gray: trivial baseline"
    figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    return figure


def _told(curve: Mapping[str, Any]) -> list[int]:
    """The bins of which any score says something."""
    return [n for n in range(len(curve["bins"])) if any(curve[s]["value"][n] is not None for s in SCORES)]


def _in_decades(axis: Any) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())


def _draw(axis: Any, curve: Mapping[str, Any], name: str, colour: str, apart: bool, named: bool) -> None:
    """One curve; the bins of a variable without an order stand ``apart``; ``named`` under the lowest row."""
    told = _told(curve)
    axis.set_xticks(range(len(told)), [curve["bins"][n] if named else "" for n in told])
    axis.tick_params(axis="x", rotation=90, labelsize=7)
    axis.set_xlim(-0.4, len(told) - 0.6)
    places = [k for k, n in enumerate(told) if curve[name]["value"][n] is not None]
    at = [told[k] for k in places]
    if not at:
        return
    values = [curve[name]["value"][n] for n in at]
    ends = [curve[name]["interval"][n] or (v, v) for n, v in zip(at, values, strict=True)]
    held = [np.nan if (v := curve[name]["baseline"][n]) is None else v for n in at]
    low, high = [e[0] for e in ends], [e[1] for e in ends]
    if apart:
        axis.vlines(places, low, high, color=colour, linewidth=1.5)
        axis.plot(places, values, color=colour, marker="o", markersize=4, linestyle="")
        axis.plot(places, held, color=series_colours()[-1], marker="_", markersize=8, linestyle="")
    else:
        axis.plot(places, values, color=colour, marker="o", markersize=3)
        axis.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0)
        axis.plot(places, held, color=series_colours()[-1], linestyle="--", linewidth=1)
