"""The scores of each task, each with its interval, the score of a trivial baseline, and how many it is made of.

Definitions are in ``docs/evaluation.md``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thermvision.annotations import class_metrics, detection_metrics, landmark_metrics, verification_metrics
from thermvision.annotations.bootstrap import Statistic
from thermvision.annotations.conventions import GROUPS, five_points
from thermvision.annotations.detection_metrics import ImageBoxes

from .by_pose import landmark_curves
from .frames import LABELS, KnownFace, KnownFrame, evenly_spread
from .measures import (
    Measure,
    Options,
    Pair,
    TaskResult,
    as_number,
    known_mean,
    mean_measure,
    out_of_fold,
    stacked,
)

Floats = NDArray[np.float64]
TASKS = ("detection", "landmarks", "pose", "verification", "attributes")
FAILURE = {"interocular": 0.08, "box": 0.07}  # NME thresholds; sources in docs/evaluation.md
FRONTAL = 30.0  # degrees of yaw, either way
FALSE_ACCEPT_RATES = (0.01, 0.001)
_PER_SESSION = 4  # frames of one person and recording that verification takes
_IMPOSTORS = 50_000  # impostor pairs drawn for an interval
ATTRIBUTES = ("gender", "expression", "glasses", "mask", "beard", "headwear")


def _relative(points: Floats, boxes: Floats) -> Floats:
    corner, size = boxes[:, None, :2], boxes[:, None, 2:]
    relative: Floats = (points - corner) / size
    return relative


# detection


def _relative_boxes(frames: Sequence[KnownFrame], min_face: float) -> tuple[Floats, list[str]]:
    boxes, groups = [], []
    for frame in frames:
        if frame.width and frame.height:
            kept = frame.boxes[~frame.set_aside(min_face)]
            boxes.append(kept / np.array([frame.width, frame.height] * 2))
            groups += [frame.group] * len(kept)
    return np.concatenate(boxes) if boxes else np.zeros((0, 4)), groups


def score_detection(
    truth: Sequence[KnownFrame], found: dict[str, KnownFrame], reference: Sequence[KnownFrame], options: Options
) -> TaskResult:
    """AP, recall and false positives; the baseline answers every image with one constant box."""
    nothing = KnownFrame("", ())

    def scores(frame: KnownFrame) -> list[float]:
        return [f.score for f in frame.faces]

    answers = [found.get(frame.key, nothing) for frame in truth]
    images = [
        ImageBoxes(t.boxes, f.boxes, np.array(scores(f)), t.set_aside(0)) for t, f in zip(truth, answers, strict=True)
    ]
    groups = [frame.group for frame in truth]
    values, of_value = _relative_boxes(truth, options.min_face)
    constant = out_of_fold(known_mean, values, of_value, groups, _relative_boxes(reference, options.min_face)[0])
    trivial = []
    for frame, box in zip(truth, constant, strict=True):
        placed = box[None] * np.array([frame.width or np.nan, frame.height or np.nan] * 2)
        placed = placed[np.isfinite(placed).all(1)]
        trivial.append(ImageBoxes(frame.boxes, placed, np.ones(len(placed)), frame.set_aside(0)))

    result = TaskResult()
    matched = [detection_metrics.match_at(i, detection_metrics.COCO_IOUS, options.min_face) for i in (images, trivial)]
    at_iou = [detection_metrics.match_images(i, options.iou, options.min_face) for i in (images, trivial)]
    ours, theirs = at_iou
    faces = int(ours.faces.sum())
    cost = max(len(ours.scores), 1)

    def measure(name: str, statistic: Statistic, baseline: Any, **more: Any) -> None:
        interval = options.bootstrap.interval(statistic, groups, cost)
        value = more.pop("value", None)
        every = statistic(np.ones((1, len(truth)))) if value is None else value
        result.measures.append(
            Measure(name, as_number(every), interval, as_number(baseline), **{"count": faces, **more})
        )

    ap50, ap = detection_metrics.coco_average_precision(images, options.min_face)
    first, second = matched
    measure(
        "AP50",
        lambda w: detection_metrics.average_precision(first[0], w),
        detection_metrics.average_precision(second[0]),
        value=ap50,
    )
    measure(
        "AP",
        lambda w: detection_metrics.mean_average_precision(first, w),
        detection_metrics.mean_average_precision(second),
        value=ap,
    )
    score = options.score
    measure(
        f"recall, score {score:g}",
        lambda w: detection_metrics.recall_at(ours, score, w),
        detection_metrics.recall_at(theirs, score),
    )
    measure(
        f"false positives, score {score:g}",
        lambda w: detection_metrics.false_positives_at(ours, score, w),
        detection_metrics.false_positives_at(theirs, score),
        count=len(images),
        unit="count",
        higher_is_better=False,
    )
    for limit in options.false_positives:
        measure(
            f"recall, {limit} false positives",
            lambda w, k=limit: detection_metrics.recall_at_false_positives(ours, k, w),  # type: ignore[misc]
            detection_metrics.recall_at_false_positives(theirs, limit),
        )
    result.curves["recall"] = detection_metrics.recall_curve(ours)
    if not faces:
        result.notes.append("no face counts in these images: recall and AP are not defined")
    if len(values) and np.isnan(constant).all():
        result.notes.append("one group of images and no training split: there is no constant box to compare with")
    return result


def _mean_adder(result: TaskResult, groups: Sequence[str], options: Options) -> Callable[..., None]:
    """Adds the mean of a value of each face to ``result``, of the faces in ``keep``; nothing where no face has one."""

    def add(name: str, value: Floats, baseline: Floats, keep: NDArray[np.bool_] | None = None, **more: Any) -> None:
        chosen = np.ones(len(groups), bool) if keep is None else keep
        members = [g for g, k in zip(groups, chosen, strict=True) if k]
        if members:
            result.measures.append(mean_measure(name, value[chosen], baseline[chosen], members, options, **more))

    return add


def score_landmarks(pairs: Sequence[Pair], reference: Sequence[KnownFrame], options: Options) -> TaskResult:
    """NME, failure rate and CED of 68 and of five points; the baseline puts the mean shape into the found box."""
    result = TaskResult()
    _sixty_eight(result, [p for p in pairs if p.truth.landmarks is not None], reference, options)
    _five(result, [p for p in pairs if five_of(p.truth) is not None], reference, options)
    return result


def _shapes(truth: Floats, pairs: Sequence[Pair], known: Sequence[tuple[Any, KnownFace]]) -> tuple[Floats, Floats]:
    """The mean shape of other people, in the boxes that were found and in the true ones."""
    shape = truth.shape[1:]
    boxes = stacked([p.truth.bbox for p in pairs], (4,))
    used = stacked([p.found.bbox if p.found else None for p in pairs], (4,))
    learnt = _relative(stacked([k for k, _ in known], shape), stacked([f.bbox for _, f in known], (4,)))
    groups = [p.group for p in pairs]
    mean = out_of_fold(known_mean, _relative(truth, boxes), groups, groups, learnt)
    in_found, in_truth = (b[:, None, :2] + mean * b[:, None, 2:] for b in (used, boxes))
    return in_found, in_truth


def _sixty_eight(result: TaskResult, pairs: Sequence[Pair], reference: Sequence[KnownFrame], options: Options) -> None:
    if not pairs:
        return
    truth = stacked([p.truth.landmarks for p in pairs], (68, 2))
    found = stacked([p.found.landmarks if p.found else None for p in pairs], (68, 2))
    everything = np.full(68, 255, np.uint8)  # a face without states: all its points count
    states = np.array([everything if p.truth.states is None else p.truth.states for p in pairs]).reshape(-1, 68)
    counted = landmark_metrics.counted_points(truth, states, options.points)
    others = [(f.landmarks, f) for frame in reference for f in frame.faces if f.landmarks is not None]
    in_found, in_truth = _shapes(truth, pairs, others)
    box = landmark_metrics.box_length(stacked([p.truth.bbox for p in pairs], (4,)))
    lengths = {"interocular": landmark_metrics.interocular(truth), "box": box}
    errors = landmark_metrics.point_errors(found, truth, counted)
    located = np.isfinite(errors)
    trivial = landmark_metrics.point_errors(in_found, truth, counted & np.any(located, axis=1, keepdims=True))
    in_true_box = landmark_metrics.point_errors(in_truth, truth, counted)
    poses = stacked([p.truth.pose for p in pairs], (3,))
    frontal = np.abs(poses[:, 0]) <= FRONTAL
    mean = _mean_adder(result, [p.group for p in pairs], options)
    for name, length in lengths.items():
        of_face = landmark_metrics.normalised_mean_error(errors, length)
        of_trivial = landmark_metrics.normalised_mean_error(trivial, length)
        mean(f"NME, {name}", of_face, of_trivial, higher_is_better=False)
        mean(f"NME, {name}, frontal", of_face, of_trivial, frontal, higher_is_better=False)
        limit, askable = FAILURE[name], np.any(counted, axis=1) & np.isfinite(length)
        fail, fail_too = (landmark_metrics.failures(e, limit) for e in (of_face, of_trivial))
        mean(f"failures, {name} > {limit}", fail, fail_too, askable, higher_is_better=False)
        area, area_too = (landmark_metrics.area_under_ced(e, limit) for e in (of_face, of_trivial))
        mean(f"AUC of CED, {name} ≤ {limit}", area, area_too, askable)
        result.curves[f"ced_{name}"] = landmark_metrics.cumulative_error(of_face[askable], 2 * limit)
        result.curves[f"ced_{name}_mean_shape"] = landmark_metrics.cumulative_error(of_trivial[askable], 2 * limit)
    ours, theirs = (landmark_metrics.normalised_mean_error(e, box) for e in (errors, trivial))
    result.curves |= landmark_curves(poses, ours, theirs, [p.group for p in pairs], options)
    result.tables["mean_shape_in_true_box"] = {
        name: as_number(known_mean(landmark_metrics.normalised_mean_error(in_true_box, length)))
        for name, length in lengths.items()
    }
    for group, span in GROUPS.items():
        ours, theirs = (landmark_metrics.normalised_mean_error(e, box, span) for e in (errors, trivial))
        mean(f"NME, box, {group}", ours, theirs, higher_is_better=False)
    asked = counted.sum(1)
    given = np.divide(located.sum(1), asked, out=np.full(len(pairs), np.nan), where=asked > 0)
    mean("points given", given, np.where(asked > 0, 1.0, np.nan))


def _five(result: TaskResult, pairs: Sequence[Pair], reference: Sequence[KnownFrame], options: Options) -> None:
    truth = stacked([five_of(p.truth) for p in pairs], (5, 2))
    found = stacked([five_of(p.found) if p.found else None for p in pairs], (5, 2))
    known = [(five_of(f), f) for frame in reference for f in frame.faces]
    in_found, _ = _shapes(truth, pairs, [(points, face) for points, face in known if points is not None])
    errors = landmark_metrics.point_errors(found, truth)
    located = np.any(np.isfinite(errors), axis=1, keepdims=True)
    trivial = landmark_metrics.point_errors(in_found, truth, np.broadcast_to(located, errors.shape))
    corners = landmark_metrics.interocular(stacked([p.truth.landmarks for p in pairs], (68, 2)))
    box = landmark_metrics.box_length(stacked([p.truth.bbox for p in pairs], (4,)))
    mean = _mean_adder(result, [p.group for p in pairs], options)
    for name, length in (("interocular", corners), ("box", box)):
        ours, theirs = (landmark_metrics.normalised_mean_error(e, length) for e in (errors, trivial))
        mean(f"five-point NME, {name}", ours, theirs, np.isfinite(length), higher_is_better=False)
    mean("five points found", np.isfinite(errors).mean(1), np.ones(len(pairs)), np.isfinite(truth).all(-1).all(-1))


def five_of(face: KnownFace) -> Any:
    """The five keypoints (5, 2) of a face, from its landmarks where it has no others; None when it has neither."""
    if face.keypoints is not None and np.isfinite(face.keypoints).any():
        return face.keypoints
    return None if face.landmarks is None else five_points(face.landmarks).astype(np.float32)


def score_pose(pairs: Sequence[Pair], reference: Sequence[KnownFrame], options: Options) -> TaskResult:
    """Mean absolute errors of yaw, pitch and roll, and of the rotation; the baseline is the median pose."""
    pairs = [p for p in pairs if p.truth.pose is not None and np.isfinite(p.truth.pose).all()]
    groups = [p.group for p in pairs]
    truth = stacked([p.truth.pose for p in pairs], (3,))
    found = stacked([p.found.pose if p.found else None for p in pairs], (3,))
    others = stacked([f.pose for frame in reference for f in frame.faces if f.pose is not None], (3,))
    others = others[np.isfinite(others).all(1)]
    constant = out_of_fold(lambda v: np.asarray(np.median(v, axis=0)), truth, groups, groups, others)
    given: NDArray[np.bool_] = np.all(np.isfinite(found), axis=1)
    constant[~given] = np.nan
    result = TaskResult()
    angles, trivial = (landmark_metrics.angle_errors(p, truth) for p in (found, constant))
    columns = [("yaw", angles[:, 0], trivial[:, 0]), ("pitch", angles[:, 1], trivial[:, 1])]
    columns += [("roll", angles[:, 2], trivial[:, 2]), ("mean of the three", angles.mean(1), trivial.mean(1))]
    turned, turned_too = (landmark_metrics.geodesic_errors(p, truth) for p in (found, constant))
    columns.append(("rotation", turned, turned_too))
    for name, ours, theirs in columns:
        values = (np.where(given, ours, np.nan), theirs)
        result.measures.append(mean_measure(f"MAE, {name}", *values, groups, options, unit="°", higher_is_better=False))
    result.measures.append(mean_measure("poses given", given.astype(float), np.ones(len(given)), groups, options))
    return result


def score_attributes(
    pairs: Sequence[Pair],
    reference: Sequence[KnownFrame],
    options: Options,
    attributes: Sequence[str] = ATTRIBUTES,
) -> TaskResult:
    """Accuracy, balanced accuracy and a confusion table each; the baseline says the commonest class."""
    result = TaskResult()
    for attribute in attributes:
        names = LABELS[attribute]
        asked = [p for p in pairs if attribute in p.truth.labels]
        both = [p for p in asked if p.found is not None and attribute in p.found.labels]
        if not both:
            result.notes.append(f"{attribute}: {len(asked)} faces are labelled and the answer gives none of them")
            continue
        truth = [p.truth.labels[attribute] for p in both]
        found = [p.found.labels[attribute] for p in both if p.found is not None]
        groups = [p.group for p in both]
        others = [f.labels[attribute] for frame in reference for f in frame.faces if attribute in f.labels]
        # without a training split the truth's own commonest class: no constant answer can do better
        commonest = Counter(others or truth).most_common(1)[0][0]
        right, trivial = np.array(truth) == np.array(found), np.array(truth) == commonest

        def balanced(w: Floats, labels: list[str] = truth, hits: ArrayLike = right) -> Floats:
            return class_metrics.balanced_accuracy(labels, hits, w)

        interval = options.bootstrap.interval(balanced, groups)
        value, trivially = (class_metrics.balanced_accuracy(truth, hits) for hits in (right, trivial))
        result.measures += [
            Measure(f"{attribute}, balanced accuracy", as_number(value), interval, as_number(trivially), len(both)),
            Measure(
                f"{attribute}, accuracy",
                float(right.mean()),
                options.bootstrap.mean(right, groups),
                float(trivial.mean()),
                len(both),
            ),
        ]
        table = class_metrics.confusion(truth, found, names)
        result.tables[attribute] = {"classes": list(names), "rows_true_columns_found": table.tolist()}
        if len(both) < len(asked):
            result.notes.append(f"{attribute}: {len(asked) - len(both)} of {len(asked)} labelled faces have no answer")
    return result


def score_verification(pairs: Sequence[Pair], options: Options) -> TaskResult:
    """EER, TAR at FAR and Rank-1 across recordings; the baseline is chance."""
    named = [p for p in pairs if p.truth.subject is not None]
    by_session: dict[tuple[str, str], list[Pair]] = {}
    for pair in named:
        session = pair.frame.session or pair.frame.key
        by_session.setdefault((str(pair.truth.subject), session), []).append(pair)
    people: list[str] = []
    sessions: list[str] = []
    vectors: list[Any] = []
    asked = missing = 0
    for (subject, session), faces in sorted(by_session.items()):
        found = [p.found.embedding if p.found is not None else None for p in faces]
        chosen = [found[i] for i in evenly_spread(len(found), _PER_SESSION)] if options.template == "frame" else found
        asked, missing = asked + len(chosen), missing + sum(e is None for e in chosen)
        known = [np.asarray(e, np.float64) for e in chosen if e is not None]
        if options.template == "session" and known:
            mean = np.mean(known, axis=0)
            known = [mean / max(float(np.linalg.norm(mean)), 1e-12)]
        lost = len(chosen) - len(known) if options.template == "frame" else int(not known)
        rows: list[Any] = [*known, *([None] * lost)]
        people += [subject] * len(rows)
        sessions += [session] * len(rows)
        vectors += rows
    width = next((len(v) for v in vectors if v is not None), 1)
    embeddings = stacked(vectors, (width,)).astype(np.float32)
    compared = verification_metrics.cross_session_pairs(embeddings, people, sessions)
    fewer = verification_metrics.sample_impostors(compared, _IMPOSTORS, options.bootstrap.seed)
    names = list(dict.fromkeys(people))
    result = TaskResult()

    def measure(name: str, statistic: Callable[..., Floats], baseline: float, **more: Any) -> None:
        interval = options.bootstrap.interval(lambda w: statistic(fewer, w), names, 4 * len(fewer.scores))
        count = len(compared.scores)
        result.measures.append(Measure(name, as_number(statistic(compared)), interval, baseline, count, **more))

    measure("EER", verification_metrics.equal_error_rate, 0.5, higher_is_better=False)
    for rate in FALSE_ACCEPT_RATES:
        measure(f"TAR at FAR {rate:g}", lambda p, w=None, r=rate: verification_metrics.accept_rate_at(p, r, w), rate)
    result.measures.append(_rank_one(embeddings, people, sessions, options))
    part = missing / asked if asked else None
    result.measures.append(Measure("embeddings missing", part, count=asked, higher_is_better=False))
    result.curves["roc"] = verification_metrics.roc_curve(compared)
    genuine = int(compared.genuine.sum())
    result.notes.append(f"{genuine} genuine and {len(compared.scores) - genuine} impostor pairs of {len(names)} people")
    impostors = len(compared.scores) - genuine
    result.notes += [
        f"{impostors} impostor pairs are fewer than 1 / {rate:g}: TAR at FAR {rate:g} is read without a false accept"
        for rate in FALSE_ACCEPT_RATES
        if impostors * rate < 1
    ]
    if len(fewer.scores) < len(compared.scores):
        result.notes.append(f"intervals of EER and TAR are made from {_IMPOSTORS} of the impostor pairs, drawn once")
    return result


def _rank_one(embeddings: NDArray[np.float32], people: list[str], sessions: list[str], options: Options) -> Measure:
    """The first recording of each person is the gallery, the others are probes."""
    first: dict[str, str] = {}
    for person, session in zip(people, sessions, strict=True):
        first[person] = min(session, first.get(person, session))
    enrolled = np.array([first[p] == s for p, s in zip(people, sessions, strict=True)], bool)
    owners = [p for p, e in zip(people, enrolled, strict=True) if e]
    asked = [p for p, e in zip(people, enrolled, strict=True) if not e]
    hits = verification_metrics.rank_one(embeddings[enrolled], owners, embeddings[~enrolled], asked)
    chance = 1 / len(first) if first else np.nan
    return mean_measure("Rank-1", hits, np.full(len(hits), chance), asked, options)
