"""Following the face of a clip from its first true box on, in one pass: overlap, lost frames, whose face it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from thermvision.annotations.boxes import iou_matrix
from thermvision.annotations.conventions import five_points
from thermvision.annotations.errors import DamagedInputError
from thermvision.annotations.faces import Detections
from thermvision.annotations.pipeline import main_face, usable

from ..evaluation.evaluate import with_progress
from ..evaluation.measures import Options, TaskResult, mean_measure
from ..evaluation.models import Models, readable
from ..inputs import Item, open_input

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
THRESHOLDS = np.linspace(0, 1, 21)
EVERY = 8  # frames between two looks at who it is


@dataclass
class Tracked:
    """One clip: overlap (N,) with the truth (0 when lost), that of the still first box, and vectors of the faces."""

    subject: str
    overlap: Floats
    still: Floats
    faces: list[NDArray[np.float32] | None]


def score(root: Path, table: pd.DataFrame, models: Models, options: Options, quiet: bool) -> TaskResult:
    """Success AUC, precision of the overlap, lost frames, and whether the face is still the first frame's.

    In each frame the detection that overlaps the last box most is taken (see `pipeline.main_face`), starting from the
    true box of the first frame (one-pass evaluation; Y. Wu, J. Lim, M.-H. Yang, "Online Object Tracking: A Benchmark",
    CVPR 2013). The baseline leaves that box where it is. Frames without a true face do not count.
    """
    result = TaskResult()
    with readable(root):
        tracked = list(with_progress(_clips(root, table, models, options.score), len(table), quiet))
    groups = [clip.subject for clip in tracked for _ in clip.overlap]
    overlap = np.concatenate([clip.overlap for clip in tracked])
    still = np.concatenate([clip.still for clip in tracked])
    auc, auc_still = (success(v).mean(1) for v in (overlap, still))
    result.measures.append(mean_measure("success AUC", auc, auc_still, groups, options))
    on, on_still = ((v >= 0.5).astype(float) for v in (overlap, still))
    result.measures.append(mean_measure("frames at IoU 0.5", on, on_still, groups, options))
    lost, lost_still = ((v <= 0).astype(float) for v in (overlap, still))
    result.measures.append(mean_measure("frames lost", lost, lost_still, groups, options, higher_is_better=False))
    whole = np.array([float((clip.overlap >= 0.5).all()) for clip in tracked])
    whole_still = np.array([float((clip.still >= 0.5).all()) for clip in tracked])
    people = [clip.subject for clip in tracked]
    result.measures.append(mean_measure("clips never below IoU 0.5", whole, whole_still, people, options))
    kept, chance, owners = kept_identities(tracked)
    if owners:
        result.measures.append(mean_measure("identity stays", kept, chance, owners, options))
    curve = {"threshold": THRESHOLDS.round(2).tolist()}
    curve |= {n: success(v).mean(0).round(6).tolist() for n, v in (("success", overlap), ("still_box", still))}
    result.curves["success"] = curve
    result.notes.append(f"{len(tracked)} clips of {len(set(people))} people, {len(overlap)} frames")
    return result


def success(overlap: Floats) -> Floats:
    """Whether (N, 21) an overlap is above each of `THRESHOLDS`; the mean is the success curve, its mean the AUC.

    >>> success(np.array([1.0, 0.0])).mean(1).round(3).tolist()
    [0.952, 0.0]
    """
    return (np.asarray(overlap)[:, None] > THRESHOLDS).astype(np.float64)


def kept_identities(tracked: list[Tracked]) -> tuple[Floats, Floats, list[str]]:
    """Whether each later face that was looked at is nearest to the first one of its own clip, among one of each person.

    Returns hits, chance (1 / people), and the subject of each. A lost face is a miss.
    """
    first: dict[str, NDArray[np.float32]] = {}
    for clip in tracked:
        if clip.faces and clip.faces[0] is not None:
            first.setdefault(clip.subject, clip.faces[0])
    hits, owners = [], []
    for clip in tracked:
        start = clip.faces[0] if clip.faces else None
        if start is None or len(first) < 2:
            continue
        others = np.array([v for s, v in first.items() if s != clip.subject])
        for face in clip.faces[1:]:
            hits.append(float(face is not None and float(face @ start) > float((others @ face).max())))
            owners.append(clip.subject)
    return np.array(hits), np.full(len(hits), 1 / max(len(first), 1)), owners


def _clips(root: Path, table: pd.DataFrame, models: Models, lowest: float) -> Iterator[Tracked]:
    wanted = {item: int(n) for item, n in zip(table["item_id"], table["frames"], strict=True)}
    done = set()
    for chunk in open_input(str(root), config="video").chunks:
        if wanted.keys().isdisjoint(chunk.item_ids):
            continue
        for item in chunk.read():
            if item.item_id in wanted:
                try:
                    yield _track(item, wanted[item.item_id], models, lowest)
                except DamagedInputError as error:
                    raise DamagedInputError(f"{item.item_id}: {error}") from error
                done.add(item.item_id)
    if missing := sorted(wanted.keys() - done):
        raise DamagedInputError(f"the list of tracking names {missing[0]}, which {root} does not hold; write it anew")


def _track(item: Item, count: int, models: Models, lowest: float) -> Tracked:
    row = item.row or {}
    truth = np.array(row["bbox"][:count], np.float64).reshape(-1, 4)
    known: NDArray[np.bool_] = np.all(np.isfinite(truth), axis=1)
    start = truth[known.argmax()] if known.any() else np.full(4, np.nan)
    last: Any = start.astype(np.float32)
    overlap, faces = np.zeros(len(truth)), []
    for n, gray in enumerate(islice(item.read(), len(truth))):
        found = usable(models.detector.detect([gray])[0], gray)
        found = found.take(found.scores >= lowest)
        main = main_face(found, last)
        if main is not None:
            last = found.bboxes[main]
            overlap[n] = iou_matrix(truth[n], last)[0, 0] if known[n] else 0.0
        if n % EVERY == 0 and models.embedder is not None and known[n]:
            faces.append(None if main is None else _vector(models, gray, found.take(np.array([main]))))
    still = iou_matrix(truth, start)[:, 0]
    return Tracked(str(row.get("subject_id")), overlap[known], still[known], faces)


def _vector(models: Models, gray: NDArray[np.uint8], face: Detections) -> NDArray[np.float32] | None:
    """The embedding of one detected face, by its landmarks where there is a landmarker; None where it has no points."""
    shape = models.landmarker.locate(gray, face)[0] if models.landmarker is not None else None
    points = face.keypoints[0] if shape is None else five_points(shape.landmarks)
    if models.embedder is None or not np.isfinite(points).all():
        return None
    return np.asarray(models.embedder.embed(gray, np.asarray(points, np.float32)[None])[0], np.float32)
